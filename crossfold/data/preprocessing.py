"""From source images to the arrays that all folds of a model map into memory.

Done once per dataset and model: reorientation to RAS, resampling, intensity normalisation. Air, and
what lies outside an image, is 0 on the scale of `ct_window` and `percentile`; with `z_score` 0 is
the mean of the image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfold.config.preprocessing import CtWindow, PercentileRange, PreprocessingConfig, ZScore
from crossfold.data.dataset import Dataset
from crossfold.data.resampling import resample, resample_labels, resampled_shape
from crossfold.images import atomic_directory, ras_geometry, read_header
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file

IMAGE, LABELS, VOXELS = ".image.npy", ".labels.npy", ".voxels.npy"
VOXELS_PER_STRUCTURE = 1000
AUTO_PATCH_VOXELS = 65_536


@dataclass(frozen=True)
class Plan:
    """What preprocessing decided from the data; saved as plan.json beside the arrays.

    Parameters
    ----------
    spacing_mm
        Voxel size of the training grid; for an axis that each image keeps, the median.
    shape
        Median number of voxels of the training subjects on that grid.
    digests
        SHA-256 of the arrays of each subject: what training depends on.
    """

    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    digests: dict[str, str]

    @classmethod
    def read(cls, preprocessed: Path) -> Plan:
        """Read the plan of a preprocessed dataset."""
        values = json.loads((preprocessed / "plan.json").read_text(encoding="utf-8"))
        return cls(tuple(values["spacing_mm"]), tuple(values["shape"]), values["digests"])

    def write(self, preprocessed: Path) -> None:
        """Write the plan beside the arrays."""
        text = json.dumps(asdict(self), indent=1)
        (preprocessed / "plan.json").write_text(text, encoding="utf-8")

    def auto_patch(self, divisor: int = 8) -> tuple[int, int, int]:
        """Return the median shape, its longest sides (in mm) cut until the patch is affordable."""
        extent = np.array(self.shape, dtype=float)
        for _ in range(1000):
            patch = np.maximum(divisor, np.ceil(extent / divisor).astype(int) * divisor)
            if patch.prod() <= AUTO_PATCH_VOXELS or (patch <= 2 * divisor).all():
                break
            millimetres = np.where(patch > 2 * divisor, patch * np.array(self.spacing_mm), 0)
            extent[np.argmax(millimetres)] -= divisor / 2
        x, y, z = (int(size) for size in patch)
        return x, y, z


def preprocess_dataset(
    dataset: Dataset,
    preprocessed: Path,
    *,
    subjects: Sequence[str],
    training_subjects: Sequence[str],
    images: Sequence[str],
    structures: Sequence[str],
    config: PreprocessingConfig,
    workers: int = 1,
) -> Plan:
    """Write the arrays of every subject and the plan; the directory appears whole or not at all.

    For each subject: `<subject>.image.npy` float16 (channel, x, y, z), `<subject>.labels.npy` uint8
    (x, y, z), `<subject>.voxels.npy` int32 (structure, draw, axis): voxels drawn at random from
    each structure, -1 where it is absent.

    Parameters
    ----------
    dataset
        Where to read from.
    preprocessed
        Directory to write.
    subjects
        All subjects, those of the test set included.
    training_subjects
        Subjects from which the voxel size and the median shape are taken.
    images, structures
        Channels of the dataset.
    config
        Grid and intensities.
    workers
        Number of processes.
    """
    own = {subject: _geometry(dataset, subject, channel=images[0]) for subject in subjects}
    median_mm = np.median([own[subject][1] for subject in training_subjects], axis=0).tolist()
    wanted = median_mm if config.spacing_mm == "median" else config.spacing_mm
    shapes = [
        resampled_shape(shape, spacing_mm, _target_mm(spacing_mm, wanted))
        for shape, spacing_mm in (own[subject] for subject in training_subjects)
    ]
    with atomic_directory(preprocessed) as directory:
        prepare = partial(
            _preprocess_subject,
            dataset=dataset,
            directory=directory,
            images=tuple(images),
            structures=tuple(structures),
            config=config,
            spacing_mm=wanted,
        )
        digests = map_subjects(prepare, subjects, workers=workers, title="preprocess")
        x_mm, y_mm, z_mm = _target_mm(median_mm, wanted)
        x, y, z = (int(size) for size in np.median(shapes, axis=0))
        plan = Plan((x_mm, y_mm, z_mm), (x, y, z), dict(zip(subjects, digests, strict=True)))
        plan.write(directory)
    return plan


def _geometry(
    dataset: Dataset, subject: str, *, channel: str
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and voxel size of a subject along right, anterior, superior."""
    return ras_geometry(read_header(dataset.path(subject, channel)))


