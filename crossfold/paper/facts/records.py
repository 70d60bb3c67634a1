"""What is known of a run, as immutable records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from crossfold.config.statistics import StatisticsConfig

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Change:
    """A key of the configuration that differs from its default; both as they stand in JSON."""

    key: str
    default: Any
    value: Any


@dataclass(frozen=True)
class Excluded:
    """A subject that the checks of the dataset left out, and why."""

    subject: str
    reason: str


@dataclass(frozen=True)
class DatasetFacts:
    """Who and what the data are.

    Parameters
    ----------
    name, description, licence, source
        As in config.yaml; empty where it does not say.
    synthetic
        Whether the images are computed.
    found, used
        Subjects that the checks saw (None without their report), and subjects in splits.csv.
    excluded
        Subjects that the checks left out.
    warnings
        Number of warnings of the checks; None without their report.
    groups
        Number of groups; fewer than subjects where a group has several scans.
    institutions
        Number of subjects by institution; an unknown institution is the empty text.
    acquired
        First and last acquisition date in dataset.csv, where every subject has one.
    digest
        Start of the SHA-256 of dataset.csv; None where it is not given.
    images_digest
        What DVC calls the images, `<md5>.dir`; None where it is not given.
    """

    name: str
    description: str
    licence: str
    source: str
    synthetic: bool
    found: int | None
    used: int
    excluded: tuple[Excluded, ...]
    warnings: int | None
    groups: int
    institutions: Mapping[str, int]
    acquired: tuple[str, str] | None
    digest: str | None
    images_digest: str | None


@dataclass(frozen=True)
class SplitFacts:
    """How subjects were divided; reading them has checked that nobody has two roles.

    Parameters
    ----------
    folds
        Number of folds.
    development, test
        Subjects outside and inside the test set.
    by_fold
        Number of subjects by role, for every fold.
    test_institutions, new_institutions
        Institutions of the test set, and those of them that no fold was trained on.
    digest
        Start of the SHA-256 of splits.csv.
    """

    folds: int
    development: int
    test: int
    by_fold: tuple[Mapping[str, int], ...]
    test_institutions: tuple[str, ...]
    new_institutions: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class TrainingFacts:
    """What the folds were trained on, and what it cost; one entry per fold.

    Parameters
    ----------
    machines
        The records machine.json; empty where there are none.
    seconds
        Wall time of all epochs, also of those before a training was continued; empty if unknown.
    energy_kwh
        Over all folds; None where a counter was not read, or a training was continued.
    """

    machines: tuple[Mapping[str, Any], ...]
    seconds: tuple[float, ...]
    energy_kwh: float | None

    @property
    def seconds_total(self) -> float | None:
        """Sum over folds in s, although folds may have run side by side; None if unknown."""
        return sum(self.seconds) if self.seconds else None

    @property
    def hardware(self) -> tuple[str, ...]:
        """Each kind of machine once, in words."""
        return tuple(dict.fromkeys(_hardware(machine) for machine in self.machines))


def _hardware(machine: Mapping[str, Any]) -> str:
    words = [f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores"]
    if machine["gpu"]:
        words.append(f"{machine['gpu']} ({machine['gpu_memory_gib']} GiB)")
    return ", ".join([*words, f"{machine['memory_gib']} GiB of memory"])


@dataclass(frozen=True)
class SoftwareFacts:
    """Versions, and the commit of the checkout at the time when the facts were gathered.

    Parameters
    ----------
    commit
        None outside a git repository.
    dirty
        Whether tracked files differ from the commit.
    versions
        Of Python and of packages, as far as they are installed here; torch as a training saw it.
    """

    commit: str | None
    dirty: bool
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """One metric of one structure: a row of metrics_summary.csv.

    `split` is val (all subjects out of fold) or test (as the ensemble predicts it); infinity is a
    value, a missing number is NaN.
    """

    split: str
    structure: str
    metric: str
    unit: str
    n: int
    n_absent: int
    n_missed: int
    n_hallucinated: int
    mean: float
    mean_ok: float
    median: float
    q1: float
    q3: float
    ci_statistic: str
    ci_low: float
    ci_high: float
    ci_method: str

    @property
    def n_failed(self) -> int:
        """Subjects in whom the structure was missed or hallucinated."""
        return self.n_missed + self.n_hallucinated


@dataclass(frozen=True)
class Facts:
    """Everything that a reader asks about a run before looking at its figures.

    Parameters
    ----------
    run, model
        Name of the run, and of the model without the epoch.
    split
        Whom the headline is about: val (out of fold) or test (ensemble); `statistics.primary_split`
        where there are such subjects.
    config, changed
        Configuration of the model, and the keys of it that differ from their defaults.
    dataset, splits, training, software
        What the model was made of.
    results
        Every metric of the folds pooled and of the ensemble.
    tolerances_mm
        Tolerance of the NSD by structure.
    spacing_mm
        Smallest, median and largest voxel size of the source images along x, y, z.
    plan
        plan.json; None where there is none.
    worst
        Subjects with the lowest mean Dice over structures in the headline's split, and that Dice.
    comparisons, sensitivity, outliers
        comparisons.csv, sensitivity.csv and by_reason.csv; empty where there are none.
    given
        Names of the files that the facts are from.
    limitations
        What the pipeline itself can see, as sentences.
    """

    run: str
    model: str
    split: str
    config: Mapping[str, Any]
    changed: tuple[Change, ...]
    statistics: StatisticsConfig
    dataset: DatasetFacts
    splits: SplitFacts
    training: TrainingFacts
    software: SoftwareFacts
    results: tuple[Result, ...]
    tolerances_mm: Mapping[str, float]
    spacing_mm: tuple[Triple, Triple, Triple]
    plan: Mapping[str, Any] | None
    worst: tuple[tuple[str, float], ...]
    comparisons: pd.DataFrame = field(compare=False)
    sensitivity: pd.DataFrame = field(compare=False)
    outliers: pd.DataFrame = field(compare=False)
    given: frozenset[str]
    limitations: tuple[str, ...] = ()

    @property
    def structures(self) -> tuple[str, ...]:
        """Structures, then derived structures, in the order of the configuration."""
        return (*self.config["structures"], *self.config.get("derived_structures", {}))

    @property
    def planned_after_results(self) -> bool:
        """Whether the plan was made, or changed, when there were results already."""
        return bool(self.plan and self.plan["results_existed"])

    @property
    def split_in_words(self) -> str:
        """Whom the headline is about."""
        return SPLITS_IN_WORDS[self.split]

    def result(self, structure: str, metric: str, split: str = "") -> Result | None:
        """Return one result, of the headline's split unless another is named."""
        wanted = (split or self.split, structure, metric)
        for result in self.results:
            if (result.split, result.structure, result.metric) == wanted:
                return result
        return None

    def of_split(self, split: str = "") -> tuple[Result, ...]:
        """Return all results of the headline's split, or of the one that is named."""
        return tuple(result for result in self.results if result.split == (split or self.split))


SPLITS_IN_WORDS = {"val": "all subjects out of fold", "test": "the ensemble on the test set"}
