"""Gathering the facts of a run from its files."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold import __version__
from crossfold.config.models import ModelConfig
from crossfold.config.statistics import StatisticsConfig
from crossfold.data.dataset import read_table
from crossfold.data.splits import ROLES, Splits
from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import read_metrics
from crossfold.paper.facts.limitations import limitations_of
from crossfold.paper.facts.records import (
    Change,
    DatasetFacts,
    Excluded,
    Facts,
    Result,
    SoftwareFacts,
    SplitFacts,
    TrainingFacts,
    Triple,
)

Paths = Mapping[str, Path | Sequence[Path]]

PACKAGES = (
    *("torch", "monai", "numpy", "scipy", "pandas", "statsmodels", "nibabel"),
    *("connected-components-3d", "edt", "matplotlib", "snakemake"),
)
_DIGITS_OF_DIGEST = 16
_N_WORST = 3
# Results that are published again differ from the last commit, whatever the code.
_RESULTS = ("results", "data", "demo", "dvc.yaml", "dvc.lock")
_CODE = (".", *(f":(exclude){name}" for name in _RESULTS))
# What a model cannot do without, so that there is no default to compare with.
_WITHOUT_DEFAULT = ("dataset", "images", "structures", "description", "derived_structures")


def gather_facts(
    paths: Paths,
    *,
    run: str,
    statistics: StatisticsConfig,
    dataset: Mapping[str, Any] | None = None,
    repository: Path | None = None,
) -> Facts:
    """Gather what was run, and what came out, from its files.

    Parameters
    ----------
    paths
        `config`, `splits`, `metrics` and `summary`; and where there are such files, `dataset`
        (dataset.csv), `content` (dataset.json), `dataset_report`, `plan`, `comparisons`,
        `sensitivity`, `by_reason` (of the outliers), and one file for each fold under `machines`
        and `training`.
    run
        Name of the run.
    statistics
        Section `statistics`.
    dataset
        Section of the dataset in config.yaml: source, description, licence.
    repository
        Checkout whose commit is named; None: the working directory.

    Raises
    ------
    CrossfoldError
        If a file is damaged, or the splits contradict themselves.
    """
    config = _json(paths, "config")
    metrics = read_metrics(_file(paths, "metrics"))
    results = tuple(_results(read_frame(_file(paths, "summary"))))
    present = {result.split for result in results}
    primary = statistics.primary_split
    split = str(primary) if primary in present else min(present)
    splits = Splits.read(_file(paths, "splits"))
    training = _training_facts(paths)
    facts = Facts(
        run=run,
        model=run.partition("@")[0],
        split=split,
        config=config,
        changed=tuple(changed_keys(config)),
        statistics=statistics,
        dataset=_dataset_facts(
            paths, config["dataset"], dataset or {}, splits, bool(metrics["synthetic"].any())
        ),
        splits=_split_facts(splits, _file(paths, "splits")),
        training=training,
        software=software_facts(repository or Path(), training.machines),
        results=results,
        tolerances_mm=dict(
            zip(metrics["structure"], metrics["nsd_tolerance_mm"].astype(float), strict=True)
        ),
        spacing_mm=_spacing_mm(metrics),
        plan=_json(paths, "plan") if "plan" in paths else None,
        worst=_worst(metrics, split),
        comparisons=_frame(paths, "comparisons"),
        sensitivity=_frame(paths, "sensitivity"),
        outliers=_frame(paths, "by_reason"),
        given=frozenset(paths),
    )
    return replace(facts, limitations=limitations_of(facts))


def changed_keys(config: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the keys of a model's configuration that differ from their defaults.

    Parameters
    ----------
    config
        config.json of a model. What it has no default for (its data, images and structures) is
        left out.
    """
    default = ModelConfig(dataset="any", images=("image",), structures=("structure",))
    defaults = dict(_leaves(default.model_dump(mode="json", by_alias=True)))
    for key, value in _leaves(config):
        if key.partition(".")[0] not in _WITHOUT_DEFAULT and value != defaults.get(key):
            yield Change(key, defaults.get(key), value)


