"""LaTeX macros for every number that a text would quote, so that none is typed by hand."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from crossfold.paper.facts import Facts, Result
from crossfold.paper.tables.latex import escape
from crossfold.paper.tables.numbers import decimals_of, number, p_value, with_interval

# No command of LaTeX begins so.
_PREFIX = "cf"
_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
_SPLITS = {"val": "Val", "test": "Test"}
_METRICS = {
    "dice": "Dice",
    "iou": "Iou",
    "nsd": "Nsd",
    "hd_mm": "Hd",
    "hd95_mm": "HdNinetyFive",
    "assd_mm": "Assd",
    "volume_diff_ml": "VolumeDifference",
}
_USUAL_DECIMALS = {"1": 2, "mm": 1, "ml": 1}


@dataclass(frozen=True)
class Macro:
    """A number with a name.

    Parameters
    ----------
    quantity
        What it is, in letters.
    names
        Whose it is: names of structures and runs, as they are.
    value
        Plain text.
    source
        File and row that it came from.
    """

    quantity: str
    names: tuple[str, ...]
    value: str
    source: str


def spell(name: str) -> str:
    """Spell a name in letters, one capital for each word.

    Examples
    --------
    >>> spell("femur_r"), spell("level 12"), spell("Niere-li")
    ('FemurR', 'LevelOneTwo', 'NiereLi')
    """
    plain = unicodedata.normalize("NFKD", name)
    words = re.findall(r"[A-Za-z]+|[0-9]", "".join(c for c in plain if c.isascii()))
    spelt = (_DIGITS[int(word)] if word.isdigit() else word[0].upper() + word[1:] for word in words)
    return "".join(spelt) or spell_exactly(name)


def spell_exactly(name: str) -> str:
    """Spell a name in letters, so that no two names are spelt alike.

    Examples
    --------
    >>> spell_exactly("femur_r"), spell_exactly("femur-r"), spell_exactly("A2")
    ('femurLowLiner', 'femurHyphenMinusr', 'CapitalATwo')
    """
    return "".join(map(_sign, name))


def _sign(sign: str) -> str:
    if sign.isascii() and sign.isalpha():
        return sign if sign.islower() else f"Capital{sign}"
    if sign in "0123456789":
        return _DIGITS[int(sign)]
    words = unicodedata.name(sign, f"CODE {' '.join(_DIGITS[int(d)] for d in str(ord(sign)))}")
    return "".join(re.findall("[A-Za-z]", words.title()))


def to_macros(facts: Facts, comparisons: pd.DataFrame) -> str:
    r"""Return macros.tex: `\input` it, and write `\cfDiceTestBladder{}` in the text.

    Parameters
    ----------
    facts
        What is known of the run.
    comparisons
        comparisons.csv, or an empty frame.
    """
    macros = [*_about_data(facts), *_about_software(facts)]
    for result in facts.results:
        macros += _about_result(result, facts)
    macros += _about_comparisons(comparisons, facts)
    commands = name_macros(macros)
    lines = [
        rf"\newcommand{{\{command}}}{{{escape(macro.value)}}}  % {_comment(macro.source)}"
        for command, macro in sorted(commands.items())
    ]
    head = "% Written by Crossfold: one command for each number, and where it comes from."
    return "\n".join([head, *lines, ""])


def name_macros(macros: Iterable[Macro]) -> dict[str, Macro]:
    """Give each macro a command of its own, without its backslash: letters only.

    Names that would be spelt alike, such as `femur_r` and `femur-r`, are all spelt exactly, so
    that a text which used the short command of one of them no longer compiles, instead of
    showing the number of the other.

    Raises
    ------
    ValueError
        If two macros have the same quantity and names.
    """
    macros = list(macros)
    names = dict.fromkeys(name for macro in macros for name in macro.names)
    uses = Counter(map(spell, names))
    spelt = {name: spell(name) if uses[spell(name)] == 1 else spell_exactly(name) for name in names}
    commands: dict[str, Macro] = {}
    for macro in macros:
        command = _PREFIX + macro.quantity + "Versus".join(spelt[name] for name in macro.names)
        if command in commands:
            raise ValueError(f"two macros are called {command}: {macro}, {commands[command]}")
        commands[command] = macro
    return commands


def _about_data(facts: Facts) -> Iterator[Macro]:
    dataset, splits, statistics = facts.dataset, facts.splits, facts.statistics
    counts = {
        "NSubjects": (dataset.used, "splits.csv, all subjects"),
        "NGroups": (dataset.groups, "splits.csv, all groups"),
        "NDevelopment": (splits.development, "splits.csv, role train or val"),
        "NTest": (splits.test, "splits.csv, role test"),
        "NFolds": (splits.folds, "splits.csv, fold"),
        "NInstitutions": (sum(map(bool, dataset.institutions)), "splits.csv, institution"),
        "NStructures": (len(facts.structures), "config.json, structures and derived_structures"),
        "NEpochs": (facts.config["training"]["epochs"], "config.json, training.epochs"),
        "NResamples": (statistics.resamples, "config.yaml, statistics.resamples"),
        "Seed": (facts.config["training"]["seed"], "config.json, training.seed"),
    }
    if dataset.found is not None:
        counts["NFound"] = (dataset.found, "dataset_report.csv, all subjects")
        counts["NExcluded"] = (len(dataset.excluded), "dataset_report.csv, status excluded")
    for quantity, (count, source) in counts.items():
        yield Macro(quantity, (), str(count), source)
    yield Macro(
        "Confidence", (), f"{100 * statistics.confidence:g} %", "config.yaml, statistics.confidence"
    )
    yield Macro("Alpha", (), f"{statistics.alpha:g}", "config.yaml, statistics.alpha")
    for structure, tolerance in facts.tolerances_mm.items():
        yield Macro(
            "ToleranceMm",
            (structure,),
            f"{tolerance:g}",
            f"metrics.csv, nsd_tolerance_mm of {structure}",
        )


def _about_software(facts: Facts) -> Iterator[Macro]:
    for package, number_of in facts.software.versions.items():
        yield Macro("Version", (package,), number_of, "installed packages")
    if facts.software.commit:
        yield Macro("Commit", (), facts.software.commit[:10], "git rev-parse HEAD")
    yield Macro("SplitsDigest", (), facts.splits.digest, "splits.csv, SHA-256")
    if facts.dataset.digest:
        yield Macro("DataDigest", (), facts.dataset.digest, "dataset.csv, SHA-256")
    if facts.dataset.images_digest:
        yield Macro("ImagesDigest", (), facts.dataset.images_digest, "dataset.json, images")
    if facts.plan:
        yield Macro("PlanDigest", (), facts.plan["sha256"][:16], "plan.json, sha256")
    training = facts.training
    if training.seconds_total is not None:
        source = "folds/*/training.csv, seconds"
        yield Macro("TrainingMinutes", (), f"{training.seconds_total / 60:.0f}", source)
        mean = training.seconds_total / len(training.seconds) / 60
        yield Macro("TrainingMinutesPerFold", (), f"{mean:.1f}", source)
    if training.energy_kwh is not None:
        source = "folds/*/machine.json, energy_kwh"
        yield Macro("EnergyKwh", (), f"{training.energy_kwh:.2g}", source)


def _about_result(result: Result, facts: Facts) -> Iterator[Macro]:
    """Name what the summary says of one metric of one structure, in one split."""
    if result.metric not in _METRICS:
        return
    place = _SPLITS[result.split]
    names = (result.structure,)
    source = f"metrics_summary.csv, {result.split}, {result.structure}, {result.metric}"
    if result.metric == "dice":
        yield Macro(f"N{place}", names, str(result.n), f"{source}: n")
        yield Macro(
            f"NFailed{place}", names, str(result.n_failed), f"{source}: n_missed + n_hallucinated"
        )
    what = f"{_METRICS[result.metric]}"
    decimals = decimals_of([result.ci_high - result.ci_low], _USUAL_DECIMALS.get(result.unit, 2))
    estimate = getattr(result, result.ci_statistic)
    statistics = {
        "Mean": ("mean", result.mean),
        "Median": ("median", result.median),
        "QuartileLow": ("q1", result.q1),
        "QuartileHigh": ("q3", result.q3),
        "CiLow": ("ci_low", result.ci_low),
        "CiHigh": ("ci_high", result.ci_high),
    }
    for statistic, (column, value) in statistics.items():
        if not math.isnan(value):
            written = number(value, decimals)
            yield Macro(f"{what}{statistic}{place}", names, written, f"{source}: {column}")
    if not math.isnan(estimate):
        percent = f"{100 * facts.statistics.confidence:g} %"
        written = with_interval(estimate, result.ci_low, result.ci_high, decimals)
        yield Macro(
            f"{what}{place}",
            names,
            written.replace("(", f"({percent} CI "),
            f"{source}: {result.ci_statistic}, ci_low, ci_high",
        )


def _about_comparisons(comparisons: pd.DataFrame, facts: Facts) -> Iterator[Macro]:
    """Name the planned comparisons: difference, p and effect."""
    if comparisons.empty:
        return
    planned = comparisons[comparisons["role"] == "confirmatory"]
    percent = f"{100 * facts.statistics.confidence:g} %"
    for row in planned.to_dict("records"):
        if math.isnan(row["diff_hl"]):  # refused, or not computed
            continue
        low, high = row["diff_ci_low"], row["diff_ci_high"]
        difference = with_interval(row["diff_hl"], low, high, decimals_of([high - low], 2))
        values = {
            "Difference": (difference.replace("(", f"({percent} CI "), "diff_hl, diff_ci_*"),
            "P": (p_value(row["p_adjusted"], facts.statistics.alpha), "p_adjusted"),
            "Effect": (number(row["effect"], 2), "effect"),
            "NCompared": (number(float(row["n"]), 0), "n"),
        }
        place = f"{_METRICS[row['metric']]}{_SPLITS[row['split']]}"
        names = (row["structure"], row["run_a"], row["run_b"])
        for quantity, (value, column) in values.items():
            source = f"comparisons.csv, {row['comparison_id']}: {column}"
            yield Macro(f"{quantity}{place}", names, value, source)


def _comment(text: str) -> str:
    """Return text that cannot end a comment."""
    return " ".join(text.split())
