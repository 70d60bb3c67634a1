"""`models:` of config.yaml: one cross-validated model."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from crossfold.config.base import Section, nearest
from crossfold.config.checks import ChecksConfig
from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.config.metrics import MetricsConfig
from crossfold.config.outliers import OutliersConfig
from crossfold.config.prediction import InferenceConfig, PostprocessingConfig
from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.config.splits import SplitsConfig


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"named more than once: {', '.join(repeated)}")
    return names


Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]


class ModelConfig(Section):
    """A model: its data, its folds, its network and what is measured."""

    description: str = ""
    """One sentence for reports."""
    dataset: str
    """Name of a dataset under `datasets:`."""
    images: Names
    """Image channels of dataset.csv, in the order in which the network sees them."""
    structures: Names
    """Structures to segment; the first has label 1 in every segmentation."""
    derived_structures: dict[str, tuple[str, ...]] = {}
    """Unions of structures that are measured as well, such as a whole organ of its parts."""
    checks: ChecksConfig = ChecksConfig()
    """What is wrong with a dataset, and what then."""
    splits: SplitsConfig = SplitsConfig()
    """Test set and folds."""
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """Grid and intensities."""
    network: NetworkConfig = NetworkConfig()
    """Network by import path."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    inference: InferenceConfig = InferenceConfig()
    """Sliding window."""
    postprocessing: PostprocessingConfig = PostprocessingConfig()
    """Largest components."""
    metrics: MetricsConfig = MetricsConfig()
    """Tolerances."""
    outliers: OutliersConfig = OutliersConfig()
    """From where on a result is listed as an outlier."""

    @model_validator(mode="after")
    def _names_agree(self) -> ModelConfig:
        both = set(self.images) & {*self.structures, *self.derived_structures}
        if both:
            raise ValueError(f"both an image and a structure: {', '.join(sorted(both))}")
        for name, parts in self.derived_structures.items():
            if name in self.structures:
                raise ValueError(f"derived_structures: `{name}` is already a structure")
            self._known(parts, self.structures, f"derived_structures.{name}")
        measured = (*self.structures, *self.derived_structures)
        self._known(
            self.postprocessing.largest_component, measured, "postprocessing.largest_component"
        )
        pairs = [name for pair in self.training.augmentation.mirror_pairs for name in pair]
        self._known(pairs, self.structures, "training.augmentation.mirror_pairs")
        if isinstance(self.metrics.nsd_tolerance_mm, dict):
            self._known(
                self.metrics.nsd_tolerance_mm, (*measured, "default"), "metrics.nsd_tolerance_mm"
            )
        for key in ("dice", "hd95_mm"):
            if isinstance(thresholds := getattr(self.outliers, key), dict):
                self._known(thresholds, (*measured, "default"), f"outliers.{key}")
        if isinstance(self.preprocessing.normalisation, dict):
            self._known(
                self.images, self.preprocessing.normalisation, "preprocessing.normalisation"
            )
        return self

    @staticmethod
    def _known(names: Iterable[str], known: Collection[str], where: str) -> None:
        for name in names:
            if name not in known:
                raise ValueError(f"{where}: unknown name `{name}`; {nearest(name, known)}")