def software_facts(repository: Path, machines: Sequence[Mapping[str, Any]] = ()) -> SoftwareFacts:
    """Name versions and the commit of a checkout.

    Parameters
    ----------
    repository
        A folder in the checkout.
    machines
        Records of the trainings, which know the version of torch that they used.
    """
    versions = {"crossfold": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # the environment of this step does not need it
            continue
    for machine in machines:
        versions["torch"] = machine["torch"]
    changes = _git(repository, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    return SoftwareFacts(_git(repository, "rev-parse", "HEAD") or None, bool(changes), versions)


def _git(repository: Path, *arguments: str) -> str | None:
    """Return what git says, or None where there is no git, no repository or no commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _file(paths: Paths, name: str) -> Path:
    file = paths[name]
    if not isinstance(file, Path):
        raise TypeError(f"{name}: one path is needed, not {file!r}")
    return file


def _files(paths: Paths, name: str) -> list[Path]:
    files = paths.get(name, ())
    return [files] if isinstance(files, Path) else list(files)


def _json(paths: Paths, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_file(paths, name).read_text(encoding="utf-8"))
    return content


def _frame(paths: Paths, name: str) -> pd.DataFrame:
    return read_frame(_file(paths, name)) if name in paths else pd.DataFrame()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGITS_OF_DIGEST]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings with dotted keys; an empty mapping is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _results(summary: pd.DataFrame) -> Iterator[Result]:
    """Yield the rows that are about the folds pooled, and about the ensemble."""
    shown = summary[summary["fold"].isin(["pooled", "ensemble"])]
    names = [field.name for field in fields(Result)]
    for row in shown[names].itertuples(index=False, name=None):
        yield Result(*row)


def _dataset_facts(
    paths: Paths, name: str, section: Mapping[str, Any], splits: Splits, synthetic: bool
) -> DatasetFacts:
    excluded: tuple[Excluded, ...] = ()
    found = warnings = None
    if "dataset_report" in paths:
        report = pd.read_csv(_file(paths, "dataset_report"), dtype=str, keep_default_na=False)
        found = report.loc[report["subject"] != "", "subject"].nunique()
        warnings = int((report["severity"] == "warning").sum())
        out = report[(report["status"] == "excluded") & (report["severity"] == "error")]
        excluded = tuple(
            Excluded(str(subject), "; ".join(dict.fromkeys(rows["message"])))
            for subject, rows in out.groupby("subject", sort=False)
        )
    institutions = Counter(sorted(member.institution for member in splits.members))
    return DatasetFacts(
        name=name,
        description=section.get("description") or "",
        licence=section.get("licence") or "",
        source=section.get("source") or "",
        synthetic=synthetic,
        found=found,
        used=len(splits.members),
        excluded=excluded,
        warnings=warnings,
        groups=len({member.group for member in splits.members}),
        institutions=dict(institutions),
        acquired=_acquired(_file(paths, "dataset"), splits) if "dataset" in paths else None,
        digest=_digest(_file(paths, "dataset")) if "dataset" in paths else None,
        images_digest=_json(paths, "content")["images"] if "content" in paths else None,
    )


def _acquired(dataset_csv: Path, splits: Splits) -> tuple[str, str] | None:
    """Return the first and the last date of acquisition, if every subject has one."""
    table = read_table(dataset_csv)
    dated = table[table["acquisition_date"] != ""].drop_duplicates("subject")
    subjects = {member.subject for member in splits.members}
    dates = dated.loc[dated["subject"].isin(subjects), "acquisition_date"]
    return (dates.min(), dates.max()) if len(dates) == len(subjects) else None


def _split_facts(splits: Splits, file: Path) -> SplitFacts:
    institution = {member.subject: member.institution for member in splits.members}
    test = {institution[subject] for subject in splits.test} - {""}
    seen = {institution[name] for name in institution if name not in set(splits.test)}
    return SplitFacts(
        folds=len(splits.folds),
        development=len(splits.members) - len(splits.test),
        test=len(splits.test),
        by_fold=tuple(
            {role: len(splits.subjects(role, fold)) for role in ROLES} for fold in splits.folds
        ),
        test_institutions=tuple(sorted(test)),
        new_institutions=tuple(sorted(test - seen)),
        digest=_digest(file),
    )


def _training_facts(paths: Paths) -> TrainingFacts:
    machines = tuple(
        json.loads(file.read_text(encoding="utf-8")) for file in _files(paths, "machines")
    )
    # A record counts from where a training was continued, its table from the first epoch on.
    energies = [
        None if machine.get("continued_after_epoch") else machine["energy_kwh"]
        for machine in machines
    ]
    known = [energy for energy in energies if energy is not None]
    return TrainingFacts(
        machines=machines,
        seconds=tuple(_seconds(file) for file in _files(paths, "training")),
        energy_kwh=sum(known) if known and len(known) == len(energies) else None,
    )


def _seconds(training: Path) -> float:
    """Sum the wall time of all epochs: the last row of each epoch and phase has it whole."""
    table = read_frame(training)
    return float(table.groupby(["epoch", "phase"])["seconds"].max().sum())


def _worst(metrics: pd.DataFrame, split: str) -> tuple[tuple[str, float], ...]:
    """Return the subjects with the lowest mean Dice, ties by name."""
    fold = metrics["fold"] == "ensemble" if split == "test" else True
    rows = metrics[(metrics["split"] == split) & fold]
    dice = rows.groupby("subject")["dice"].mean().dropna().sort_values(kind="stable")
    return tuple((str(subject), float(value)) for subject, value in dice.head(_N_WORST).items())


def _spacing_mm(metrics: pd.DataFrame) -> tuple[Triple, Triple, Triple]:
    columns = ["spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]
    images = metrics.drop_duplicates("subject")[columns]
    low, middle, high = (
        tuple(float(value) for value in images.quantile(share)) for share in (0, 0.5, 1)
    )
    return low, middle, high  # type: ignore[return-value]
