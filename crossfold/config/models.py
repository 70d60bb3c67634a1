"""`models:` of config.yaml: one cross-validated model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from crossfold.config.base import Section, nearest
from crossfold.config.checks import ChecksConfig
from crossfold.config.datasets import DatasetRevision
from crossfold.config.diagnostics import DiagnosticsConfig
from crossfold.config.hooks import HooksConfig
from crossfold.config.init_from import InitFrom
from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.config.metrics import MetricsConfig
from crossfold.config.outliers import OutliersConfig
from crossfold.config.planning import BudgetConfig
from crossfold.config.prediction import (
    ALL_STRUCTURES,
    Aggregation,
    InferenceConfig,
    PostprocessingConfig,
    with_all_structures,
)
from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.config.publishing import PublishConfig
from crossfold.config.search import SearchConfig
from crossfold.config.splits import SplitsConfig
from crossfold.config.trials import check_search

MOST_STRUCTURES = 255
"""Segmentations are stored as bytes, and 0 is background."""


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"named more than once: {', '.join(repeated)}")
    return names


def _written_out(dataset: Any) -> Any:
    """Return the name of a dataset: a revision of one is another dataset, `name@rev`."""
    return str(DatasetRevision(**dataset)) if isinstance(dataset, Mapping) else dataset


Names = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_distinct)]


class ModelConfig(Section):
    """A model: its data, its folds, its network and what is measured."""

    description: str = ""
    """One sentence for reports."""
    dataset: Annotated[
        str, BeforeValidator(_written_out, json_schema_input_type=str | DatasetRevision)
    ]
    """Name of a dataset under `datasets:`, or a revision of one: `{name: prostate, rev: v1.2}`."""
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
    plan: Literal["auto"] | None = None
    """auto: what this model says nothing about is decided from its training subjects and the
    budget, and written to plan.json with reasons (docs/planning.md); null: it has its default."""
    budget: BudgetConfig = BudgetConfig()
    """Memory and time for `plan: auto`."""
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """Grid and intensities."""
    network: NetworkConfig = NetworkConfig()
    """Network by import path."""
    init_from: InitFrom | None = None
    """Weights to start from; by default random ones."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    inference: InferenceConfig = InferenceConfig()
    """Sliding window."""
    search: SearchConfig | None = None
    """Hyperparameters to search, on validation subjects only."""
    ensemble_aggregation: Aggregation = "average"
    """How the folds become one: the mean of their posteriors, their geometric mean, one vote each
    per voxel, or STAPLE (Warfield et al. 2004), which weighs votes by estimated reliability."""
    postprocessing: PostprocessingConfig = PostprocessingConfig()
    """Smoothing, largest components, holes, and rules between structures."""
    test_epochs: tuple[PositiveInt, ...] = ()
    """Epochs to compare with the last one in `epochs.csv` and a figure; their checkpoints have to
    be kept. None of them is chosen: the model stays the last epoch."""
    metrics: MetricsConfig = MetricsConfig()
    """Tolerances."""
    outliers: OutliersConfig = OutliersConfig()
    """From where on a result is listed as an outlier."""
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    """What is kept to look at a training by."""
    publish: PublishConfig = PublishConfig()
    """What is published of it."""
    hooks: HooksConfig = HooksConfig()
    """Functions of your own that are called on the way."""

    @model_validator(mode="before")
    @classmethod
    def _name_all_structures(cls, data: Any) -> Any:
        match data:
            case {
                "postprocessing": {"largest_component": [*components], **steps},
                "structures": [*structures],
            } if ALL_STRUCTURES not in (*structures, *data.get("derived_structures", ())):
                written = with_all_structures(components, structures)
                return {**data, "postprocessing": {**steps, "largest_component": written}}
        return data

    @model_validator(mode="after")
    def _names_agree(self) -> ModelConfig:
        if len(self.structures) > MOST_STRUCTURES:
            raise ValueError(
                f"structures: {len(self.structures)} of them, but a segmentation is stored as "
                f"bytes; name at most {MOST_STRUCTURES}"
            )
        both = set(self.images) & {*self.structures, *self.derived_structures}
        if both:
            raise ValueError(f"both an image and a structure: {', '.join(sorted(both))}")
        for name, parts in self.derived_structures.items():
            if name in self.structures:
                raise ValueError(f"derived_structures: `{name}` is already a structure")
            self._known(parts, self.structures, f"derived_structures.{name}")
        measured = (*self.structures, *self.derived_structures)
        for key, names, unions in self.postprocessing.names():
            self._known(names, measured if unions else self.structures, f"postprocessing.{key}")
        self._refuse_lost_epochs()
        self._refuse_unplannable()
        self.training.sampling.weights(self.structures)  # raises where a name is wrong
        pairs = [name for pair in self.training.mirror_pairs for name in pair]
        self._known(pairs, self.structures, "training.augmentation (mirror_pairs)")
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
        check_search(self)
        return self

    @property
    def tested_epochs(self) -> list[int]:
        """`test_epochs` and the last one, rising."""
        return sorted({*self.test_epochs, self.training.epochs})

    def _refuse_lost_epochs(self) -> None:
        kept = self.training.checkpoint_epochs
        for epoch in self.test_epochs:
            if epoch not in kept:
                raise ValueError(
                    f"test_epochs: no checkpoint of epoch {epoch} is kept, only of "
                    f"{', '.join(map(str, kept))}; name one of these, or keep more of them"
                )

    def _refuse_unplannable(self) -> None:
        if self.plan and self.network.target != NetworkConfig().target:
            raise ValueError(
                f"plan: auto plans the network {NetworkConfig().target}, not "
                f"{self.network.target}; leave out `network._target_`, or `plan`"
            )

    @staticmethod
    def _known(names: Iterable[str], known: Collection[str], where: str) -> None:
        for name in names:
            if name not in known:
                raise ValueError(f"{where}: unknown name `{name}`; {nearest(name, known)}")
