"""Which crops training sees: drawn from arrays mapped into memory.

Every batch is a function of seed and step alone, so a training that was killed continues with the
crops that it would have seen, and no random state has to be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfold.data.preprocessing import IMAGE, LABELS, VOXELS
from crossfold.paths import subject_file


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
        The subject of each crop.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    subjects: tuple[str, ...]


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
        probability, then one of their voxels.
    """

    def __init__(
        self,
        preprocessed: Path,
        subjects: Sequence[str],
        *,
        size: Sequence[int],
        foreground: float,
    ) -> None:
        self.subjects = tuple(subjects)
        self.size = np.array(size)
        self.foreground = foreground
        self._images = self._map(preprocessed, IMAGE)
        self._labels = self._map(preprocessed, LABELS)
        self._voxels = self._map(preprocessed, VOXELS)

    def _map(self, preprocessed: Path, suffix: str) -> list[NDArray]:
        files = [subject_file(preprocessed, subject, suffix) for subject in self.subjects]
        return [np.load(file, mmap_mode="r") for file in files]

    def draw(self, random: np.random.Generator, count: int, margin: Sequence[int]) -> Crops:
        """Draw crops, each with a margin around it from which it can be rotated.

        Parameters
        ----------
        random
            Source of every draw.
        count
            Number of crops.
        margin
            Voxels added on both sides along x, y, z.
        """
        drawn = random.integers(len(self.subjects), size=count)
        around = np.asarray(margin)
        full = tuple(self.size + 2 * around)
        images = np.zeros((count, self._images[0].shape[0], *full), dtype=np.float32)
        labels = np.zeros((count, *full), dtype=np.int64)
        for crop, index in enumerate(drawn):
            start = self._start(random, index) - around
            source, target = _overlap(start, full, self._labels[index].shape)
            images[crop][(slice(None), *target)] = self._images[index][(slice(None), *source)]
            labels[crop][target] = self._labels[index][source]
        return Crops(images, labels, tuple(self.subjects[index] for index in drawn))

    def _start(self, random: np.random.Generator, index: int) -> NDArray[np.int64]:
        """Draw the first voxel of a crop: inside the image, or around it where it is smaller."""
        room = np.array(self._labels[index].shape) - self.size
        low, high = np.minimum(room, 0), np.maximum(room, 0)
        if random.random() < self.foreground:
            voxels = self._voxels[index]
            present = np.flatnonzero(voxels[:, 0, 0] >= 0)
            if present.size:
                centre = voxels[random.choice(present), random.integers(voxels.shape[1])]
                return np.clip(centre - self.size // 2, low, high)
        return random.integers(low, high + 1)


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
