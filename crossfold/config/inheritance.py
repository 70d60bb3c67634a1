"""Models that inherit from each other: `base:` and `abstract:`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from crossfold.config.base import nearest
from crossfold.errors import CrossfoldError

SHIPPED = Path(__file__).with_name("bases")
"""Folder of the bases that come with Crossfold: `Name` in `file.yaml` is the base `file.Name`."""
KIND_KEYS = ("_target_", "method", "source")
"""A mapping that names another kind of thing replaces its base instead of being merged into it."""


class BrokenChainError(CrossfoldError):
    """A model that cannot inherit what it wants to; `model` is the one whose `base` is wrong."""

    def __init__(self, model: str, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.model = model


@cache
def shipped_bases() -> dict[str, dict[str, Any]]:
    """Return the bases that come with Crossfold by name; no model of a user can bear one."""
    return {
        f"{file.stem}.{name}": section
        for file in sorted(SHIPPED.glob("*.yaml"))
        for name, section in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    }


def lineage(name: str, models: Mapping[str, Any]) -> list[str]:
    """Return a model and its bases, the model first.

    Raises
    ------
    BrokenChainError
        If a base is unknown, or a model is its own base; the message shows the chain.
    """
    known = shipped_bases() | {**models}
    chain = [name]
    while (base := (known[chain[-1]] or {}).get("base")) is not None:
        if not isinstance(base, str):
            message, remedy = f"is {base!r}", "write the name of one model"
            raise BrokenChainError(chain[-1], message, remedy=remedy)
        shown = " -> ".join([*chain, base])
        if base not in known:
            through = f" ({shown})" if len(chain) > 1 else ""
            remedy = nearest(base, known)
            raise BrokenChainError(chain[-1], f"unknown model `{base}`{through}", remedy=remedy)
        if base in chain:
            message, remedy = "the models inherit in a circle", "remove one `base:` of the circle"
            raise BrokenChainError(chain[-1], f"{message}: {shown}", remedy=remedy)
        chain.append(base)
    return chain


def merge(base: Any, override: Any) -> Any:
    """Lay one configuration over another: mappings key by key, anything else replaced.

    A mapping that names its kind (`_target_`, `method`, `source`) takes nothing from one of another
    kind, nor from one that names none and so is of the default kind.
    """
    if not (isinstance(base, Mapping) and isinstance(override, Mapping)):
        return override
    if any(key in override and override[key] != base.get(key) for key in KIND_KEYS):
        return dict(override)
    merged = dict(base)
    for key, value in override.items():
        merged[key] = merge(base[key], value) if key in base else value
    return merged


def resolve(name: str, models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole configuration of a model, its bases merged in."""
    known = shipped_bases() | {**models}
    merged: dict[str, Any] = {}
    for ancestor in reversed(lineage(name, models)):
        own = {k: v for k, v in (known[ancestor] or {}).items() if k not in ("base", "abstract")}
        merged = merge(merged, own)
    return merged
