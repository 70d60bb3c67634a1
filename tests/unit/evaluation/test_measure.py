from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from crossfold.config.metrics import MetricsConfig
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.measure import Measurement, measure_segmentations
from crossfold.evaluation.tables import METRICS_COLUMNS, read_metrics, write_metrics
from crossfold.images import Image, read_image, write_image
from crossfold.paths import subject_file

SUBJECTS = ("P/1", "P 2")
PARAMS = SimpleNamespace(
    model={
        "structures": ["left", "right"],
        "derived_structures": {"both": ["left", "right"]},
        "metrics": {"nsd_tolerance_mm": {"default": 2, "both": 1}},
        "dataset": "phantom",
    },
    synthetic=True,
    seed=3,
)


@pytest.fixture
def measurement() -> Measurement:
    return Measurement.from_params("M@5", PARAMS, "test", "ensemble")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subjects with a box on either side; the prediction lacks a slice of the right one."""
    labels = np.zeros((10, 8, 6), np.uint8)
    labels[1:4, 2:6, 1:5], labels[6:9, 2:6, 1:5] = 1, 2
    like = Image(labels, np.diag([2.0, 1.0, 5.0, 1.0]), nib.Nifti1Header())
    prediction = labels.copy()
    prediction[:, :, 4][prediction[:, :, 4] == 2] = 0
    rows = ["subject,channel,filePath,label,institutionId,seriesId"]
    for number, subject in enumerate(SUBJECTS):
        write_image(tmp_path / f"{number}.nii.gz", labels, like)
        write_image(subject_file(tmp_path / "predicted", subject), prediction, like)
        for label, structure in enumerate(("left", "right"), start=1):
            rows.append(f"{subject},{structure},{number}.nii.gz,{label},clinic {number},s{number}")
    (tmp_path / "dataset.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_per_subject_and_structure(
    folder: Path, measurement: Measurement, workers: int
) -> None:
    dataset = Dataset.read(folder / "dataset.csv")
    frame = measure_segmentations(
        dataset, folder / "predicted", SUBJECTS, measurement, workers=workers
    )
    assert [*frame.columns] == METRICS_COLUMNS
    found = frame[["subject", "structure", "institution", "series"]].to_numpy().tolist()
    structures = ("left", "right", "both")
    assert found == [
        [subject, structure, f"clinic {number}", f"s{number}"]
        for number, subject in enumerate(SUBJECTS)
        for structure in structures
    ]
    left, right, both = (frame[frame["structure"] == name].iloc[0] for name in structures)
    # 48 voxels of 10 mm3, of which the prediction has 36 on the right.
    assert left["dice"] == 1
    assert right["dice"] == pytest.approx(2 * 36 / (48 + 36))
    assert both["dice"] == pytest.approx(2 * 84 / (96 + 84))
    assert right[["volume_ref_ml", "volume_pred_ml"]].tolist() == pytest.approx([0.48, 0.36])
    assert right["hd_mm"] == 5
    assert [row["nsd_tolerance_mm"] for row in (left, right, both)] == [2, 2, 1]
    assert right[["spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]].tolist() == [2, 1, 5]
    constants = ["model", "dataset", "synthetic", "split", "fold", "seed"]
    assert right[constants].tolist() == ["M@5", "phantom", True, "test", "ensemble", 3]
    write_metrics(folder / "metrics.csv", frame)
    assert len(read_metrics(folder / "metrics.csv")) == 6


def test_a_segmentation_on_another_grid_is_refused(folder: Path, measurement: Measurement) -> None:
    file = subject_file(folder / "predicted", "P 2")
    moved = read_image(file)
    moved.affine[0, 3] += 1
    write_image(file, moved.array.astype(np.uint8), moved)
    with pytest.raises(CrossfoldError, match=r"P 2\.nii\.gz: not on the grid of the contours"):
        measure_segmentations(
            Dataset.read(folder / "dataset.csv"), folder / "predicted", SUBJECTS, measurement
        )


def test_a_missing_segmentation_is_named(folder: Path, measurement: Measurement) -> None:
    subject_file(folder / "predicted", "P/1").unlink()
    with pytest.raises(CrossfoldError, match=r"P%2F1\.nii\.gz: no such file"):
        measure_segmentations(
            Dataset.read(folder / "dataset.csv"), folder / "predicted", SUBJECTS, measurement
        )


def test_a_structure_needs_a_tolerance() -> None:
    with pytest.raises(CrossfoldError, match="no tolerance for right"):
        MetricsConfig(nsd_tolerance_mm={"left": 1}).tolerance_of("right")
