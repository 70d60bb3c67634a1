"""`init_from:` of a model: the weights that its training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt, model_validator

from crossfold.config.base import Section, nearest
from crossfold.config.datasets import expand_variables
from crossfold.errors import CrossfoldError

if TYPE_CHECKING:
    from crossfold.config.models import ModelConfig

SOURCES = ("model", "file", "innereye")


class InitFrom(Section):
    """Weights to start from, of one source: `model`, `file` or `innereye`."""

    model: str | None = None
    """Another model of this configuration; it is trained first."""
    epoch: PositiveInt | None = None
    """Epoch of that model, whose checkpoint has to be kept; by default the last one."""
    folds: Literal["same", "average"] = "same"
    """Fold k starts from its fold k, or every fold from the average of the weights of its folds."""
    file: str | None = None
    """A safetensors file, for all folds: a checkpoint of Crossfold, or weights of another origin
    whose tensors bear the names of the network's."""
    innereye: str | None = None
    """A `*_checkpoint.pth.tar` of InnerEye-DeepLearning, for all folds; the network has to be
    `crossfold.learning.networks.UNet3D`, or `UNet2D` or `Basic`."""

    @model_validator(mode="after")
    def _has_one_source(self) -> InitFrom:
        named = [source for source in SOURCES if getattr(self, source) is not None]
        if len(named) != 1:
            raise ValueError(
                f"init_from: names {' and '.join(named) or 'no source'}; "
                "give exactly one of model, file and innereye"
            )
        if self.model is None and self.model_fields_set & {"epoch", "folds"}:
            raise ValueError("init_from: only a model has epochs and folds; leave them out")
        return self

    def path(self, name: str) -> Path:
        """Return the file that model `name` starts from.

        Raises
        ------
        CrossfoldError
            If it is not there, or its path names a variable that is not set.
        """
        key = "file" if self.file is not None else "innereye"
        text = getattr(self, key)
        assert text is not None
        path = expand_variables(text, f"models.{name}.init_from.{key}")
        if not path.is_file():
            raise CrossfoldError(
                f"models.{name}.init_from.{key}: there is no file {path}",
                remedy="check the path; a relative one starts in the folder of the Snakefile",
            )
        return path


def check_origins(models: Mapping[str, ModelConfig]) -> tuple[str, str, str, str] | None:
    """Return what is wrong with the models that others start from: model, key, message, remedy."""
    for name, model in models.items():
        start = model.init_from
        if start is None or start.model is None:
            continue
        if start.model not in models:
            return name, "model", f"unknown model `{start.model}`", nearest(start.model, models)
        problem = _check_chain(name, models) or _check_origin(model, start, models[start.model])
        if problem:
            return name, *problem
    return None


def _check_chain(name: str, models: Mapping[str, ModelConfig]) -> tuple[str, str, str] | None:
    chain = [name]
    while (start := models[chain[-1]].init_from) and start.model and start.model in models:
        if start.model in chain:
            circle = " -> ".join([*chain, start.model])
            return "model", f"the models start from each other: {circle}", "remove one `init_from`"
        chain.append(start.model)
    return None


def _check_origin(
    model: ModelConfig, start: InitFrom, origin: ModelConfig
) -> tuple[str, str, str] | None:
    kept = origin.training.checkpoint_epochs
    if start.epoch is not None and start.epoch not in kept:
        return (
            "epoch",
            f"{start.model} keeps no checkpoint of epoch {start.epoch}",
            f"choose one of {', '.join(map(str, kept))}, or keep more of them",
        )
    if start.folds == "same" and model.splits.folds > origin.splits.folds:
        return (
            "folds",
            f"{start.model} has {origin.splits.folds} folds and this model {model.splits.folds}",
            "write `folds: average`, or give both the same number",
        )
    # Whom a model is measured on must not have taught the one that it starts from.
    same_dataset = model.dataset.partition("@")[0] == origin.dataset.partition("@")[0]
    if same_dataset and model.splits != origin.splits:
        message = (
            f"{start.model} has the same dataset but other `splits`: it has learnt from subjects "
            "that this model is measured on"
        )
        return "model", message, "give both the same `splits`"
    return None