def _target_mm(own_mm: Sequence[float], wanted_mm: Sequence[float | None]) -> list[float]:
    """Return the voxel size that an image gets: along an axis without a wish, its own."""
    return [o if w is None else w for o, w in zip(own_mm, wanted_mm, strict=True)]


def _preprocess_subject(
    subject: str,
    *,
    dataset: Dataset,
    directory: Path,
    images: tuple[str, ...],
    structures: tuple[str, ...],
    config: PreprocessingConfig,
    spacing_mm: Sequence[float | None],
) -> str:
    """Write the arrays of one subject and return their digest."""
    array = np.stack(
        [preprocess_image(dataset, subject, channel, config, spacing_mm) for channel in images]
    )
    source = dataset.label_map(subject, structures).to_ras()
    labels = resample_labels(source.array, array.shape[1:], len(structures))
    arrays: dict[str, NDArray] = {
        IMAGE: array,
        LABELS: labels,
        VOXELS: _draw_voxels(labels, len(structures), seed=subject),
    }
    digest = hashlib.sha256()
    for suffix, content in arrays.items():
        np.save(subject_file(directory, subject, suffix), content)
        digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def preprocess_image(
    dataset: Dataset,
    subject: str,
    channel: str,
    config: PreprocessingConfig,
    spacing_mm: Sequence[float | None],
) -> NDArray[np.float16]:
    """Return one channel of a subject on the training grid, (x, y, z), RAS, normalised."""
    image = dataset.image(subject, channel).to_ras()
    target = _target_mm(image.spacing_mm, spacing_mm)
    array = resample(image.array, resampled_shape(image.array.shape, image.spacing_mm, target))
    return normalise(array, config.normalisation_of(channel)).astype(np.float16)


def normalise(
    array: NDArray[np.float32], method: ZScore | CtWindow | PercentileRange
) -> NDArray[np.float32]:
    """Normalise the intensities of an image.

    Parameters
    ----------
    array
        (x, y, z).
    method
        One of the sections under `preprocessing.normalisation`.
    """
    match method:
        case CtWindow(level=level, window=window):
            low, high = level - window / 2, level + window / 2
            scaled = (array.clip(low, high) - low) / window
        case PercentileRange(percentiles=percentiles):
            low, high = np.percentile(array, percentiles)
            scaled = (array.clip(low, high) - low) / max(high - low, 1e-8)
        case ZScore(clip_percentiles=percentiles):
            if percentiles is not None:
                array = array.clip(*np.percentile(array, percentiles))
            mean, deviation = array.mean(dtype=np.float64), array.std(dtype=np.float64)
            scaled = (array - mean) / max(deviation, 1e-8)
    return scaled.astype(np.float32, copy=False)


def _draw_voxels(labels: NDArray[np.uint8], count: int, *, seed: str) -> NDArray[np.int32]:
    """Draw voxels of each structure: (structure, draw, axis), -1 where it is absent."""
    random = np.random.default_rng(list(seed.encode()))
    voxels = np.full((count, VOXELS_PER_STRUCTURE, 3), -1, dtype=np.int32)
    for value in range(1, count + 1):
        inside = np.flatnonzero(labels == value)
        if inside.size:
            drawn = random.choice(inside, VOXELS_PER_STRUCTURE)
            voxels[value - 1] = np.stack(np.unravel_index(drawn, labels.shape), axis=1)
    return voxels
