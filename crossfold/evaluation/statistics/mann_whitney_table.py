"""Mann-Whitney U tests between different subjects, in the layout and by the rules of InnerEye.

Groups are the institutions within a run, or two runs that have no subject in common. Groups with
ten scores or more for a structure are compared: two-sided p; ROC, the probability that a score of
group I is below one of group J, ties counting half, where I is the group with the larger scores, so
that ROC is 0.5 at most; and the one-sided p of a Z-test of the means.

What differs from InnerEye: scores of one patient are averaged first, so that a patient counts once;
subjects without an institution are no group, but a note; groups whose scores are all the same are
compared, not dropped; only the result of a run is tested, not each of its folds, which share their
test subjects; the heading of the second group is J. InnerEye's documentation said that J is the
larger group, and that five scores are enough; its code did what is done here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crossfold.config.statistics import StatisticsConfig
from crossfold.data.text_tables import fixed_width
from crossfold.evaluation.results import result_rows
from crossfold.evaluation.statistics.wilcoxon_table import NOT_ENOUGH, refusals

MANN_WHITNEY_COLUMNS = (
    *("kind", "split", "run", "structure"),
    *("i", "group_i", "n_i", "mean_i", "std_i"),
    *("j", "group_j", "n_j", "mean_j", "std_j"),
    *("roc", "p_mann_whitney", "p_normal", "note"),
)

_MIN_SCORES = 10
_KEYS = ["kind", "split", "run"]


def mann_whitney_table(
    compared: pd.DataFrame, config: StatisticsConfig, *, refused: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Test institutions within each run, and runs without common subjects, per structure.

    Parameters
    ----------
    compared
        compared.csv: run, split, fold, subject, group, institution, structure, dice. Text is text:
        a missing fold, group or institution is empty.
    config
        Structures and subjects to leave out.
    refused
        Comparisons not to be made: run_a, run_b (in either order, or the same), split, reason.

    Returns
    -------
    DataFrame
        `MANN_WHITNEY_COLUMNS`, sorted by p within kind (institutions, cohorts), split and run
        (empty for cohorts). i and j number the groups of a run. Dice in percent, std with n - 1.
        Rows with a note and no structure say what could not be compared.
    """
    kept = compared[
        ~compared["structure"].isin(config.exclude_structures)
        & ~compared["subject"].isin(config.ignore_subjects)
        & compared["dice"].notna()
    ]
    patients = kept["group"].where(kept["group"] != "", kept["subject"])
    runs = {
        str(run): rows for run, rows in kept.assign(patient=patients).groupby("run", sort=False)
    }
    reasons = refusals(refused)
    rows: list[dict[str, Any]] = []
    for run, rows_of_run in runs.items():
        for split in ("val", "test"):
            about = {"kind": "institutions", "split": split, "run": run}
            reason = reasons.get((split, frozenset((run,))))
            result = result_rows(rows_of_run, split)
            tests = [{"note": f"refused: {reason}"}] if reason else _compare_institutions(result)
            rows += [about | row for row in tests]
    for split in ("val", "test"):
        about = {"kind": "cohorts", "split": split, "run": ""}
        results = {run: result_rows(rows_of_run, split) for run, rows_of_run in runs.items()}
        of_split = {pair: reason for (of, pair), reason in reasons.items() if of == split}
        rows += [about | row for row in _compare_cohorts(results, of_split)]
    blank = dict.fromkeys(["structure", "group_i", "group_j", "note"], "")
    table = pd.DataFrame([blank | row for row in rows], columns=list(MANN_WHITNEY_COLUMNS))
    return table.astype(dict.fromkeys(["i", "n_i", "j", "n_j"], "Int64"))


def mann_whitney_text(table: pd.DataFrame) -> str:
    """Lay out `mann_whitney_table` as InnerEye did, with an explanation in front."""
    tests = table[table["structure"] != ""]
    sections = [
        f"{_title(str(kind), str(split), str(run))}:\n{_layout(rows)}"
        for (kind, split, run), rows in tests.groupby(_KEYS, sort=False)
    ]
    notes = table[table["structure"] == ""]
    lines = [
        f"  {_title(kind, split, run)}: {note}"
        for kind, split, run, note in zip(*(notes[name] for name in [*_KEYS, "note"]), strict=True)
    ]
    if lines:
        sections.append("\n".join(["Not compared:", *lines]))
    if tests.empty:
        sections.insert(0, NOT_ENOUGH)
    return "\n\n".join([_EXPLANATION, *sections]) + "\n"


def z_test_p(i: NDArray[np.float64], j: NDArray[np.float64]) -> float:
    """One-sided p of the Z-test of two means; 0.5 where they are equal.

    The side is the one on which the means lie, so that p is 0.5 at most.
    """
    difference = abs(j.mean() - i.mean())
    if difference == 0:
        return 0.5
    standard_error = np.sqrt(i.var(ddof=1) / i.size + j.var(ddof=1) / j.size)
    return float(stats.norm.sf(difference / standard_error)) if standard_error > 0 else 0.0


