"""Models that inherit from each other: `base:` and `abstract:`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossfold.config.base import nearest
from crossfold.errors import CrossfoldError

# A mapping that names another kind of thing replaces its base instead of being merged into it.
_KIND_KEYS = ("_target_", "method", "source")


def lineage(name: str, models: Mapping[str, Any]) -> list[str]:
    """Return a model and its bases, the model first.

    Raises
    ------
    CrossfoldError
        If a base is unknown, or a model is its own base.
    """
    chain = [name]
    while base := (models[chain[-1]] or {}).get("base"):
        if base not in models:
            raise CrossfoldError(
                f"models.{chain[-1]}.base: unknown model `{base}`",
                remedy=nearest(base, models),
            )
        if base in chain:
            circle = " -> ".join([*chain, base])
            raise CrossfoldError(
                f"models.{chain[-1]}.base: the models inherit in a circle: {circle}",
                remedy="remove one `base:` of the circle",
            )
        chain.append(base)
    return chain


def merge(base: Any, override: Any) -> Any:
    """Lay one configuration over another: mappings key by key, anything else replaced."""
    if not (isinstance(base, Mapping) and isinstance(override, Mapping)):
        return override
    for key in _KIND_KEYS:
        if key in override and override[key] != base.get(key, override[key]):
            return dict(override)
    merged = dict(base)
    for key, value in override.items():
        merged[key] = merge(base[key], value) if key in base else value
    return merged


def resolve(name: str, models: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole configuration of a model, its bases merged in."""
    merged: dict[str, Any] = {}
    for ancestor in reversed(lineage(name, models)):
        own = {k: v for k, v in (models[ancestor] or {}).items() if k not in ("base", "abstract")}
        merged = merge(merged, own)
    return merged
