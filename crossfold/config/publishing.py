"""`models.<name>.publish` of config.yaml."""

from __future__ import annotations

from typing import Literal

from crossfold.config.base import Section

LeftOut = Literal[
    "dataset",
    "preprocessed",
    "checkpoints",
    "posteriors",
    "segmentations",
    "ensemble",
    "watching",
    "bundle",
]


class PublishConfig(Section):
    """What of a model goes to the DVC remote when it is published."""

    left_out: tuple[LeftOut, ...] = ()
    """What stays on this machine, and only its digests are published: the images of the dataset,
    preprocessed subjects, checkpoints, posteriors or segmentations of the folds, all maps of the
    ensemble, what TensorBoard shows of the trainings, or the bundle, which holds the checkpoints a
    second time. Whoever pulls computes it again when a change makes it necessary."""
