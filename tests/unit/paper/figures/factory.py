"""Results of made-up runs in the form of the files that figures read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.tables import write_table
from crossfold.paper import style
from crossfold.paper.catalogue import FIGURES
from crossfold.paper.figures import Context

LONG_RUN = "Prostate_ResidualEncoder_LargePatch_CosineSchedule"
LONG_STRUCTURE = "left_superior_temporal_gyrus_posterior_division"
METRICS = ("dice", "iou", "nsd", "hd_mm", "hd95_mm", "assd_mm")


@dataclass(frozen=True)
class Made:
    """Input files by their names, and a context that fits them."""

    inputs: dict[str, Any]
    context: Context

    def inputs_of(self, module: str) -> dict[str, Any]:
        """Return the files that the catalogue gives to figures of a module."""
        names = {
            name for entry in FIGURES.values() if entry.module == module for name in entry.inputs
        }
        return {name: path for name, path in self.inputs.items() if name in names}

    def with_options(self, options: Mapping[str, Any]) -> Context:
        return replace(self.context, options=options)


def make(
    folder: Path,
    *,
    runs: int = 2,
    structures: int = 2,
    subjects: int = 40,
    folds: int = 5,
    failures: float = 0.03,
    institutions: int = 1,
    split: str = "val",
    constant: bool = False,
    long_names: bool = False,
    pairs: str = "reference",
    **options: Any,
) -> Made:
    """Write compared.csv, comparisons.csv, … of subjects with their own difficulty."""
    names = _names("Run", runs, LONG_RUN if long_names else "")
    labels = _names("structure", structures, LONG_STRUCTURE if long_names else "")
    compared = compared_frame(
        names,
        labels,
        subjects=subjects,
        folds=folds,
        failures=failures,
        institutions=institutions,
        split=split,
        constant=constant,
    )
    context = Context(
        run=names[0],
        structures=tuple(labels),
        split=split,
        runs=tuple(names),
        colours={name: style.OKABE_ITO[i % len(style.OKABE_ITO)] for i, name in enumerate(names)},
        config=FiguresConfig(),
        options=options,
    )
    return Made(write_inputs(folder, compared, context, pairs=pairs), context)


def write_inputs(
    folder: Path, compared: pd.DataFrame, context: Context, *, pairs: str = "reference"
) -> dict[str, Any]:
    """Write what is computed from compared.csv beside it."""
    rows = compared[compared["fold"].isin(["ensemble"]) | (compared["split"] == "val")]
    focus = compared[compared["run"] == context.run]
    frames = {
        "compared": compared,
        "comparisons": comparisons_frame(rows, context, pairs),
        "ranks": ranks_frame(rows, context),
        "failure_rates": failure_rates_frame(rows, context),
        "bland_altman": bland_altman_frame(rows, context),
        "metrics": focus.rename(columns={"run": "model"}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        write_table(folder / f"{name}.csv", frame)
    return {name: folder / f"{name}.csv" for name in frames}


def compared_frame(
    runs: Sequence[str],
    structures: Sequence[str],
    *,
    subjects: int,
    folds: int,
    failures: float,
    institutions: int,
    split: str,
    constant: bool,
) -> pd.DataFrame:
    generator = np.random.default_rng(1)
    shape = (len(runs), subjects, len(structures))
    difficulty = generator.normal(0, 0.5, (1, subjects, 1)) + np.linspace(1.5, 2.8, shape[2])
    skill = np.linspace(0.2, -0.2, shape[0])[:, None, None]
    logit = difficulty + skill + generator.normal(0, 0.25, shape)
    logit = np.full(shape, 2.0) if constant else logit
    dice = 1 / (1 + np.exp(-logit))
    missed = generator.uniform(size=shape) < failures
    reference = generator.lognormal(3, 0.6, (1, subjects, 1)) * np.ones(shape)
    absent = generator.uniform(size=(1, subjects, shape[2])) < (0.1 if failures else 0)
    absent = np.broadcast_to(absent, shape)
    state = np.where(missed, np.where(absent, "hallucinated", "missed"), "ok")
    state = np.where(absent & ~missed, "true_absent", state)
    frame = pd.DataFrame(
        {
            "run": np.repeat(runs, subjects * shape[2]),
            "split": split,
            "subject": np.tile(
                np.repeat([f"case_{i:03}" for i in range(subjects)], shape[2]), shape[0]
            ),
            "structure": np.tile(structures, shape[0] * subjects),
            "state": state.ravel(),
            "dice": dice.ravel(),
            "volume_ref_ml": np.where(absent, 0, reference).ravel(),
        }
    )
    number = frame["subject"].str[-3:].astype(int)
    frame["fold"] = np.where(frame["split"] == "val", (number % folds).astype(str), "ensemble")
    frame["institution"] = "site " + (number % institutions).astype(str)
    frame["iou"] = frame["dice"] / (2 - frame["dice"])
    frame["nsd"] = np.sqrt(frame["dice"])
    frame["hd95_mm"] = 12 * (1 - frame["dice"]) + 0.5
    frame["hd_mm"], frame["assd_mm"] = 3 * frame["hd95_mm"], frame["hd95_mm"] / 4
    scatter = 1 if constant else 1 + generator.normal(0, 0.08, len(frame))
    frame["volume_pred_ml"] = frame["volume_ref_ml"] * scatter
    failed = frame["state"].isin(["missed", "hallucinated"])
    frame.loc[failed, ["dice", "iou", "nsd"]] = 0.0
    frame.loc[failed, ["hd_mm", "hd95_mm", "assd_mm"]] = np.inf
    frame.loc[frame["state"] == "missed", "volume_pred_ml"] = 0.0
    frame.loc[frame["state"] == "hallucinated", "volume_pred_ml"] = 1.0
    frame.loc[frame["state"] == "true_absent", [*METRICS]] = np.nan
    return frame.assign(seed=0, group=frame["subject"], series="")


def comparisons_frame(rows: pd.DataFrame, context: Context, pairs: str) -> pd.DataFrame:
    found = []
    for i, a in enumerate(context.runs):
        for b in context.runs[i + 1 :]:
            if pairs == "all" or a == context.run:
                found += [
                    _comparison(rows, a, b, structure, metric, len(context.structures))
                    for structure in context.structures
                    for metric in ("dice", "nsd", "hd95_mm")
                ]
    columns = [
        *(
            "family_id",
            "role",
            "effect_name",
            "run_a",
            "run_b",
            "group_a",
            "group_b",
            "split",
            "design",
            "structure",
            "metric",
        ),
        *("better", "n", "n_failed_a", "n_failed_b", "diff_hl", "diff_ci_low", "diff_ci_high"),
        *("p_raw", "correction", "m", "p_adjusted", "effect", "margin", "verdict", "reason"),
    ]
    return pd.DataFrame(found, columns=columns)


def _comparison(
    rows: pd.DataFrame, a: str, b: str, structure: str, metric: str, size: int
) -> dict[str, Any]:
    values = rows[rows["structure"] == structure].pivot(
        index="subject", columns="run", values=metric
    )[[a, b]]
    values = values.dropna()
    difference = (values[a] - values[b]).fillna(0).round(9).to_numpy()
    shared = {"run_a": a, "run_b": b, "group_a": "", "group_b": "", "structure": structure}
    shared |= {"metric": metric, "split": rows["split"].iloc[0], "n": len(values)}
    shared |= {"family_id": "planned", "effect_name": "rank_biserial"}
    better = "lower" if metric.endswith("mm") else "higher"
    primary = metric != "hd95_mm"
    shared |= {"better": better, "role": "confirmatory" if primary else "exploratory"}
    shared |= {"design": "paired", "correction": "holm" if primary else "fdr_bh", "m": size}
    shared |= {"margin": {"dice": 0.02}.get(metric, np.nan), "reason": ""}
    if len(values) < 2 or not difference.any():
        p = 1.0 if len(values) else np.nan
        return shared | {"p_raw": p, "p_adjusted": p, "verdict": "inconclusive", "effect": 0.0}
    ranks = stats.rankdata(np.abs(difference))
    effect = (ranks * np.sign(difference)).sum() / ranks.sum()
    p = float(stats.wilcoxon(difference, zero_method="pratt").pvalue)
    finite = np.sort(difference[np.isfinite(difference)])
    low, middle, high = np.quantile(finite, [0.35, 0.5, 0.65]) if len(finite) else [np.nan] * 3
    adjusted = min(1.0, p * size)
    winner = "a_better" if (effect > 0) == (better == "higher") else "b_better"
    return shared | {
        "n_failed_a": 1,
        "n_failed_b": 0,
        "diff_hl": middle,
        "diff_ci_low": low,
        "diff_ci_high": high,
        "p_raw": p,
        "p_adjusted": adjusted,
        "effect": effect,
        "verdict": winner if adjusted < 0.05 else "inconclusive",
    }


def ranks_frame(rows: pd.DataFrame, context: Context) -> pd.DataFrame:
    count = len(context.runs)
    generator = np.random.default_rng(2)
    found = []
    for structure in context.structures:
        for metric in ("dice", "nsd"):
            chances = generator.dirichlet(np.ones(count), size=count)
            for place, run in enumerate(context.runs):
                row = {"scheme": "mean_then_rank", "structure": structure, "metric": metric}
                row |= {"model": run, "rank": place + 1, "rank_ci_low": max(1, place)}
                row |= {"rank_ci_high": min(count, place + 2), "p_rank1": chances[place, 0]}
                row |= {"p_ranks": " ".join(f"{chance:.4g}" for chance in chances[place])}
                row |= {"runs": "compared", "split": rows["split"].iloc[0], "n": 40, "k": count}
                found.append(row | {"kendall_tau_mean": 0.7, "note": ""})
    return pd.DataFrame(found)


def failure_rates_frame(rows: pd.DataFrame, context: Context) -> pd.DataFrame:
    columns = ["model_a", "model_b", "structure", "n", "missed_a", "missed_b", "p_adjusted"]
    return pd.DataFrame(
        [
            (context.run, other, structure, 40, 1, 2, 1.0)
            for other in context.runs[1:]
            for structure in context.structures
        ],
        columns=columns,
    )


def bland_altman_frame(rows: pd.DataFrame, context: Context) -> pd.DataFrame:
    found = []
    for number, structure in enumerate(context.structures):
        mine = rows[(rows["run"] == context.run) & (rows["structure"] == structure)]
        mine = mine[mine["state"].isin(["ok", "missed"])]
        scale = "log" if number % 2 and (mine["volume_pred_ml"] > 0).all() else "raw"
        reference, prediction = mine["volume_ref_ml"], mine["volume_pred_ml"]
        difference = np.log(prediction / reference) if scale == "log" else prediction - reference
        bias, spread = difference.mean(), difference.std()
        row = {"model": context.run, "structure": structure, "n": len(mine), "scale": scale}
        row |= {"split": rows["split"].iloc[0]}
        for name, value in {
            "bias_ml": bias,
            "loa_low_ml": bias - 1.96 * spread,
            "loa_high_ml": bias + 1.96 * spread,
        }.items():
            stem = name.removesuffix("_ml")
            row |= {name: value, f"{stem}_ci_low": value - spread / 4}
            row |= {f"{stem}_ci_high": value + spread / 4}
        found.append(row | {"slope": 0.02, "slope_p": 0.2})
    return pd.DataFrame(found)


def _names(stem: str, count: int, long: str) -> list[str]:
    return [f"{long or stem}_{i + 1}" for i in range(count)]
