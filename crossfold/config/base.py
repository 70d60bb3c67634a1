"""What every section of the configuration has in common."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all.

    Examples
    --------
    >>> nearest("epoch", ["epochs", "seed"])
    'did you mean `epochs`?'
    >>> nearest("zzz", ["epochs", "seed"])
    'choose one of `epochs`, `seed`'
    """
    known = [str(candidate) for candidate in known]
    match = difflib.get_close_matches(str(name), known, n=1)
    if match:
        return f"did you mean `{match[0]}`?"
    return "choose one of " + ", ".join(f"`{candidate}`" for candidate in known)


def importable(path: str) -> str:
    """Return an import path with dots throughout, or say what one looks like.

    Raises
    ------
    ValueError
        If it cannot be the import path of anything.

    Examples
    --------
    >>> importable("my_lab.hooks:notify")
    'my_lab.hooks.notify'
    """
    path = path.replace(":", ".", 1)
    if not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise ValueError("has to be an import path such as monai.networks.nets.DynUNet")
    return path


def rising(*, strictly: bool = True) -> AfterValidator:
    """Return a validator of numbers that have to rise, such as the two ends of a range.

    Parameters
    ----------
    strictly
        Whether a number that is repeated is refused as well.
    """

    def check(numbers: tuple[float, ...]) -> tuple[float, ...]:
        if any(x > y or (strictly and x == y) for x, y in pairwise(numbers)):
            found = ", ".join(f"{number:g}" for number in numbers)
            rule, once = (
                ("have to rise", ", each once") if strictly else ("have to be in order", "")
            )
            raise ValueError(f"{rule}, not {found}; write them from small to large{once}")
        return numbers

    return AfterValidator(check)


class Section(BaseModel):
    """A section of config.yaml: immutable, and refusing keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _suggest_nearest_key(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key `{key}`; {suggestion}",
                    {"key": str(key), "suggestion": nearest(key, cls.model_fields)},
                )
        return data
