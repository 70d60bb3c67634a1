"""`plan:` and `budget:` of a model: settings that the data decide, for stated memory and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, ValidationError

from crossfold.config.base import Section
from crossfold.errors import CrossfoldError

if TYPE_CHECKING:
    from crossfold.config.models import ModelConfig

PLAN_VERSION = 1
"""Raised by hand when the same data and budget give another plan: a fingerprint of the code would
train every planned model again after the edit of a comment."""
PLANNED_SECTIONS = frozenset(
    {"preprocessing", "network", "training", "inference", "postprocessing"}
)
"""Sections of a model that a plan may fill."""
WRITTEN = "set in config.yaml"
"""The reason of a value that the configuration has itself."""
GFLOPS = {"cpu": 200.0, "gpu": 3000.0}
"""What training the default network sustains, in 10^9 operations per second: on one core of the
machine of docs/benchmarks.md (AMD EPYC with AVX512-BF16), measured; on a GPU from MONAI's DynUNet
tutorial on a V100 (docs/planning.md)."""


class BudgetConfig(Section):
    """What `plan: auto` may spend; the same numbers give the same plan on every machine."""

    memory_gb: PositiveFloat = 4.0
    """Memory of one training or prediction, in GB: main memory, or that of the GPU."""
    minutes: PositiveFloat = 10.0
    """Time to train one fold, in minutes, on one core or one GPU. Folds side by side take it once;
    import, preprocessing and prediction are not part of it."""
    device: Literal["cpu", "gpu"] = "cpu"
    """What a fold is trained on: one core of a processor, or a GPU."""
    gflops: PositiveFloat | None = None
    """Its speed in training, in 10^9 operations per second; null: 200 for a core with bf16
    instructions, 3000 for a GPU. A core without them has about half."""

    @property
    def operations(self) -> float:
        """Floating-point operations that training a fold may take."""
        return self.minutes * 60 * (self.gflops or GFLOPS[self.device]) * 1e9

    @property
    def memory_bytes(self) -> float:
        """Memory in bytes."""
        return self.memory_gb * 1e9


class PlannedValue(Section):
    """A value of a plan."""

    value: Any
    """As it would stand in config.yaml."""
    reason: str
    """Why, in a sentence."""


class ModelPlan(Section):
    """results/<Model>/plan.json: what `plan: auto` decided, and from what."""

    format: Literal[1] = 1
    """Version of this file's layout."""
    values: dict[str, PlannedValue] = {}
    """By key, such as `training.patch_size`."""
    predicted: dict[str, float] = {}
    """What a fold is expected to cost."""
    budget: dict[str, Any] = {}
    """What it may cost."""
    fingerprint: dict[str, Any] = {}
    """What was measured of the training subjects."""

    @classmethod
    def read(cls, path: str | Path | None) -> ModelPlan:
        """Read a plan; of a model without one (None, or the [] of a rule), an empty plan.

        Raises
        ------
        CrossfoldError
            If it is damaged, or of a later version of Crossfold.
        """
        if not path:
            return cls()
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except (OSError, ValidationError) as error:
            raise CrossfoldError(
                f"{path}: is no plan that this version can read ({error})",
                remedy="delete it; Snakemake makes it again",
            ) from error

    def fill(self, section: str, written: Mapping[str, Any]) -> dict[str, Any]:
        """Return a section with the planned values of the keys that are not written.

        Parameters
        ----------
        section
            Its name, such as `training` or `training.augmentation`.
        written
            What the configuration says, without defaults.
        """
        filled = dict(written)
        for key, planned in self.values.items():
            if key.startswith(f"{section}."):
                _set(filled, key.removeprefix(f"{section}.").split("."), planned.value)
        return filled

    def reason(self, key: str) -> str | None:
        """Say why a key has its value; None where the plan has no say."""
        return self.values[key].reason if key in self.values else None

    @property
    def sections(self) -> Iterator[str]:
        """Names of the sections in which it decides something."""
        yield from dict.fromkeys(key.partition(".")[0] for key in self.values)


def _set(section: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a key, in place, unless it or a value in place of a section above it is written."""
    for part in path[:-1]:
        inner = section.get(part, {})
        if not isinstance(inner, Mapping):
            return
        section[part] = dict(inner)
        section = section[part]
    section.setdefault(path[-1], value)


def planned(model: ModelConfig, plan_json: str | Path | None) -> ModelConfig:
    """Return a model with the values of its plan; what its configuration says itself wins.

    Parameters
    ----------
    model
        From the configuration.
    plan_json
        results/<Model>/plan.json, or None (or the [] of a rule) for a model without `plan`.
    """
    if not plan_json:
        return model
    plan = ModelPlan.read(plan_json)
    written = written_keys(model)
    filled = {name: plan.fill(name, written.get(name, {})) for name in plan.sections}
    return type(model).model_validate(written | filled)


def written_keys(section: Section) -> dict[str, Any]:
    """Return what the configuration says of a section, as plain values, without defaults."""
    return section.model_dump(mode="json", by_alias=True, exclude_unset=True)
