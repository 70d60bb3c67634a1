"""From the text of config.yaml to checked objects, or an error that says what to change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from crossfold.config.base import nearest
from crossfold.config.datasets import DatasetConfig, DatasetRevision
from crossfold.config.figures import FiguresConfig
from crossfold.config.inheritance import BrokenChainError, lineage, resolve
from crossfold.config.init_from import check_origins
from crossfold.config.models import ModelConfig
from crossfold.config.origin import Location, Origin
from crossfold.config.registry import RegistryConfig
from crossfold.config.root import Config
from crossfold.config.statistics import ALL_MODELS, ComparedRun, StatisticsConfig
from crossfold.errors import CrossfoldError

# Names of models and datasets are folders.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def load_config(raw: Mapping[str, Any], files: Sequence[str | Path] = ()) -> Config:
    """Check the merged configuration.

    Parameters
    ----------
    raw
        What Snakemake merged from all configuration files and the command line.
    files
        The files it was merged from, the strongest last; to name them in errors.

    Raises
    ------
    CrossfoldError
        Naming the file, the key, the value and the remedy.
    """
    where = Origin(files)
    for key in raw:
        if key not in Config.model_fields:
            raise where.error((key,), "unknown key", nearest(key, Config.model_fields))
    models = raw.get("models") or {}
    datasets = {}
    for name, section in (raw.get("datasets") or {}).items():
        _check_name(("datasets", name), section, where)
        datasets[name] = _check(DatasetConfig, section, ("datasets", name), where)
    where = _with_lineages(models, where)
    concrete, revisions = {}, dict[str, DatasetConfig]()
    for name, section in models.items():
        if not (section or {}).get("abstract"):
            concrete[name], revision = _load_model(name, models, datasets, where)
            if revision:
                revisions[str(revision)] = revision.section(datasets[revision.name])
    if problem := check_origins(concrete):
        name, key, text, remedy = problem
        raise where.error(("models", name, "init_from", key), text, remedy)
    statistics = _check(StatisticsConfig, raw.get("statistics") or {}, ("statistics",), where)
    _check_statistics(statistics, concrete, where)
    return Config(
        datasets=datasets | revisions,
        models=concrete,
        statistics=statistics,
        figures=_check(FiguresConfig, raw.get("figures") or {}, ("figures",), where),
        registry=_check(RegistryConfig, raw.get("registry") or {}, ("registry",), where),
        state_dir=str(raw.get("state_dir", Config.model_fields["state_dir"].default)),
        request_gpus=_check(bool, raw.get("request_gpus", True), ("request_gpus",), where),
    )


def _check_name(location: Location, section: Any, where: Origin) -> None:
    if not NAME.fullmatch(str(location[-1])):
        raise where.error(
            location,
            "not a name that can be part of a path",
            "start with a letter; use letters, digits, `_` and `-`",
        )
    if section is not None and not isinstance(section, Mapping):
        raise where.error(location, f"is {section!r}", "write a mapping of keys to values")


def _with_lineages(models: Mapping[str, Any], where: Origin) -> Origin:
    """Check who inherits from whom, before anything is looked up in a base."""
    for name, section in models.items():
        _check_name(("models", name), section, where)
        if not isinstance(abstract := (section or {}).get("abstract", False), bool):
            raise where.error(("models", name, "abstract"), f"is {abstract!r}", "true or false")
    for name in models:
        try:
            where = where.with_lineage(name, lineage(name, models))
        except BrokenChainError as error:
            raise where.error(
                ("models", error.model, "base"), error.message, error.remedy
            ) from None
    return where


def _load_model(
    name: str, models: Mapping[str, Any], datasets: Mapping[str, Any], where: Origin
) -> tuple[ModelConfig, DatasetRevision | None]:
    """Check a model, and the revision of a dataset if it names one."""
    section = resolve(name, models)
    place: Location = ("models", name, "dataset")
    revision = None
    if isinstance(section.get("dataset"), Mapping):
        revision = _check(DatasetRevision, section["dataset"], place, where)
        place = (*place, "name")
    model = _check(ModelConfig, section, ("models", name), where)
    known = revision.name if revision else model.dataset
    if known not in datasets:
        raise where.error(place, f"unknown dataset `{known}`", nearest(known, datasets))
    return model, revision


def _check_statistics(
    statistics: StatisticsConfig, models: Mapping[str, ModelConfig], where: Origin
) -> None:
    """Check what `statistics` says about models: their names, and those of their structures."""
    for name, runs in statistics.compare.items():
        place: Location = ("statistics", "compare", name)
        if name not in (*models, ALL_MODELS):
            raise where.error(place, "unknown model", nearest(name, models))
        names = [name, *(run.name for run in runs)]
        for i, run in enumerate(runs):
            _check_compared_model(run, (*place, i), models, where)
            if names.count(run.name) > 1:
                remedy = "leave it out, or give it a `label` of its own"
                raise where.error((*place, i), f"two runs are named `{run.name}`", remedy)
    known = {
        structure
        for model in models.values()
        for structure in (*model.structures, *model.derived_structures)
    }
    for key in ("primary_structures", "exclude_structures"):
        for structure in getattr(statistics, key):
            if structure not in known:
                text = f"unknown structure `{structure}`"
                raise where.error(("statistics", key), text, nearest(structure, sorted(known)))
    labels = {run.name for runs in statistics.compare.values() for run in runs} | set(models)
    if statistics.reference and statistics.reference not in labels:
        remedy = nearest(statistics.reference, sorted(labels))
        text = f"`{statistics.reference}` is no compared run"
        raise where.error(("statistics", "reference"), text, remedy)


def _check_compared_model(
    run: ComparedRun, place: Location, models: Mapping[str, ModelConfig], where: Origin
) -> None:
    """Refuse a name that is no model, and an epoch of one that is not kept."""
    if not run.model:
        return
    if run.base_model not in models:
        text = f"unknown model `{run.model}`"
        is_path = "/" in run.model
        remedy = "end the path of a table in .csv" if is_path else nearest(run.base_model, models)
        raise where.error(place, text, remedy)
    epoch = run.model.removeprefix(run.base_model).removeprefix("@")
    kept = [str(number) for number in models[run.base_model].training.checkpoint_epochs]
    if epoch not in ("", *kept):
        text = f"`{run.model}`: no checkpoint of epoch `{epoch}` is kept"
        remedy = f"choose one of {', '.join(kept)}, or set `training.checkpoints` of the model"
        raise where.error(place, text, remedy)


def _check(kind: Any, section: Any, location: Location, where: Origin) -> Any:
    """Validate one section; the first problem becomes the error, the others are listed below it."""
    try:
        return TypeAdapter(kind).validate_python(section)
    except ValidationError as error:
        problems = [_problem(details, location, where) for details in error.errors()]
        first, *others = [CrossfoldError(message, remedy=remedy) for message, remedy in problems]
        if not others:
            raise first from None
        text = "\n".join(str(problem) for problem in others)
        raise CrossfoldError(f"{first}\n{text}") from None


def _problem(details: Any, location: Location, where: Origin) -> tuple[str, str]:
    """Turn one pydantic error into a message and a remedy."""
    # In braces stands which of several kinds a section is; the files do not name it.
    path = (*location, *(part for part in details["loc"] if not str(part).startswith("{")))
    if details["type"] == "unknown_key":
        key, suggestion = details["ctx"]["key"], details["ctx"]["suggestion"]
        return where.message((*path, key), f"unknown key `{key}`"), suggestion
    if details["type"] == "missing":
        return where.message(path, "missing"), f"add `{path[-1]}:`"
    message = details["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = details["input"]
    if isinstance(value, Mapping) or details["type"] == "value_error":
        message, _, remedy = message.partition("; ")
        remedy = remedy or "change it as described in docs/configuration.md"
        return where.message(path, message), remedy
    return where.message(path, f"is {value!r}"), message
