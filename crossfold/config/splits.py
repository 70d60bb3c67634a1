"""The section `splits` of a model: who is tested, who is validated when, who is left out."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from crossfold.config.base import Section
from crossfold.config.functions import FunctionConfig


def _as_ids(value: Any) -> Any:
    """Accept `[7, 12]`: YAML reads numeric names as integers."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"`{value}` is not a list; write [{value}]")
    names = tuple(str(item) if type(item) is int else item for item in value)
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"named twice: {', '.join(repeated)}; name each once")
    return names


def _as_proportion(value: Any) -> Any:
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise ValueError(
            f"`{value}` is not a proportion in [0, 1); write 0.2 for a fifth, 0 for none, or a "
            "list such as [p01, p02] for subjects"
        )
    return value


Proportion = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_as_proportion)]
Ids = Annotated[tuple[str, ...], BeforeValidator(_as_ids)]


class Institutions(Section):
    """All subjects of some institutions."""

    institutions: Ids = Field(min_length=1)
    """Values of the column `institutionId` of dataset.csv."""


def _kind(value: Any) -> str:
    if isinstance(value, dict | Institutions):
        return "institutions"
    return "proportion" if value is None or isinstance(value, int | float) else "subjects"


def _kind_without_proportion(value: Any) -> str:
    return "institutions" if isinstance(value, dict | Institutions) else "subjects"


Selection = Annotated[
    Annotated[Ids, Tag("subjects")] | Annotated[Institutions, Tag("institutions")],
    Discriminator(_kind_without_proportion),
]
Share = Annotated[
    Annotated[Proportion, Tag("proportion")]
    | Annotated[Ids, Tag("subjects")]
    | Annotated[Institutions, Tag("institutions")],
    Discriminator(_kind),
]


class SplitsConfig(Section):
    """How the subjects of a dataset are divided into test set and folds.

    A selector is a list of subjects, `{institutions: [...]}`, or (test and val only) a proportion.
    A proportion is drawn per subject from a hash of `seed` and its group, so that a new subject
    never moves another one into or out of the test set. With two folds or more, everyone
    outside the test set is validated once, and whoever `val` names is one of them. Naming `train`
    limits the model to the subjects that `train`, `val` and `test` name: nothing is left for a
    proportion to draw from. A `function` takes the place of `train`, `val` and `test`.
    """

    folds: int = Field(default=5, ge=1)
    """Number of folds of the cross-validation; 1 is a single division into train and val."""
    test: Share = 0.2
    """Test set, the same for every fold: a proportion in [0, 1), subjects, or institutions."""
    val: Share | None = None
    """Validation set of a single fold, like `test`; empty: 0.2, or all others in turn."""
    train: Selection | None = None
    """Subjects or institutions to train with; empty: all that no other key takes."""
    exclude: Selection | None = None
    """Subjects or institutions to leave out; an institution's other uses yield to it."""
    seed: int = 0
    """Seed of the hash that draws test set and folds."""
    function: FunctionConfig | None = None
    """A function of your own that divides the subjects. It is given a table of them, and says of
    each: test, train, or the number of the fold in which it is validated. `test: 0` says that it
    names no test subject."""

    @property
    def has_test(self) -> bool:
        """Whether a test set is asked for."""
        return bool(self.test)

    @model_validator(mode="after")
    def _function_divides_alone(self) -> SplitsConfig:
        if self.function is not None:
            for key in ("train", "val"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"`{key}` and `function` both say who is who; remove one of them"
                    )
            if not isinstance(self.test, float):
                raise ValueError("`test` and `function` both name the test set; remove one of them")
        return self

    @model_validator(mode="after")
    def _selectors_agree(self) -> SplitsConfig:
        selectors = {key: getattr(self, key) for key in ("test", "val", "train", "exclude")}
        for (key, first), (other_key, second) in combinations(selectors.items(), 2):
            both = sorted(_names(first) & _names(second))
            if both:
                raise ValueError(
                    f"`{key}` and `{other_key}` both name {', '.join(name for _, name in both)}; "
                    "remove each from one of them"
                )
        if isinstance(self.val, float) and self.folds > 1:
            raise ValueError(
                f"`val: {self.val:g}` has no effect with `folds: {self.folds}`, where everyone "
                "outside the test set is validated once; remove it, or set `folds: 1`"
            )
        if self.train is not None:
            self._refuse_proportions_beside_train()
        return self

    def _refuse_proportions_beside_train(self) -> None:
        if isinstance(self.test, float) and self.test > 0:
            raise ValueError(
                f"`test: {self.test:g}` has nobody to draw from once `train` is named; name the "
                "subjects or institutions of `test` too (or `test: 0`), or use `exclude` instead "
                "of `train`"
            )
        if self.folds == 1 and not isinstance(self.val, tuple | Institutions):
            raise ValueError(
                f"`val: {self.val or 'empty'}` has nobody to draw from once `train` is named; name "
                "the subjects or institutions of `val` too, or use `exclude` instead of `train`"
            )


def _names(selector: float | tuple[str, ...] | Institutions | None) -> set[tuple[str, str]]:
    """What a selector names, told apart by kind: a subject may bear an institution's name."""
    if isinstance(selector, Institutions):
        return {("institution", name) for name in selector.institutions}
    if isinstance(selector, tuple):
        return {("subject", name) for name in selector}
    return set()
