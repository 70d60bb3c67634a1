"""From the text of config.yaml to checked objects, or an error that says what to change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from crossfold.config.base import nearest
from crossfold.config.datasets import DatasetConfig
from crossfold.config.figures import FiguresConfig
from crossfold.config.inheritance import lineage, resolve
from crossfold.config.models import ModelConfig
from crossfold.config.root import Config
from crossfold.config.statistics import ALL_MODELS, ComparedRun, StatisticsConfig
from crossfold.errors import CrossfoldError

Location = tuple[str | int, ...]
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
    where = _Origin(files)
    for key in raw:
        if key not in Config.model_fields:
            raise where.error((key,), "unknown key", nearest(key, Config.model_fields))
    models = raw.get("models") or {}
    datasets = {}
    for name, section in (raw.get("datasets") or {}).items():
        _check_name(("datasets", name), section, where)
        datasets[name] = _check(DatasetConfig, section, ("datasets", name), where)
    concrete = {}
    for name, section in models.items():
        _check_name(("models", name), section, where)
        if (section or {}).get("abstract"):
            lineage(name, models)
        else:
            concrete[name] = _load_model(name, models, datasets, where)
    statistics = _check(StatisticsConfig, raw.get("statistics") or {}, ("statistics",), where)
    _check_statistics(statistics, concrete, where)
    return Config(
        datasets=datasets,
        models=concrete,
        statistics=statistics,
        figures=_check(FiguresConfig, raw.get("figures") or {}, ("figures",), where),
        state_dir=str(raw.get("state_dir", Config.model_fields["state_dir"].default)),
    )


def _check_name(location: Location, section: Any, where: _Origin) -> None:
    if not NAME.fullmatch(str(location[-1])):
        raise where.error(
            location,
            "not a name that can be part of a path",
            "start with a letter; use letters, digits, `_` and `-`",
        )
    if section is not None and not isinstance(section, Mapping):
        raise where.error(location, f"is {section!r}", "write a mapping of keys to values")


def _load_model(
    name: str, models: Mapping[str, Any], datasets: Mapping[str, Any], where: _Origin
) -> ModelConfig:
    section = resolve(name, models)
    where = where.with_lineage(name, lineage(name, models))
    model = _check(ModelConfig, section, ("models", name), where)
    if model.dataset not in datasets:
        raise where.error(
            ("models", name, "dataset"),
            f"unknown dataset `{model.dataset}`",
            nearest(model.dataset, datasets),
        )
    return model


def _check_statistics(
    statistics: StatisticsConfig, models: Mapping[str, ModelConfig], where: _Origin
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
    run: ComparedRun, place: Location, models: Mapping[str, ModelConfig], where: _Origin
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
        remedy = f"choose one of {', '.join(kept)}, or set `checkpoint_every` of the model"
        raise where.error(place, text, remedy)


def _check(kind: Any, section: Any, location: Location, where: _Origin) -> Any:
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


def _problem(details: Any, location: Location, where: _Origin) -> tuple[str, str]:
    """Turn one pydantic error into a message and a remedy."""
    path = (*location, *details["loc"])
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


class _Origin:
    """Finds the file, and in it the key, from which a value came."""

    def __init__(self, files: Sequence[str | Path], bases: Mapping[str, list[str]] | None = None):
        self._files = list(files)
        self._lineage = dict(bases or {})

    def with_lineage(self, name: str, chain: list[str]) -> _Origin:
        return _Origin(self._files, {**self._lineage, name: chain})

    def error(self, location: Location, message: str, remedy: str) -> CrossfoldError:
        return CrossfoldError(self.message(location, message), remedy=remedy)

    def message(self, location: Location, message: str) -> str:
        file, location = self._find(location)
        key = ".".join(str(part) for part in location)
        return f"{file}: {key}: {message}"

    def _find(self, location: Location) -> tuple[str, Location]:
        candidates = [location]
        if len(location) > 2 and location[0] == "models" and location[1] in self._lineage:
            chain = self._lineage[str(location[1])]
            candidates = [("models", ancestor, *location[2:]) for ancestor in chain]
        for depth in range(len(location), 0, -1):
            for candidate in candidates:
                for file in reversed(self._files):
                    if _has(_read(str(file)), candidate[:depth]):
                        return str(file), candidate
        return "command line" if self._files else "configuration", location


@cache
def _read(file: str) -> Any:
    return yaml.safe_load(Path(file).read_text(encoding="utf-8"))


def _has(tree: Any, location: Location) -> bool:
    for part in location:
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return False
    return True
