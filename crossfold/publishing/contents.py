"""Where each file of a published model goes: to git, to the DVC remote, or nowhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from crossfold import paths
from crossfold.config.models import ModelConfig
from crossfold.provenance.manifest import Kept

# Directories that DVC keeps, by the name under which `publish.left_out` knows them; all other
# files of a model are small enough for git.
_DIRECTORIES = {
    "preprocessed": (paths.PREPROCESSED,),
    "checkpoints": (paths.CHECKPOINTS,),
    "posteriors": (paths.FOLD_POSTERIORS,),
    "segmentations": (paths.FOLD_SEGMENTATIONS,),
    "ensemble": (
        paths.ENSEMBLE_POSTERIORS,
        paths.ENSEMBLE_SEGMENTATIONS,
        paths.ENSEMBLE_UNCERTAINTY,
        paths.ENSEMBLE_DISAGREEMENT,
    ),
    "watching": (paths.TENSORBOARD, paths.EXAMPLE_IMAGES),
    "pictures": (paths.THUMBNAILS, paths.PATCH_SAMPLING),
    "bundle": (paths.BUNDLE,),
}


@dataclass(frozen=True)
class Contents:
    """Where the files of a model go.

    Parameters
    ----------
    outputs
        Directories, and the report, that DVC keeps.
    left_out
        Directories that only the manifest knows.
    images
        The images of the dataset; empty where they are left out.
    """

    outputs: tuple[str, ...]
    left_out: tuple[str, ...]
    images: str

    def kept(self, path: str) -> Kept:
        """Say where a file goes."""
        if any(_is_in(path, folder) for folder in self.left_out):
            return "left out"
        if any(_is_in(path, output) for output in (*self.outputs, self.images) if output):
            return "dvc"
        return "git"

    @property
    def directories(self) -> tuple[str, ...]:
        """Every directory that is one thing to DVC."""
        outputs = [path for path in self.outputs if not path.endswith(".html")]
        return (*outputs, *self.left_out, *([self.images] if self.images else []))


def contents_of(name: str, model: ModelConfig, root: Path = Path()) -> Contents:
    """Divide the files of a model that are there.

    Parameters
    ----------
    name, model
        The model and its configuration.
    root
        The checkout.
    """
    left_out_kinds: Collection[str] = model.publish.left_out
    outputs: list[str] = []
    left_out: list[str] = []
    for kind, patterns in _DIRECTORIES.items():
        for pattern in patterns:
            for fold in range(model.splits.folds) if "{fold}" in pattern else (0,):
                path = pattern.format(model=name, run=name, fold=fold)
                if (root / path).is_dir():
                    (left_out if kind in left_out_kinds else outputs).append(path)
    report = paths.REPORT.format(run=name)
    if (root / report).is_file():
        outputs.append(report)
    images = paths.DATASET_IMAGES.format(dataset=model.dataset)
    # A revision of a dataset is published where it comes from.
    if "dataset" in left_out_kinds or "@" in model.dataset:
        left_out.append(images)
        images = ""
        if "@" in model.dataset:
            left_out.append(paths.DATASET.format(dataset=model.dataset))
    return Contents(tuple(outputs), tuple(left_out), images)


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
