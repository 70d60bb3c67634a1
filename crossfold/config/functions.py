"""Functions of a site's own, by import path."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from crossfold.config.base import importable
from crossfold.errors import CrossfoldError


def load_object(path: str, key: str) -> Any:
    """Return what an import path names.

    Parameters
    ----------
    path
        Such as "my_lab.hooks.notify".
    key
        Where in the configuration it stands, for the error.

    Raises
    ------
    CrossfoldError
        If it cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CrossfoldError(
            f"{key}: cannot import {path} ({error})",
            remedy="check the spelling, and that its package is installed, beside the Snakefile, "
            "or the folder of a --configfile",
        ) from error


def targets_in(section: Any, key: str) -> dict[str, str]:
    """Return the import paths in a section of plain values, each with the key where it stands."""
    if isinstance(section, Mapping):
        parts = [(value, f"{key}.{name}") for name, value in section.items()]
    elif isinstance(section, Sequence) and not isinstance(section, str):
        parts = [(value, f"{key}.{number}") for number, value in enumerate(section)]
    else:
        return {section: key} if key.endswith("._target_") else {}
    return {path: place for value, name in parts for path, place in targets_in(value, name).items()}


class FunctionOptions(BaseModel):
    """A function by import path, and what it is called with besides its usual arguments."""

    model_config = ConfigDict(
        extra="allow", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True
    )

    target: Annotated[str, AfterValidator(importable)] = Field(alias="_target_")
    """Import path, such as my_lab.splits:by_scanner; the other keys are arguments by name."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments by name."""
        return dict(self.__pydantic_extra__ or {})


def _written_out(value: Any) -> Any:
    return {"_target_": value} if isinstance(value, str) else value


FunctionConfig = Annotated[
    FunctionOptions,
    BeforeValidator(_written_out, json_schema_input_type=str | FunctionOptions),
]
