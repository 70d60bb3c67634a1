"""The ensemble of a bundle on one subject: read, resampled and normalised once for all members."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from crossfold.config.labels import label_values
from crossfold.data.model_input import mask_on_grid, normalised, on_grid, target_mm
from crossfold.data.resampling import resampled_shape
from crossfold.errors import CrossfoldError
from crossfold.images import Image
from crossfold.learning.checkpoints import load_checkpoint
from crossfold.learning.devices import prepare_process
from crossfold.parallel import available_cores
from crossfold.prediction.aggregation import combine
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.ensemble import EnsembleMaps, maps_of
from crossfold.prediction.member import PredictionSettings, make_predictor, only_in_mask
from crossfold.prediction.memory import InFile, Need, resident_bytes
from crossfold.prediction.source_grid import to_source_grid


@dataclass(frozen=True)
class SubjectPrediction(EnsembleMaps):
    """What the ensemble says about a subject, on the grid of its image.

    Parameters
    ----------
    like
        The image; affine and header of the grid.
    labels
        Label values of structures and derived structures in the segmentation.
    """

    like: Image
    labels: Mapping[str, Sequence[int]]

    def volumes_ml(self) -> pd.DataFrame:
        """Return the volume of every structure and derived structure: structure, volume_ml."""
        counts = np.bincount(self.segmentation.ravel(order="K"), minlength=256)
        volumes = {
            name: int(counts[list(values)].sum()) * self.like.voxel_volume_ml
            for name, values in self.labels.items()
        }
        return pd.DataFrame(volumes.items(), columns=["structure", "volume_ml"])


class EnsemblePredictor:
    """All members of a bundle, or some, ready to predict one subject after the other.

    Their posteriors and segmentations are, voxel for voxel, those of the pipeline on a machine of
    the same kind with one thread; one member alone gives those of its fold.

    Parameters
    ----------
    bundle
        The model.
    folds
        Members to use; None: all.
    device
        As `training.device`.
    memory_gb
        Most memory in GB that this process may take; None: as much as it needs. Posteriors that do
        not fit are kept in a file: the result is the same, byte for byte.
    scratch
        Folder for that file; None: that of the system for temporary files.
    threads
        Of the processor; None: all cores.
    progress
        Called with the number of members that are done, and of all.

    Raises
    ------
    CrossfoldError
        If the bundle has no such member, or its weights do not fit.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        folds: Sequence[int] | None = None,
        device: str = "auto",
        memory_gb: float | None = None,
        scratch: Path | None = None,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.bundle = bundle
        self.folds = members_of(bundle, folds)
        prepare_process(threads or available_cores())
        self._progress, self._memory_gb = progress, memory_gb
        self._scratch = scratch or Path(tempfile.gettempdir())
        settings = settings_of(bundle, device)
        self._members = [
            make_predictor(*load_checkpoint(bundle.weights(fold)), settings) for fold in self.folds
        ]
        self._resident = resident_bytes()

    def need(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> Need:
        """Return what it takes to predict an image, before it is read.

        Parameters
        ----------
        shape, spacing_mm
            Voxels and their size along right, anterior, superior.
        """
        bundle, member = self.bundle, self._members[0]
        target = target_mm(spacing_mm, bundle.spacing_mm)
        grid = resampled_shape(shape, spacing_mm, target)
        window = member.window_for(grid)
        return Need(
            channels=len(bundle.images),
            structures=len(bundle.structures),
            members=len(self.folds),
            source=shape,
            grid=grid,
            window=window,
            aggregation=bundle.aggregation,
            features=member.features(len(bundle.images), window),
            resident=self._resident,
        )

    def predict(self, images: Mapping[str, Image], mask: Image | None = None) -> SubjectPrediction:
        """Predict a subject.

        Parameters
        ----------
        images
            Its channels, as `crossfold.images.read_image` gives them.
        mask
            An image that is 1 inside, for a model with `preprocessing.mask`.

        Raises
        ------
        CrossfoldError
            If a channel or the mask is missing, channels are of different sizes, intensities
            cannot be normalised, or the memory does not suffice.
        """
        array, inside = network_input(self.bundle, images, mask)
        like = images[self.bundle.images[0]]
        members = self._posteriors(torch.from_numpy(array), self._file_folder(like))
        return prediction_of(self.bundle, members, len(self.folds), inside, like)

    def _file_folder(self, like: Image) -> Path | None:
        """Return the folder for posteriors that do not fit into memory; None: they do."""
        if self._memory_gb is None:
            return None
        axes = np.argsort(io_orientation(like.affine)[:, 0])
        need = self.need(
            [like.array.shape[axis] for axis in axes], [like.spacing_mm[axis] for axis in axes]
        )
        return None if need.fits_whole(self._memory_gb) else self._scratch

    def _posteriors(
        self, array: torch.Tensor, scratch: Path | None
    ) -> Iterator[torch.Tensor | InFile]:
        """Yield the posterior (class, x, y, z) of every member on the training grid."""
        for done, member in enumerate(self._members, start=1):
            yield member(array, scratch)
            if self._progress:
                self._progress(done, len(self._members))


def members_of(bundle: Bundle, folds: Sequence[int] | None) -> list[int]:
    """Return the members to use; None: all.

    Raises
    ------
    CrossfoldError
        If the bundle has no such member.
    """
    members = list(bundle.folds) if folds is None else sorted({*folds})
    unknown = {*members} - {*bundle.folds}
    if unknown or not members:
        raise CrossfoldError(
            f"{bundle.path}: has no member {', '.join(map(str, sorted(unknown))) or 'chosen'}",
            remedy=f"choose from {', '.join(map(str, bundle.folds))}",
        )
    return members


def network_input(
    bundle: Bundle, images: Mapping[str, Image], mask: Image | None = None
) -> tuple[NDArray[np.float16], NDArray[np.bool_] | None]:
    """Return the channels (channel, x, y, z) and the mask of a subject on the training grid.

    Parameters
    ----------
    bundle
        The model.
    images, mask
        As for `EnsemblePredictor.predict`.

    Raises
    ------
    CrossfoldError
        As `EnsemblePredictor.predict`.
    """
    config = bundle.preprocessing
    missing = [name for name in bundle.images if name not in images]
    if missing:
        raise CrossfoldError(
            f"{bundle.name} needs the images {', '.join(bundle.images)}, but there is no "
            f"{', '.join(missing)}",
            remedy="give one image for each channel",
        )
    if config.mask is not None and mask is None:
        raise CrossfoldError(
            f"{bundle.name} looks only into the mask `{config.mask}`, and there is none",
            remedy="give the mask of the subject as well",
        )
    grids = {name: on_grid(images[name], bundle.spacing_mm) for name in bundle.images}
    shapes = {name: grid.shape for name, grid in grids.items()}
    if len({*shapes.values()}) > 1:
        sizes = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise CrossfoldError(
            f"the channels cover different regions: on the training grid they have {sizes}",
            remedy="resample the channels to one grid",
        )
    inside = None
    if config.mask is not None and mask is not None:
        inside = mask_on_grid(mask, grids[bundle.images[0]].shape)
    channels = [
        normalised(grid, config, inside, subject="given", channel=name)
        for name, grid in grids.items()
    ]
    return np.stack(channels), inside


def prediction_of(
    bundle: Bundle,
    members: Iterable[torch.Tensor | InFile],
    n_members: int,
    inside: NDArray[np.bool_] | None,
    like: Image,
) -> SubjectPrediction:
    """Bring the posteriors of the members to the grid of the image, and make them one.

    Parameters
    ----------
    bundle
        The model.
    members
        Posterior (class, x, y, z) of every member on the training grid; one is held at a time.
    n_members
        Their number; one alone is what its fold is, with nothing to combine.
    inside
        The mask on the training grid, for a model that has one.
    like
        The image.
    """

    def on_source() -> Iterator[NDArray[np.uint8]]:
        for posterior in members:
            array = to_source_grid(only_in_mask(posterior, inside), like)
            del posterior  # the next member needs the room
            yield array
            del array

    method = bundle.aggregation if n_members > 1 else "average"
    found = combine(on_source(), n_members, method, like)
    labels = label_values(bundle.structures, bundle.derived_structures)
    maps = maps_of(found, labels=labels, postprocessing=bundle.postprocessing)
    return SubjectPrediction(**vars(maps), like=like, labels=labels)


def settings_of(bundle: Bundle, device: str) -> PredictionSettings:
    """Return how the members of a bundle are run on a device."""
    return PredictionSettings(
        bundle.inference,
        bundle.postprocessing,
        label_values(bundle.structures, bundle.derived_structures),
        bundle.mirror_pairs,
        bundle.precision,
        device,
    )
