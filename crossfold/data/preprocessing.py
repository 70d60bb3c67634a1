"""From source images to the arrays that all folds of a model map into memory.

Done once per dataset and model: reorientation to RAS, resampling, intensity normalisation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.data.dataset import Dataset
from crossfold.data.model_input import mask_on_grid, normalised, on_grid, target_mm
from crossfold.data.normalisation import HISTOGRAM_COLUMNS, histogram
from crossfold.data.resampling import resample_labels, resampled_shape
from crossfold.images import atomic_directory, atomic_path, ras_geometry, read_header
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file

IMAGE, LABELS, VOXELS, MASK = ".image.npy", ".labels.npy", ".voxels.npy", ".mask.npy"
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
    intensities: Path | None = None,
    workers: int = 1,
) -> Plan:
    """Write the arrays of every subject and the plan; the directory appears whole or not at all.

    For each subject: `<subject>.image.npy` float16 (channel, x, y, z), `<subject>.labels.npy` uint8
    (x, y, z), `<subject>.voxels.npy` int32 (structure, draw, axis): voxels drawn at random from
    each structure, -1 where it is absent. With `config.mask`, those voxels lie in the mask, which
    is kept as `<subject>.mask.npy`, bool (x, y, z).

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
    intensities
        Table to write: the histograms of every subject before and after normalisation.
    workers
        Number of processes.
    """
    own = {subject: _geometry(dataset, subject, channel=images[0]) for subject in subjects}
    median_mm = np.median([own[subject][1] for subject in training_subjects], axis=0).tolist()
    wanted = median_mm if config.spacing_mm == "median" else config.spacing_mm
    shapes = [
        resampled_shape(shape, spacing_mm, target_mm(spacing_mm, wanted))
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
        prepared = map_subjects(prepare, subjects, workers=workers, title="preprocess")
        digests = [digest for digest, _ in prepared]
        x_mm, y_mm, z_mm = target_mm(median_mm, wanted)
        x, y, z = (int(size) for size in np.median(shapes, axis=0))
        plan = Plan((x_mm, y_mm, z_mm), (x, y, z), dict(zip(subjects, digests, strict=True)))
        plan.write(directory)
    if intensities is not None:
        table = pd.concat([histograms for _, histograms in prepared], ignore_index=True)
        with atomic_path(intensities) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    return plan


def _geometry(
    dataset: Dataset, subject: str, *, channel: str
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and voxel size of a subject along right, anterior, superior."""
    return ras_geometry(read_header(dataset.path(subject, channel)))


def _preprocess_subject(
    subject: str,
    *,
    dataset: Dataset,
    directory: Path,
    images: tuple[str, ...],
    structures: tuple[str, ...],
    config: PreprocessingConfig,
    spacing_mm: Sequence[float | None],
) -> tuple[str, pd.DataFrame]:
    """Write the arrays of one subject; return their digest and the histograms of its images."""
    before: list[NDArray] = [
        on_grid(dataset.image(subject, channel), spacing_mm) for channel in images
    ]
    shape = before[0].shape
    mask = None
    if config.mask is not None:
        mask = mask_on_grid(dataset.label_map(subject, [config.mask]), shape)
    after: list[NDArray] = [
        normalised(array, config, mask, subject=subject, channel=channel)
        for channel, array in zip(images, before, strict=True)
    ]
    source = dataset.label_map(subject, structures).to_ras()
    labels = resample_labels(source.array, shape, len(structures))
    inside = labels if mask is None else np.where(mask, labels, 0)
    arrays: dict[str, NDArray] = {
        IMAGE: np.stack(after),
        LABELS: labels,
        VOXELS: _draw_voxels(inside, len(structures), seed=subject),
    }
    if mask is not None:
        arrays[MASK] = mask
    digest = hashlib.sha256()
    for suffix, content in arrays.items():
        np.save(subject_file(directory, subject, suffix), content)
        digest.update(np.ascontiguousarray(content).data)
    histograms = [
        histogram(array).assign(subject=subject, channel=channel, stage=stage)
        for stage, arrays_of_stage in (("before", before), ("after", after))
        for channel, array in zip(images, arrays_of_stage, strict=True)
    ]
    return digest.hexdigest(), pd.concat(histograms, ignore_index=True)[HISTOGRAM_COLUMNS]


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
