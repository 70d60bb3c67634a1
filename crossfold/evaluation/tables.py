"""The table of metrics (one row per subject and structure) and its summary (one per metric).

Files are CSV in UTF-8: floats as `%.6g`, infinity as `inf`, a missing value as an empty cell.

In a summary, subjects in which a structure is truly absent are counted (`n_absent`) and otherwise
left out of every number. Failures stay in: `mean`, the quartiles and the confidence interval are
over all `n` subjects, with 0 for the overlap and inf for the distance of a failure, so that the
mean of a distance is empty where a structure failed; `mean_ok` and `sd_ok` leave failures out.
"""

import os

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray
from pandera.errors import SchemaErrors
from scipy import stats

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

METRICS = pd.DataFrame(
    [
        ("dice", "1", "higher", "mean"),
        ("iou", "1", "higher", "mean"),
        ("nsd", "1", "higher", "mean"),
        ("hd_mm", "mm", "lower", "median"),
        ("hd95_mm", "mm", "lower", "median"),
        ("assd_mm", "mm", "lower", "median"),
        ("volume_diff_ml", "ml", "zero", "mean"),
        ("volume_diff_pct", "%", "zero", "median"),
        ("fp_volume_ml", "ml", "lower", "mean"),
        ("fn_volume_ml", "ml", "lower", "mean"),
    ],
    columns=["metric", "unit", "better", "ci_statistic"],
).set_index("metric")
"""Unit of each metric, its better side, and the statistic whose confidence interval is given: the
mean where failures have finite values, the median where they are infinitely far."""

_KEYS = ["model", "dataset", "synthetic", "split", "fold", "structure"]
SUMMARY_COLUMNS = [
    *_KEYS,
    *("metric", "unit", "better", "n", "n_absent", "n_missed", "n_hallucinated"),
    *("mean", "mean_ok", "sd_ok", "median", "q1", "q3", "min", "max"),
    *("ci_statistic", "ci_low", "ci_high", "ci_method", "n_resamples", "seed"),
]

_MIN_SUBJECTS_FOR_INTERVAL = 10
# Stands for inf where numpy would compute inf - inf; its square is still finite.
_HUGE = 1e100

_text = pa.Column(str)
_name = pa.Column(str, pa.Check.str_length(min_value=1))
_fraction = pa.Column(float, pa.Check.in_range(0, 1), nullable=True)
_non_negative = pa.Column(float, pa.Check.ge(0), nullable=True)
_any_number = pa.Column(float, nullable=True)
_positive = pa.Column(float, pa.Check.gt(0))
_count = pa.Column(int, pa.Check.ge(0))
_optional_integer = pa.Column("Int64", nullable=True)

METRICS_SCHEMA = pa.DataFrameSchema(
    {
        "model": _name,
        "dataset": _name,
        "synthetic": pa.Column(bool),
        "split": pa.Column(str, pa.Check.isin(["val", "test"])),
        "fold": pa.Column(str, pa.Check.str_matches(r"^(\d+|ensemble)$")),
        "seed": _optional_integer,
        "subject": _name,
        "institution": _text,
        "series": _text,
        "structure": _name,
        "label": _optional_integer,
        "state": pa.Column(str, pa.Check.isin(["ok", "missed", "hallucinated", "true_absent"])),
        "dice": _fraction,
        "iou": _fraction,
        "nsd": _fraction,
        "nsd_tolerance_mm": pa.Column(float, pa.Check.ge(0)),
        "hd_mm": _non_negative,
        "hd95_mm": _non_negative,
        "assd_mm": _non_negative,
        "volume_ref_ml": _non_negative,
        "volume_pred_ml": _non_negative,
        "volume_diff_ml": _any_number,
        "volume_diff_pct": _any_number,
        "fp_volume_ml": _non_negative,
        "fn_volume_ml": _non_negative,
        "n_components_ref": _count,
        "n_components_pred": _count,
        "spacing_x_mm": _positive,
        "spacing_y_mm": _positive,
        "spacing_z_mm": _positive,
    },
    checks=[
        pa.Check(
            lambda frame: frame["dice"].isna() == (frame["state"] == "true_absent"),
            name="Dice is missing where, and only where, a structure is truly absent",
        ),
        pa.Check(
            lambda frame: (frame["split"] != "val") | (frame["fold"] != "ensemble"),
            name="no ensemble on validation subjects: its members were trained on them",
        ),
    ],
    unique=["model", "dataset", "split", "fold", "seed", "subject", "structure"],
    strict=True,
    ordered=True,
    coerce=True,
)
METRICS_COLUMNS = list(METRICS_SCHEMA.columns)
_TEXT_COLUMNS = [
    name for name, column in METRICS_SCHEMA.columns.items() if column.dtype == _text.dtype
]


