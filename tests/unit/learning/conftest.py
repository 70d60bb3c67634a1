"""A tiny preprocessed dataset: bright balls in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossfold.data.preprocessing import IMAGE, LABELS, VOXELS, Plan, _draw_voxels
from crossfold.paths import subject_file


@pytest.fixture(scope="session")
def preprocessed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("preprocessed")
    random = np.random.default_rng(0)
    digests = {}
    for number in range(6):
        subject = f"ball {number}"
        shape = (20 + number, 24, 18)
        centre = np.array(shape) / 2 + random.uniform(-3, 3, 3)
        grid = np.indices(shape).transpose(1, 2, 3, 0)
        distance = np.linalg.norm(grid - centre, axis=-1)
        labels = ((distance < 6).astype(np.uint8) + (distance < 3)).astype(np.uint8)
        image = random.normal(0, 0.2, (1, *shape)) + labels
        np.save(subject_file(directory, subject, IMAGE), image.astype(np.float16))
        np.save(subject_file(directory, subject, LABELS), labels)
        np.save(subject_file(directory, subject, VOXELS), _draw_voxels(labels, 2, seed=subject))
        digests[subject] = f"digest of {subject}"
    Plan((1.0, 1.0, 1.0), (22, 24, 18), digests).write(directory)
    return directory


@pytest.fixture(scope="session")
def subjects(preprocessed: Path) -> list[str]:
    return list(Plan.read(preprocessed).digests)
