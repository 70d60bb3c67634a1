"""Which crops training sees: drawn from arrays mapped into memory.

Every batch is a function of seed and step alone, so a training that was killed continues with the
crops that it would have seen, and no random state has to be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfold.data.preprocessing import IMAGE, LABELS, MASK, VOXELS
from crossfold.errors import CrossfoldError
from crossfold.paths import subject_file

# Voxels that are tried before a whole image is searched for one of the background, or in the mask.
TRIED_VOXELS = 64


@dataclass(frozen=True)
class Crops:
    """A batch of crops.

    Parameters
    ----------
    images
        float32 (crop, channel, x, y, z).
    labels
        int64 (crop, x, y, z).
    subjects
        The subject of each crop, also of those that are on other devices.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """The crops of a batch that one device works on.

    Parameters
    ----------
    crops
        Which of them.
    total
        How many the whole batch has.
    """

    crops: slice
    total: int


class CropSampler:
    """Draws crops from the preprocessed subjects of one fold.

    Parameters
    ----------
    preprocessed
        Directory written by `preprocess_dataset`.
    subjects
        Subjects to draw from, each with the same probability.
    size
        Crop in voxels, (x, y, z); what lies outside the image is 0.
    foreground
        Share of the crops centred on a voxel of a structure; structures are drawn with equal
        probability, then one of their voxels. The others lie anywhere, or where there is a mask,
        are centred on any voxel in it.
    class_weights
        Probability of the background and of each structure at the centre of a crop, instead of
        `foreground`. As in InnerEye, a class without a voxel in the subject (and its mask) is left
        out, and another drawn with the weights that remain.
    """

    def __init__(
        self,
        preprocessed: Path,
        subjects: Sequence[str],
        *,
        size: Sequence[int],
        foreground: float,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        self.subjects = tuple(subjects)
        self.size = np.array(size)
        self.foreground = foreground
        self.class_weights = None if class_weights is None else np.array(class_weights)
        self._images = self._map(preprocessed, IMAGE)
        self._labels = self._map(preprocessed, LABELS)
        self._voxels = self._map(preprocessed, VOXELS)
        has_mask = bool(subjects) and subject_file(preprocessed, subjects[0], MASK).is_file()
        self._masks = self._map(preprocessed, MASK) if has_mask else None

    def _map(self, preprocessed: Path, suffix: str) -> list[NDArray]:
        files = [subject_file(preprocessed, subject, suffix) for subject in self.subjects]
        return [np.load(file, mmap_mode="r") for file in files]

    def draw(
        self,
        random: np.random.Generator,
        count: int,
        margin: Sequence[int],
        share: Share | None = None,
    ) -> Crops:
        """Draw crops, each with a margin around it from which it can be rotated.

        Parameters
        ----------
        random
            Source of every draw.
        count
            Number of crops.
        margin
            Voxels added on both sides along x, y, z.
        share
            Which of the crops to read; by default all that are drawn.
        """
        drawn = random.integers(len(self.subjects), size=count)
        around = np.asarray(margin)
        full = tuple(self.size + 2 * around)
        starts = [(index, self.start(random, index) - around) for index in drawn]
        read = starts[share.crops] if share else starts
        images = np.zeros((len(read), self._images[0].shape[0], *full), dtype=np.float32)
        labels = np.zeros((len(read), *full), dtype=np.int64)
        for crop, (index, start) in enumerate(read):
            source, target = _overlap(start, full, self._labels[index].shape)
            images[crop][(slice(None), *target)] = self._images[index][(slice(None), *source)]
            labels[crop][target] = self._labels[index][source]
        return Crops(images, labels, tuple(self.subjects[index] for index in drawn))

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the number of voxels of a subject along x, y, z."""
        return self._labels[index].shape

    def start(self, random: np.random.Generator, index: int) -> NDArray[np.int64]:
        """Draw the first voxel of a crop: inside the image, or around it where it is smaller.

        Parameters
        ----------
        random
            Source of every draw.
        index
            Place of the subject among `subjects`.

        Raises
        ------
        CrossfoldError
            If the subject has no voxel of any class that has a weight.
        """
        room = np.array(self._labels[index].shape) - self.size
        low, high = np.minimum(room, 0), np.maximum(room, 0)
        centre = self._centre(random, index)
        if centre is None:
            return random.integers(low, high + 1)
        return np.clip(centre - self.size // 2, low, high)

    def _centre(self, random: np.random.Generator, index: int) -> NDArray[np.integer] | None:
        """Draw the voxel at the centre of a crop; None where the crop may lie anywhere."""
        if self.class_weights is not None:
            return self._centre_by_class(random, index, self.class_weights)
        if random.random() < self.foreground:
            voxels = self._voxels[index]
            present = np.flatnonzero(voxels[:, 0, 0] >= 0)
            if present.size:
                return voxels[random.choice(present), random.integers(voxels.shape[1])]
        return self._voxel(random, index, background=False) if self._masks else None

    def _centre_by_class(
        self, random: np.random.Generator, index: int, weights: NDArray[np.float64]
    ) -> NDArray[np.integer]:
        """Draw a class by its weight, again without it where the subject has none, and a voxel."""
        weights, voxels = weights.copy(), self._voxels[index]
        while (total := weights.sum()) > 0:
            drawn = int(random.choice(len(weights), p=weights / total))
            if drawn == 0:
                centre = self._voxel(random, index, background=True)
            else:
                voxel = voxels[drawn - 1, random.integers(voxels.shape[1])]
                centre = voxel if voxel[0] >= 0 else None
            if centre is not None:
                return centre
            weights[drawn] = 0
        raise CrossfoldError(
            f"subject {self.subjects[index]}: no voxel{' in the mask' if self._masks else ''} of "
            "any class that has a weight in training.sampling",
            remedy="give every class a weight, or leave the subject out",
        )

    def _voxel(
        self, random: np.random.Generator, index: int, *, background: bool
    ) -> NDArray[np.int64] | None:
        """Draw a voxel of the background, or of the mask; None where there is none."""
        labels, mask = self._labels[index], self._masks[index] if self._masks else None

        def fits(place: tuple[Any, ...]) -> NDArray[np.bool_]:
            wanted = labels[place] == 0 if background else np.ones_like(labels[place], dtype=bool)
            return wanted if mask is None else wanted & mask[place]

        tried = random.integers(labels.shape, size=(TRIED_VOXELS, 3))
        hits = np.flatnonzero(fits(tuple(tried.T)))
        if hits.size:
            return tried[hits[0]]
        everywhere = np.flatnonzero(fits((...,)))
        if not everywhere.size:
            return None
        return np.stack(np.unravel_index(random.choice(everywhere), labels.shape))


def _overlap(
    start: NDArray[np.int64], size: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of a box inside an image: slices into the image and into the box."""
    source, target = [], []
    for first, length, extent in zip(start.tolist(), size, shape, strict=True):
        low, high = max(first, 0), min(first + int(length), extent)
        source.append(slice(low, max(low, high)))
        target.append(slice(low - first, max(low, high) - first))
    return tuple(source), tuple(target)