def write_table(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write any table as CSV in the conventions of this module, whole or not at all."""
    with atomic_path(path) as temporary:
        frame.to_csv(
            temporary, index=False, float_format="%.6g", encoding="utf-8", lineterminator="\n"
        )


def write_metrics(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write a table of metrics, sorted by split, fold and subject.

    Structures of a subject keep their order.

    Parameters
    ----------
    path
        Target, `.csv`; appears whole or not at all.
    frame
        The columns `METRICS_COLUMNS`.

    Raises
    ------
    CrossfoldError
        If the table breaks `METRICS_SCHEMA`.
    """
    valid = _validated(frame, os.fspath(path))
    write_table(path, valid.sort_values(["split", "fold", "subject"], key=_order, kind="stable"))


def read_metrics(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `write_metrics` wrote; names such as `007` or `NA` stay the text that they are.

    Raises
    ------
    CrossfoldError
        If the file breaks `METRICS_SCHEMA`.
    """
    frame = pd.read_csv(
        path,
        dtype=dict.fromkeys(_TEXT_COLUMNS, str),
        keep_default_na=False,
        na_values={name: [""] for name in METRICS_COLUMNS if name not in _TEXT_COLUMNS},
        encoding="utf-8",
    )
    return _validated(frame, os.fspath(path))


def summarise_metrics(frame: pd.DataFrame, config: StatisticsConfig) -> pd.DataFrame:
    """Summarise each metric over subjects, per model, split, fold and structure.

    Validation rows are pooled over folds (`fold` is `pooled`): every subject was predicted by the
    one model that never saw it. Test rows stay apart by fold, and by `ensemble`.

    Confidence intervals are bootstrapped over subjects: bias-corrected and accelerated (Efron,
    JASA 1987) for a mean, percentile for a median. There is none (`ci_method` is `none`) below 10
    subjects, where a bootstrap covers too little, nor where all subjects have the same value.

    Parameters
    ----------
    frame
        A table of metrics, as `read_metrics` returns it.
    config
        Confidence, number of resamples and seed.

    Returns
    -------
    DataFrame
        The columns `SUMMARY_COLUMNS`.

    Raises
    ------
    CrossfoldError
        If a subject has several rows for one structure: subjects are the unit, and count once.
    """
    pooled = frame.assign(fold=frame["fold"].mask(frame["split"] == "val", "pooled"))
    repeated = pooled[pooled.duplicated([*_KEYS, "subject"])]
    if not repeated.empty:
        first = repeated.iloc[0]
        raise CrossfoldError(
            f"{first['model']}: {first['subject']} has several rows for {first['structure']} in "
            f"{first['split']}, fold {first['fold']}",
            remedy="summarise one seed and one series per subject at a time",
        )
    groups = pooled.groupby(_KEYS, sort=False)
    summaries = {key: _summarise_structure(rows, config) for key, rows in groups}
    summary = pd.concat(summaries, names=_KEYS).reset_index(_KEYS)
    return summary[SUMMARY_COLUMNS].reset_index(drop=True)


def _summarise_structure(rows: pd.DataFrame, config: StatisticsConfig) -> pd.DataFrame:
    """Summarise one structure: a row per metric of `METRICS`."""
    states = rows["state"].value_counts()
    present = rows[rows["state"] != "true_absent"]
    values = present[METRICS.index]
    values_ok = values[present["state"] == "ok"]
    quartiles = values.replace(np.inf, _HUGE).quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy()
    summary = METRICS.assign(
        n=len(present),
        n_absent=states.get("true_absent", 0),
        n_missed=states.get("missed", 0),
        n_hallucinated=states.get("hallucinated", 0),
        mean=values.mean().replace(np.inf, np.nan),
        mean_ok=values_ok.mean(),
        sd_ok=values_ok.std(),
        **dict(zip(["min", "q1", "median", "q3", "max"], _with_inf(quartiles), strict=True)),
        ci_low=np.nan,
        ci_high=np.nan,
        ci_method="none",
        n_resamples=0,
        seed=config.seed,
    )
    if len(present) >= _MIN_SUBJECTS_FOR_INTERVAL:
        varying = summary.index[summary["min"] < summary["max"]]
        for statistic, method in (("mean", "BCa"), ("median", "percentile")):
            names = [name for name in varying if METRICS.loc[name, "ci_statistic"] == statistic]
            if names:
                low, high = _interval(values[names].to_numpy(), statistic, method, config)
                summary.loc[names, "ci_low"], summary.loc[names, "ci_high"] = low, high
                summary.loc[names, ["ci_method", "n_resamples"]] = method, config.resamples
    return summary.rename_axis("metric").reset_index()


def _interval(
    values: NDArray[np.float64], statistic: str, method: str, config: StatisticsConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap the rows of values (subject, metric): all metrics share the same resamples."""
    interval = stats.bootstrap(
        (np.where(np.isinf(values), _HUGE, values).T,),
        {"mean": np.mean, "median": np.median}[statistic],
        n_resamples=config.resamples,
        batch=1 + 4_000_000 // values.size,
        vectorized=True,
        axis=-1,
        confidence_level=config.confidence,
        method=method,
        rng=np.random.default_rng(config.seed),
    ).confidence_interval
    return _with_inf(interval.low), _with_inf(interval.high)


def _with_inf(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo the replacement of inf by `_HUGE`, also in what was interpolated from it."""
    return np.where(values > np.sqrt(_HUGE), np.inf, values)


def _order(column: pd.Series) -> pd.Series:
    """Sort folds as numbers, with the ensemble behind them; everything else as text."""
    return pd.to_numeric(column, errors="coerce") if column.name == "fold" else column


def _validated(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    texts = [name for name in _TEXT_COLUMNS if name in frame]
    filled = frame.fillna(dict.fromkeys(texts, "")).reset_index(drop=True)
    try:
        return METRICS_SCHEMA.validate(filled, lazy=True)
    except SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        if first["schema_context"] == "Column":
            place = f"column {first['column']}: {first['failure_case']}"
        else:
            place = "the table" if first["column"] else f"column {first['failure_case']}"
        raise CrossfoldError(
            f"{path}: {place} breaks the rule {first['check']!r}",
            remedy="let the rule `metrics` write the table again",
        ) from error
