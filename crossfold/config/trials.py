"""The models of a search: which keys are searched, and a model with other values in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from crossfold.config.base import nearest
from crossfold.config.inheritance import KIND_KEYS
from crossfold.config.planning import written_keys
from crossfold.config.search import SearchConfig, Space
from crossfold.errors import CrossfoldError

if TYPE_CHECKING:
    from crossfold.config.models import ModelConfig

SECTIONS = ("training", "network", "inference")
"""Sections whose keys can be searched, in the order in which a name is looked for."""
UNET = "crossfold.learning.networks.UNet"
UNET_ARGUMENTS = ("channels", "kernel_sizes", "strides", "convolutions")
"""What can be searched of this network though a model writes nothing of it."""
# No hyperparameters: they say where a training runs and what is kept of it.
_REFUSED = {
    *(f"training.{key}" for key in ("device", "devices", "seed", "compile")),
    *(f"training.{key}" for key in ("checkpoints", "extended_from", "validate_every")),
}
# Where the values of a range are tried before anything is drawn.
_TRIED = (0.0, 0.5, 0.999)


def search_of(name: str, model: ModelConfig) -> SearchConfig:
    """Return the search of a model.

    Raises
    ------
    CrossfoldError
        If it has none.
    """
    if model.search is None:
        raise CrossfoldError(
            f"config.yaml: models.{name} has no search",
            remedy="add one, such as `search: {learning_rate: {log_uniform: [0.0005, 0.01]}}`",
        )
    return model.search


def spaces_of(model: ModelConfig) -> dict[str, Space]:
    """Return the values of every searched parameter by its key in full, sorted.

    Raises
    ------
    ValueError
        If a name is that of no key that can be searched, or of several.
    """
    search = model.search
    if search is None:
        return {}
    sections = _sections(model)
    spaces: dict[str, Space] = {}
    for name, space in search.parameters.items():
        key = _key_of(name, sections, model)
        if key in spaces:
            raise ValueError(f"search: {key} is named twice; leave one out")
        spaces[key] = space
    for key in spaces:
        inner = next((other for other in spaces if other.startswith(f"{key}.")), None)
        if inner:
            raise ValueError(f"search: {inner} is a part of {key}; search one of the two")
    return dict(sorted(spaces.items()))


def current_values(model: ModelConfig) -> dict[str, JsonValue]:
    """Return the values that searched parameters have in the model itself, where it has any."""
    flat = dict(_leaves(_sections(model)))
    return {key: flat[key] for key in spaces_of(model) if key in flat}


def drawn_model(
    model: ModelConfig, values: Mapping[str, JsonValue], *, epochs: int | None = None
) -> ModelConfig:
    """Return the model of a trial: these values, and one checkpoint in the end.

    Parameters
    ----------
    values
        By key in full.
    epochs
        Epochs of a trial; None: those of the model.

    Raises
    ------
    pydantic.ValidationError
        If these values do not go together.
    """
    raw = {**written_keys(model), **_sections(model), "search": None, "test_epochs": []}
    raw["training"] |= {"checkpoints": {}, "extended_from": []}
    if epochs:
        raw["training"]["epochs"] = epochs
    # A kind of network or optimiser first: what another kind was told is not for it.
    for key, value in sorted(values.items(), key=lambda item: not _names_kind(item[0])):
        *above, last = key.split(".")
        section = raw
        for part in above:
            section = section[part]
        if last in KIND_KEYS and section.get(last) != _normal(value):
            section.clear()
        section[last] = value
    return type(model).model_validate(raw)


def problem_of(model: ModelConfig, values: Mapping[str, JsonValue]) -> str:
    """Say why values do not go together, or nothing where they do."""
    try:
        drawn_model(model, values, epochs=model.search.epochs if model.search else None)
    except ValidationError as error:
        details = error.errors()[0]
        where = ".".join(map(str, details["loc"]))
        return f"{where}: {details['msg'].removeprefix('Value error, ')}"
    return ""


def grid_points(model: ModelConfig) -> int:
    """Return the number of combinations of a grid."""
    return math.prod(len(space.grid()) for space in spaces_of(model).values())


def trial_count(model: ModelConfig) -> int:
    """Return how many trials the search has: what it says, at most all combinations of a grid."""
    search = model.search
    assert search is not None
    return min(search.trials, grid_points(model)) if search.method == "grid" else search.trials


def check_search(model: ModelConfig) -> None:
    """Refuse a search that cannot be run.

    Raises
    ------
    ValueError
        Naming the key and the remedy.
    """
    search = model.search
    if search is None:
        return
    unknown = [fold for fold in search.folds if fold >= model.splits.folds]
    if unknown:
        raise ValueError(
            f"search.folds: there is no fold {unknown[0]}; "
            f"folds are 0 to {model.splits.folds - 1}, see splits.folds"
        )
    spaces = spaces_of(model)
    if search.epochs and "training.epochs" in spaces:
        raise ValueError("search: epochs is fixed and searched; leave out one of the two")
    for key, space in spaces.items():
        if search.method == "grid":
            try:
                space.grid()
            except ValueError as error:
                raise ValueError(f"search.{key}: {error}") from None
        count = len(space.choice or _TRIED)
        shares = [place / count for place in range(count)] if space.choice else _TRIED
        problems = [problem_of(model, {key: space.at(share)}) for share in shares]
        if all(problems):
            raise ValueError(f"search.{key}: no value of it is valid; {problems[0]}")


def _names_kind(key: str) -> bool:
    return key.rpartition(".")[2] in KIND_KEYS


def _normal(kind: JsonValue) -> JsonValue:
    """Return the name of a kind as a section has it, an import path with dots throughout."""
    return kind.replace(":", ".", 1) if isinstance(kind, str) else kind


def _sections(model: ModelConfig) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, include={*SECTIONS})


def _key_of(name: str, sections: Mapping[str, Any], model: ModelConfig) -> str:
    """Return the key in full that a name means."""
    if name == "network":
        return name  # as a whole: each kind of network has arguments of its own
    keys = [key for key, _ in _leaves(sections) if key not in SECTIONS]
    if model.network.target == UNET:
        keys = [*dict.fromkeys([*keys, *(f"network.{argument}" for argument in UNET_ARGUMENTS)])]
    known = [key for section in SECTIONS for key in keys if key.startswith(f"{section}.")]
    found = [name] if name in known else [key for key in known if key.endswith(f".{name}")]
    # The first section that has one, and there, what is nearest to the top.
    ranks = [(SECTIONS.index(key.partition(".")[0]), key.count(".")) for key in found]
    best = [key for key, rank in zip(found, ranks, strict=True) if rank == min(ranks)]
    if len(best) > 1:
        raise ValueError(f"search: `{name}` may be {' or '.join(best)}; write one of them in full")
    if not best and name.startswith("network.") and name.count(".") == 1:
        return name  # an argument that only the network's own code knows
    if not best:
        raise ValueError(f"search: {_unknown(name, known, model)}")
    if any(f"{best[0]}.".startswith(f"{refused}.") for refused in _REFUSED):
        raise ValueError(f"search: {best[0]} is no hyperparameter; leave it out")
    return best[0]


def _unknown(name: str, known: list[str], model: ModelConfig) -> str:
    others = dict(
        _leaves(model.model_dump(mode="json", by_alias=True, exclude={*SECTIONS, "search"}))
    )
    if any(name == key or key.endswith(f".{name}") for key in others):
        return (
            f"`{name}` cannot be searched, because all trials share the same preprocessed images "
            f"and folds; search keys of {', '.join(SECTIONS)}, and compare models for the rest"
        )
    lasts = {key.rpartition(".")[2]: key for key in known}
    candidates = known if "." in name else [*lasts]
    return f"unknown key `{name}`; {nearest(name, candidates)}"


def _leaves(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key in full with its value, sections before what is in them."""
    for key, value in section.items():
        yield f"{above}{key}", value
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
