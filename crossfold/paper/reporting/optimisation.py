"""Loss, optimiser and learning rate of a training, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    "adamw": "AdamW",
    "adam": "Adam",
    "amsgrad": "AMSGrad",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "soft_dice": "soft Dice",
    "squared_dice": "soft Dice with squared denominator",
    "cross_entropy": "cross-entropy",
    "focal": "focal loss",
    "one_cycle": "one-cycle",
    "step": "stepwise",
    "multi_step": "stepwise",
    "exponential": "exponentially falling",
}
# Of the optimiser that is used unless another is named.
_USUAL = {"betas": [0.9, 0.99], "eps": 1e-8}

Section = Mapping[str, Any]


def optimisation(training: Section) -> str:
    """Say which optimiser takes the steps, and how large they are.

    Parameters
    ----------
    training
        Section `training` of config.json.
    """
    optimiser = training["optimiser"]
    usual = _USUAL if optimiser["method"] == "adamw" else {}
    parts = [
        _named(optimiser, {"method", *(key for key in usual if optimiser[key] == usual[key])}),
        _learning_rate(training),
        f"weight decay {training['weight_decay']:g}",
        f"gradient clipped to {training['gradient_clip']:g}",
    ]
    return ", ".join(parts)


def loss(training: Section) -> str:
    """Say what is minimised, with the weight of each part.

    Parameters
    ----------
    training
        Section `training` of config.json.
    """
    if not training["loss"]:
        weight = training["cross_entropy"]
        return f"{weight:g} cross-entropy + {1 - weight:g} soft Dice"
    total = sum(part["share"] for part in training["loss"])
    parts = [
        (part["share"] / total, _named(part, {"method", "_target_", "share"}))
        for part in training["loss"]
    ]
    if len(parts) == 1:
        return parts[0][1]
    return " + ".join(f"{share:g} {name}" for share, name in parts)


def balance(training: Section) -> str:
    """Say what in the loss keeps rare structures from being neglected.

    Parameters
    ----------
    training
        Section `training` of config.json.
    """
    parts = training["loss"]
    has_dice = any(part.get("method") in ("soft_dice", "squared_dice") for part in parts)
    told = []
    if has_dice or (not parts and training["cross_entropy"] < 1):
        told.append("the soft Dice part of the loss weighs structures alike")
    if any(part.get("class_weight_power") for part in parts):
        told.append("classes of fewer voxels have more weight in the loss")
    return " and ".join(told) or "the loss does not weigh them"


def _learning_rate(training: Section) -> str:
    schedule, top = training["schedule"], f"{training['learning_rate']:g}"
    name = _NAMES.get(schedule["method"], schedule["method"])
    is_one_cycle = schedule["method"] == "one_cycle"
    told = [f"{'peak' if is_one_cycle else 'first'} {top}"]
    told += _values(schedule, {"method"} if schedule.get("floor") else {"method", "floor"})
    match training["warmup"]:
        case {"epochs": int(epochs)}:
            told.append(f"warm-up of {epochs} epochs")
        case {"steps": int(steps)}:
            told.append(f"warm-up of {steps} steps")
        case float(share) if share:
            told.append(f"warm-up of {100 * share:g} % of the steps")
    if training["extended_from"]:
        ends = " and ".join(map(str, training["extended_from"]))
        told.append(f"extended after {ends} epochs")
    return f"{name} learning rate with {' and '.join(told)}"


def _named(section: Section, hidden: set[str]) -> str:
    name = section.get("_target_") or _NAMES[section["method"]]
    values = _values(section, hidden)
    return f"{name} ({', '.join(values)})" if values else name


def _values(section: Section, hidden: set[str]) -> list[str]:
    """Settings that do something, such as `momentum 0.9`."""
    return [
        f"{key.replace('_', ' ')} {_short(value)}"
        for key, value in section.items()
        if key not in hidden and value not in (False, 0, None)
    ]


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(map(_short, value)) + ")"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value).lower() if value is True else str(value)
