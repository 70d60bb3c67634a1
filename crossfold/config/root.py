"""The whole of config.yaml, checked."""

from __future__ import annotations

from pathlib import Path

from crossfold import paths
from crossfold.config.base import Section, nearest
from crossfold.config.datasets import (
    DatasetConfig,
    DvcDataset,
    PhantomDataset,
    check_variables,
    expand_path,
)
from crossfold.config.figures import FiguresConfig
from crossfold.config.hooks import Hook
from crossfold.config.models import ModelConfig
from crossfold.config.registry import RegistryConfig
from crossfold.config.statistics import ALL_MODELS, ComparedRun, StatisticsConfig
from crossfold.errors import CrossfoldError


class Config(Section):
    """Everything that a user can configure, with models already merged with their bases."""

    datasets: dict[str, DatasetConfig]
    """Datasets by name."""
    models: dict[str, ModelConfig]
    """Models by name; each has its results in results/<name>."""
    statistics: StatisticsConfig = StatisticsConfig()
    """Comparisons and confidence intervals."""
    figures: FiguresConfig = FiguresConfig()
    """Size, resolution and colours of figures."""
    registry: RegistryConfig = RegistryConfig()
    """Where bundles are registered."""
    state_dir: str = ".state"
    """Folder for what lets a killed training continue."""
    request_gpus: bool = True
    """Whether the jobs of a cluster ask for GPUs; false where it has none."""

    def model(self, name: str) -> ModelConfig:
        """Return a model by name.

        Raises
        ------
        CrossfoldError
            If there is none of that name.
        """
        if name not in self.models:
            raise CrossfoldError(f"unknown model `{name}`", remedy=nearest(name, self.models))
        return self.models[name]

    def epoch_of(self, run: str) -> int:
        """Return the epoch of `<model>@<epoch>`, or the last one of `<model>`.

        Raises
        ------
        CrossfoldError
            If no checkpoint of that epoch is kept.
        """
        name, _, epoch = run.partition("@")
        kept = self.model(name).training.checkpoint_epochs
        if epoch and int(epoch) not in kept:
            raise CrossfoldError(
                f"{run}: models.{name}.training keeps no checkpoint of epoch {epoch}",
                remedy=f"choose one of {', '.join(map(str, kept))}, or set `training.checkpoints`",
            )
        return int(epoch or kept[-1])

    def tested_runs(self, name: str) -> dict[int, str]:
        """Return the run of each epoch that is tested: the model itself for the last one."""
        epochs = self.model(name).tested_epochs
        return {epoch: f"{name}@{epoch}" for epoch in epochs[:-1]} | {epochs[-1]: name}

    def hook_of(self, name: str, kind: Hook) -> str:
        """Return the import path of a model's hook.

        Raises
        ------
        CrossfoldError
            If the model names none.
        """
        hook: str | None = getattr(self.model(name).hooks, kind)
        if hook is None:
            raise CrossfoldError(
                f"models.{name}.hooks.{kind}: names no function to call",
                remedy="name one, such as my_lab.hooks:notify",
            )
        return hook

    def require_test(self, name: str) -> None:
        """Refuse to make the ensemble of a model that has no test set.

        Raises
        ------
        CrossfoldError
            If `splits.test` of the model names nobody.
        """
        if not self.model(name).splits.has_test:
            raise CrossfoldError(
                f"config.yaml: models.{name}.splits.test: there is no test subject, so there is "
                "nothing to measure an ensemble on",
                remedy=f"raise it, or ask for results/{name}/metrics.csv, which pools the folds",
            )

    def compared_with(self, run: str) -> list[ComparedRun]:
        """Return what a run is compared with: never itself, and no model of another dataset."""
        name = run.partition("@")[0]
        dataset = self.model(name).dataset
        for_all = [
            other
            for other in self.statistics.compare.get(ALL_MODELS, [])
            if not other.model or self.model(other.base_model).dataset == dataset
        ]
        candidates = self.statistics.compare.get(name, []) + for_all
        return [other for other in candidates if other.model != run]

    def colours(self) -> dict[str, str]:
        """Return the colour of every run, the same in all figures of all models."""
        others = [other.name for runs in self.statistics.compare.values() for other in runs]
        return self.figures.colour_of_runs(list(dict.fromkeys([*self.models, *others])))

    def dataset_is_here(self, name: str) -> bool:
        """Say whether a dataset is synthetic, imported already, or its source is within reach."""
        if Path(paths.DATASET.format(dataset=name)).is_file():
            return True
        section = self.datasets[name]
        if isinstance(section, PhantomDataset):
            return True
        try:
            if isinstance(section, DvcDataset):
                check_variables(section.url or "", f"datasets.{name}.url")
                return True
            return expand_path(section.path, name).is_dir()
        except CrossfoldError:
            return False
