"""The best trial as a model of its own, which trains what the trial has trained."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from crossfold.config.inheritance import KIND_KEYS, merge
from crossfold.config.learning import CheckpointsConfig
from crossfold.config.models import ModelConfig
from crossfold.config.planning import PLANNED_SECTIONS, planned, written_keys
from crossfold.config.trials import SECTIONS, drawn_model
from crossfold.search.best import Row, best_trial
from crossfold.search.table import parameters_of, value_of

TUNED = "Tuned"
"""What is added to the name of a model for the one with the best values."""
_MISSING = object()


def snippet(
    name: str, model: ModelConfig, trials: pd.DataFrame, *, plan_json: str | Path | None = None
) -> str:
    """Return a model with the values of the best trial, as YAML for `models:` of config.yaml.

    It is a model of its own, because the results of the other one stay what they are.

    Parameters
    ----------
    name, model
        The model that was searched.
    trials
        Table of all trials.
    plan_json
        Its results/<Model>/plan.json, from which the trials started; None without `plan: auto`.
    """
    best = best_trial(trials)
    if best is None:
        return f"# No trial of {name} has ended, so there is no best one.\n"
    values = {key: value_of(best[key]) for key in parameters_of(trials) if best[key]}
    drawn = drawn_model(planned(model, plan_json), values)
    own = {"models": {f"{name}{TUNED}": _tuned(name, model, drawn)}}
    text = yaml.safe_dump(own, sort_keys=False, default_flow_style=None, width=100)
    return "".join(f"# {line}\n" for line in _notes(name, model, best)) + text


def _notes(name: str, model: ModelConfig, best: Row) -> Iterator[str]:
    yield f"Trial {best['trial']} of results/{name}/search.csv: {best['mean']:.4f}"
    epochs = model.search.epochs if model.search else None
    if epochs and epochs != model.training.epochs:
        yield f"Its trials had {epochs} epochs; this model has {model.training.epochs}."
    if model.plan:
        yield "What was planned for the trials is written out; it would be planned again otherwise."
    # By default, models are compared on the subjects out of fold, by which this one was chosen.
    yield f"Compare it with {name} on the test set: statistics: {{primary_split: test}}"


def _tuned(name: str, model: ModelConfig, drawn: ModelConfig) -> dict[str, Any]:
    """Return the shortest section that makes `drawn` of `model`, but for the checkpoints kept.

    It has the model as its base, unless that has what a model that inherits from it cannot drop.
    """
    names = PLANNED_SECTIONS if model.plan else SECTIONS
    written, wanted = written_keys(model), _settings(drawn, names)
    own: dict[str, Any] = {"search": None} | ({"plan": None} if model.plan else {})
    own |= _differences(_settings(ModelConfig.model_validate(written | own), names), wanted)
    shorter = {"checkpoints": CheckpointsConfig().model_dump(mode="json"), "extended_from": []}
    # Epochs to keep or to compare may lie beyond the end of a shorter training.
    cut = own | {"test_epochs": [], "training": own.get("training", {}) | shorter}
    for section in (own, cut):
        if _settings_or_none(merge(written, section), names) == wanted:
            return {"base": name, **section}
    return written | cut | wanted


def _settings(model: ModelConfig, names: Collection[str]) -> dict[str, Any]:
    exclude = {"training": {"checkpoints"}}
    return model.model_dump(mode="json", by_alias=True, include={*names}, exclude=exclude)


def _settings_or_none(raw: dict[str, Any], names: Collection[str]) -> dict[str, Any] | None:
    try:
        return _settings(ModelConfig.model_validate(raw), names)
    except ValidationError:
        return None


def _differences(had: Any, wanted: Any) -> Any:
    """Return what has to be laid over one configuration to make another of it."""
    if not (isinstance(had, Mapping) and isinstance(wanted, Mapping)):
        return wanted
    if any(had.get(key) != wanted.get(key) for key in KIND_KEYS):
        return wanted
    changed = {
        key: had.get(key, _MISSING) for key in wanted if had.get(key, _MISSING) != wanted[key]
    }
    return {key: _differences(before, wanted[key]) for key, before in changed.items()}
