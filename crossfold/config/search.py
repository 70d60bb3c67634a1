"""`search:` of a model: hyperparameters, the values that they may have, and how trials are run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    WithJsonSchema,
    model_validator,
)

from crossfold.config.base import Section

KINDS = ("uniform", "log_uniform", "int_uniform", "choice")
Anything = Annotated[JsonValue, WithJsonSchema({})]
# Digits of a drawn number: the last bits of exp and log differ between machines.
_DIGITS = 4


class Space(Section):
    """The values that a parameter may have: one of the four kinds."""

    uniform: tuple[float, float] | None = None
    """Any number between two."""
    log_uniform: tuple[PositiveFloat, PositiveFloat] | None = None
    """Any number between two positive ones, small ones as often as large ones."""
    int_uniform: tuple[int, int] | None = None
    """Any whole number from the first to the second."""
    choice: Annotated[tuple[Anything, ...], Field(min_length=2)] | None = None
    """One of these values: numbers, texts, lists, or whole sections."""
    steps: Annotated[int, Field(ge=2)] | None = None
    """With method grid: how many values of a range are tried, both ends among them."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Space:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs one kind of values, not {' and '.join(given) or 'none'}; "
                f"write one of {', '.join(KINDS)}"
            )
        if self.choice is None:
            low, high = self.ends
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"{given[0]}: [{low:g}, {high:g}] is no range; the first has to be the smaller"
                )
        elif any(value in self.choice[:place] for place, value in enumerate(self.choice)):
            raise ValueError("choice: names a value twice; leave one out")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value of a range; places where it is a choice."""
        if self.choice is not None:
            return 0, len(self.choice) - 1
        return self.uniform or self.log_uniform or self.int_uniform or (0, 0)

    @property
    def is_integer(self) -> bool:
        """Whether values are counted: whole numbers, and places in a choice."""
        return self.int_uniform is not None or self.choice is not None

    def value(self, number: float) -> JsonValue:
        """Return the value that stands at a number between the ends.

        Examples
        --------
        >>> Space(log_uniform=(0.001, 0.1)).value(0.0123456)
        0.01235
        >>> Space(uniform=(0.999, 0.9999)).value(0.99912345)
        0.999123
        >>> Space(choice=("relu", "gelu")).value(1)
        'gelu'
        """
        if self.choice is not None:
            return self.choice[int(number)]
        if self.int_uniform:
            return int(number)
        low, high = self.ends
        digits = _DIGITS
        if self.uniform:  # a narrow range far from 0 needs more of them
            largest, width = max(abs(low), abs(high)), high - low
            more = math.floor(math.log10(largest)) - math.ceil(math.log10(width))
            digits += max(0, more)
        return min(max(float(f"{number:.{digits}g}"), low), high)

    def at(self, share: float) -> JsonValue:
        """Return the value at a share in [0, 1) of the way from the first to the last.

        Examples
        --------
        >>> Space(log_uniform=(0.001, 0.1)).at(0.5)
        0.01
        >>> [Space(int_uniform=(1, 2)).at(share) for share in (0, 0.49, 0.5, 0.99)]
        [1, 1, 2, 2]
        """
        low, high = self.ends
        if self.is_integer:
            return self.value(math.floor(low + share * (high - low + 1)))
        if self.log_uniform:
            return self.value(math.exp(math.log(low) + share * math.log(high / low)))
        return self.value(low + share * (high - low))

    def place(self, value: JsonValue) -> float | None:
        """Return the number at which a value stands; None where it is none of the values."""
        if self.choice is not None:
            return self.choice.index(value) if value in self.choice else None
        low, high = self.ends
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return value if low <= value <= high else None

    def grid(self) -> list[JsonValue]:
        """Return the values of a grid: all that can be counted, or `steps` of a range.

        Raises
        ------
        ValueError
            If it is a range without `steps`.
        """
        low, high = self.ends
        if self.choice is not None or (self.is_integer and not self.steps):
            return [self.value(number) for number in range(int(low), int(high) + 1)]
        if not self.steps:
            raise ValueError("method grid needs the number of values; add `steps`, or use `choice`")
        shares = [step / (self.steps - 1) for step in range(self.steps)]
        if self.log_uniform:
            return [self.value(low * (high / low) ** share) for share in shares]
        numbers = [low + share * (high - low) for share in shares]
        whole = [round(number) for number in numbers] if self.is_integer else numbers
        return [self.value(number) for number in dict.fromkeys(whole)]


class PruneConfig(Section):
    """Which trials are stopped early: the rule of Golovin et al. 2017, for any quantile."""

    after: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the epochs before which no trial is stopped."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A trial stops when its best Dice on validation crops so far is below this quantile of the
    running means of the finished trials of earlier rounds at the same epoch; 0.5: their median."""
    at_least: PositiveInt = 3
    """Finished trials that are needed for that."""


def _on_or_off(value: Any) -> Any:
    return ({} if value else None) if isinstance(value, bool) else value


def _distinct(folds: tuple[int, ...]) -> tuple[int, ...]:
    if len({*folds}) < len(folds):
        raise ValueError("a fold is named twice; leave one out")
    return folds


class SearchConfig(Section):
    """A search of hyperparameters on validation subjects; test subjects have no part in it.

    A parameter may stand beside the other keys, `learning_rate: {log_uniform: [0.001, 0.1]}`, or
    under `parameters`.
    """

    parameters: Annotated[dict[str, Space], Field(min_length=1)]
    """Keys of `training`, `network` and `inference` with their values: `learning_rate`, or in full,
    `training.schedule.floor`."""
    trials: PositiveInt = 20
    """Number of trials; when raised, the trials there are stay."""
    method: Literal["tpe", "random", "grid"] = "tpe"
    """tpe: the first 10 trials at random, then where earlier rounds did well (Bergstra et al. 2011,
    by Optuna); random; grid: all combinations, in an order drawn at random."""
    parallel: PositiveInt = 4
    """Trials of a round, which run at the same time and learn nothing from each other; another
    number makes another search."""
    baseline: bool = True
    """The first trial is the model as it is, to compare with; a grid is tried as it stands."""
    folds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_distinct)] = (
        0,
    )
    """Folds that every trial trains."""
    metric: Literal["dice", "nsd"] = "dice"
    """What is maximised: the mean over structures of the mean over the validation subjects."""
    epochs: PositiveInt | None = None
    """Epochs of a trial; null: those of the model."""
    prune: Annotated[
        PruneConfig | None,
        BeforeValidator(_on_or_off, json_schema_input_type=PruneConfig | bool | None),
    ] = PruneConfig()
    """How poor trials are stopped early; null or false: never."""
    seed: NonNegativeInt = 0
    """Seed of the draws; trainings keep that of the model."""

    @model_validator(mode="before")
    @classmethod
    def _gather_parameters(cls, data: Any) -> Any:
        """Take the parameters that stand beside the other keys, before unknown keys are refused."""
        if not isinstance(data, Mapping):
            return data
        beside = {key: value for key, value in data.items() if _is_space(value)}
        rest = {key: value for key, value in data.items() if key not in beside}
        below = rest.get("parameters") or {}
        if beside and isinstance(below, Mapping):
            rest["parameters"] = {**below, **beside}
        return rest


def _is_space(value: Any) -> bool:
    return isinstance(value, Mapping) and not {*value}.isdisjoint(KINDS)