def _compare_institutions(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    known = rows[rows["institution"] != ""]
    if known.empty:
        if not rows.empty:
            yield {"note": "no institution is known"}
        return
    unknown = rows.loc[rows["institution"] == "", "subject"].nunique()
    if unknown:
        yield {"note": f"{unknown} subjects without an institution are left out"}
    names = sorted(known["institution"].unique())
    pairs = list(itertools.combinations(names, 2))
    if not pairs:
        yield {"note": f"{names[0]} is the only institution"}
    yield from _compare_groups(known.assign(of=known["institution"]), pairs)


def _compare_cohorts(
    runs: dict[str, pd.DataFrame], reasons: Mapping[frozenset[str], str]
) -> Iterator[dict[str, Any]]:
    """Compare runs of which no patient is in the other one."""
    patients = {run: set(rows["patient"]) for run, rows in runs.items() if not rows.empty}
    pairs = []
    for pair in itertools.combinations(patients, 2):
        if patients[pair[0]].isdisjoint(patients[pair[1]]):
            if frozenset(pair) in reasons:
                yield {"note": f"{' and '.join(pair)}: refused: {reasons[frozenset(pair)]}"}
            else:
                pairs.append(pair)
    if pairs:
        rows = pd.concat([rows.assign(of=run) for run, rows in runs.items() if run in patients])
        yield from _compare_groups(rows, pairs)


def _compare_groups(
    rows: pd.DataFrame, pairs: Sequence[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Compare pairs of the groups in column `of` per structure, sorted by p."""
    scores = rows.groupby(["structure", "of", "patient"], as_index=False)["dice"].mean()
    values = {
        (str(structure), str(of)): 100 * group["dice"].to_numpy()
        for (structure, of), group in scores.groupby(["structure", "of"])
    }
    names = sorted({name for pair in pairs for name in pair})
    most = {name: max(v.size for (_, of), v in values.items() if of == name) for name in names}
    few = [f"{name} ({count})" for name, count in most.items() if count < _MIN_SCORES]
    if few:
        yield {"note": f"fewer than {_MIN_SCORES} scores of any structure: {', '.join(few)}"}
    none = np.empty(0)
    tests = [
        _compare(structure, one, two, values)
        for structure in dict.fromkeys(rows["structure"])
        for one, two in pairs
        if min(values.get((structure, name), none).size for name in (one, two)) >= _MIN_SCORES
    ]
    if pairs and not tests and len(few) < len(names) - 1:
        yield {"note": f"no two groups have {_MIN_SCORES} scores of the same structure"}
    compared = sorted({test[side] for test in tests for side in ("group_i", "group_j")})
    numbers = {name: number for number, name in enumerate(compared, start=1)}
    for test in sorted(tests, key=lambda test: (test["p_mann_whitney"], test["p_normal"])):
        yield test | {"i": numbers[test["group_i"]], "j": numbers[test["group_j"]]}


def _compare(
    structure: str, one: str, two: str, values: dict[tuple[str, str], NDArray[np.float64]]
) -> dict[str, Any]:
    """Test two groups; the one with the larger scores becomes I."""
    i, j = values[structure, one], values[structure, two]
    constant = np.ptp(np.concatenate([i, j])) == 0
    u, p = (i.size * j.size / 2, 1.0) if constant else stats.mannwhitneyu(i, j)
    roc = 1 - u / (i.size * j.size)
    if roc > 0.5:
        one, two, i, j, roc = two, one, j, i, 1 - roc
    return {
        "structure": structure,
        **_described("i", one, i),
        **_described("j", two, j),
        "roc": roc,
        "p_mann_whitney": p,
        "p_normal": z_test_p(i, j),
    }


def _described(side: str, group: str, values: NDArray[np.float64]) -> dict[str, Any]:
    return {
        f"group_{side}": group,
        f"n_{side}": values.size,
        f"mean_{side}": values.mean(),
        f"std_{side}": values.std(ddof=1),
    }


def _title(kind: str, split: str, run: str) -> str:
    return f"For {run if kind == 'institutions' else 'different cohorts'} ({split})"


def _layout(rows: pd.DataFrame) -> str:
    pairs = [(rows["i"], rows["group_i"]), (rows["j"], rows["group_j"])]
    groups = dict(pair for numbers, names in pairs for pair in zip(numbers, names, strict=True))
    listed = "\n".join(f"{number}: {groups[number]}" for number in sorted(groups))
    columns = {
        "ROC": rows["roc"].map("{:.4f}".format),
        "Mann-Wht p": rows["p_mann_whitney"].map("{:.4e}".format),
        "Normal p": rows["p_normal"].map("{:.4e}".format),
    }
    for side in ("i", "j"):
        columns |= {
            f"| {side.upper()}": rows[side].map("| {}".format),
            f"N({side.upper()})": rows[f"n_{side}"].map(str),
            f"Mean({side.upper()})": rows[f"mean_{side}"].map("{:.4f}".format),
            f"Std({side.upper()})": rows[f"std_{side}"].map("{:.4f}".format),
        }
    columns["| Structure"] = rows["structure"].map("| {}".format)
    table = fixed_width(pd.DataFrame(columns), left=["| I", "| J", "| Structure"])
    return f"{listed}\n\n{table}"


_EXPLANATION = f"""\
Mann-Whitney U test: Dice (%) of different subjects, in the layout of InnerEye

Groups are the institutions of a run, or runs that have no subject in common. They are compared
for each structure of which both have {_MIN_SCORES} scores or more, one per patient; lowest p first.

ROC           probability that a score of group I is below one of group J, ties counting half: 0.5
              where they are alike, 0 where every score of I is above every score of J
Mann-Wht p    of the test that the scores of both come from one distribution, two-sided
Normal p      of a Z-test of the means, one-sided; supposes normal distributions, unlike Dice's
I, J          groups by number; I is the one with the larger scores
N, Mean, Std  number of scores, their mean and standard deviation

Nothing here is corrected for the number of tests: 0.05 for one test is 0.05 / 100 for a hundred.
Subjects of different groups differ in more than their group: a small p does not say why.
comparisons.csv has the same comparisons with corrected p, differences and their intervals."""
