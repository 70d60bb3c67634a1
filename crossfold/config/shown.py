"""A model as it is after inheritance, with where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from crossfold import paths
from crossfold.config.inheritance import lineage, resolve, shipped_bases
from crossfold.config.loading import load_config
from crossfold.config.models import ModelConfig
from crossfold.config.origin import Location, Origin
from crossfold.config.planning import WRITTEN, ModelPlan, planned
from crossfold.errors import CrossfoldError

_COMMENT_COLUMN = 56
_INDENT = "  "
DEFAULT = "# default"


def show_model(name: str, files: Sequence[Path]) -> Iterator[str]:
    """Yield the lines of a model: valid YAML, each value with its file, line and base as a comment.

    Parameters
    ----------
    name
        A model, abstract or not.
    files
        Configuration files, the strongest last.

    Raises
    ------
    CrossfoldError
        If a file is unreadable, the configuration wrong, or there is no such model.
    """
    raw = merge_files(files)
    config = load_config(raw, files)
    models = shipped_bases() | (raw.get("models") or {})
    written = resolve(name, models) if name in models else {}
    is_abstract = bool((models.get(name) or {}).get("abstract"))
    plan_json = None if is_abstract else _plan_of(name, config.model(name))
    plan = ModelPlan.read(plan_json)
    if is_abstract:
        values = written
    else:
        values = planned(config.model(name), plan_json).model_dump(mode="json", by_alias=True)
    chain = lineage(name, models)
    origin = Origin(files).with_lineage(name, chain)
    yield f"# {' -> '.join(chain)}{' (abstract: defaults are left out)' if is_abstract else ''}"
    for path, text in _flattened(values):
        line = _INDENT * (len(path) - 1) + f"{path[-1]}:{text and ' ' + text}"
        comment = _comment(origin, name, path, written) if text else ""
        if comment == DEFAULT and (reason := _reason(plan, path)):
            comment = f"# plan.json: {reason}"
        yield f"{line:<{_COMMENT_COLUMN}} {comment}" if comment else line


def _plan_of(name: str, model: ModelConfig) -> Path | None:
    """Return the plan of a model, if it is to have one and has been made."""
    path = Path(paths.MODEL_PLAN.format(model=name))
    return path if model.plan and path.is_file() else None


def _reason(plan: ModelPlan, path: Location) -> str | None:
    """Say why a plan gives a key its value; a mapping as a whole has one reason."""
    keys = (".".join(map(str, path[:depth])) for depth in range(len(path), 0, -1))
    reasons = (reason for key in keys if (reason := plan.reason(key)))
    return next((reason for reason in reasons if reason != WRITTEN), None)


def merge_files(files: Sequence[Path]) -> dict[str, Any]:
    """Merge configuration files key by key, the strongest last, as Snakemake does.

    Raises
    ------
    CrossfoldError
        If a file is missing, or not a mapping in YAML.
    """
    merged: dict[str, Any] = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CrossfoldError(
                f"{file}: {error}", remedy="check its path and its YAML"
            ) from error
        if not isinstance(content or {}, dict):
            raise CrossfoldError(f"{file}: is no mapping", remedy="write keys and values")
        _update(merged, content or {})
    return merged


def _update(merged: dict[str, Any], content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = dict(below) if isinstance(below, Mapping) else {}
            _update(merged[key], value)
        else:
            merged[key] = value


def _flattened(values: Mapping[str, Any], above: Location = ()) -> Iterator[tuple[Location, str]]:
    """Yield every key with its value in one line, or with nothing where keys follow below it."""
    for key, value in values.items():
        path = (*above, key)
        if isinstance(value, Mapping) and value:
            yield path, ""
            yield from _flattened(value, path)
        else:
            text = yaml.safe_dump(
                value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
            )
            yield path, text.removesuffix("...\n").strip()


def _comment(origin: Origin, name: str, path: Location, written: Any) -> str:
    """Say where a value is written; what no section of the chain has left is a default."""
    for part in path:
        if not isinstance(written, Mapping) or part not in written:
            # A shorthand, such as a name in place of a section, stands one level above.
            return DEFAULT if isinstance(written, Mapping) else _comment_of(origin, name, path)
        written = written[part]
    return _comment_of(origin, name, path)


def _comment_of(origin: Origin, name: str, path: Location) -> str:
    for depth in range(len(path), 0, -1):
        place = origin.place(("models", name, *path[:depth]))
        if place:
            owner = place.location[1]
            inherited = f" ({owner})" if owner != name else ""
            return f"# {place.file}:{place.line}{inherited}"
    return DEFAULT
