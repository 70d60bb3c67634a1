from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.data.annotation_quality import (
    EXTREMES_COLUMNS,
    OVERLAP_COLUMNS,
    AnnotationQuality,
    assess_annotations,
    extremes_text,
    missing_slices,
    overlap_text,
)
from crossfold.data.dataset import Dataset

SHAPE = (6, 7, 8)
STRUCTURES = ["bladder", "rectum"]


class Study:
    """A dataset under construction."""

    def __init__(self, folder: Path, write_nifti: Callable[..., Path]) -> None:
        self.folder = folder
        self.write_nifti = write_nifti
        self.rows: list[dict[str, str]] = []

    def add(
        self,
        subject: str,
        channel: str,
        array: np.ndarray,
        *,
        affine: np.ndarray | None = None,
        **about: str,
    ) -> Path:
        name = f"images/{subject}_{channel}.nii.gz"
        self.rows.append({"subject": subject, "channel": channel, "filePath": name, **about})
        return self.write_nifti(self.folder / name, array, affine, np.uint8)

    def assess(self, structures: list[str] = STRUCTURES, workers: int = 1) -> AnnotationQuality:
        table = pd.DataFrame(self.rows).fillna("")
        table.to_csv(self.folder / "dataset.csv", index=False)
        dataset = Dataset.read(self.folder / "dataset.csv")
        return assess_annotations(dataset, structures, workers=workers)


@pytest.fixture
def study(tmp_path: Path, write_nifti: Callable[..., Path]) -> Study:
    return Study(tmp_path, write_nifti)


def box(x: slice, y: slice, z: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[x, y, z] = 1
    return mask


def row_of(frame: pd.DataFrame, structure: str) -> pd.Series:
    rows = frame[frame["structure"] == structure]
    assert len(rows) == 1
    return rows.iloc[0]


def test_extents_volume_and_gaps(study: Study) -> None:
    mask = box(slice(1, 4), slice(2, 3), slice(0, 8))
    mask[:, :, [2, 4, 5]] = 0
    study.add("P 1", "bladder", mask, affine=np.diag([0.5, 2.0, 3.0, 1.0]))
    quality = study.assess(["bladder"])
    extremes = quality.extremes.iloc[0]
    assert list(quality.extremes) == EXTREMES_COLUMNS
    assert extremes[["x_lo", "x_hi", "x_max"]].tolist() == [1, 3, 5]
    assert extremes[["y_lo", "y_hi", "y_max"]].tolist() == [2, 2, 6]
    assert extremes[["z_lo", "z_hi", "z_max"]].tolist() == [0, 7, 7]
    assert extremes["missing_slices"] == "z: 2, 4-5"
    assert extremes["problem"] == ""
    overlap = quality.overlap.iloc[0]
    assert list(quality.overlap) == OVERLAP_COLUMNS
    assert overlap[["overlap_voxels", "voxels"]].tolist() == [0, 15]
    # InnerEye would have said 15 * round(0.003, 3); a voxel of 0.4 mm³ would have had none.
    assert overlap["volume_ml"] == pytest.approx(0.045)


def test_axes_are_those_of_the_patient(study: Study) -> None:
    # Stored from the left to the right of the reader: x falls along the first axis, z is second.
    affine = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    study.add("P", "bladder", box(slice(0, 2), slice(1, 3), slice(2, 5)), affine=affine)
    extremes = study.assess(["bladder"]).extremes.iloc[0]
    assert extremes[["x_lo", "x_hi", "x_max"]].tolist() == [4, 5, 5]
    assert extremes[["y_lo", "y_hi", "y_max"]].tolist() == [2, 4, 7]
    assert extremes[["z_lo", "z_hi", "z_max"]].tolist() == [1, 2, 6]


def test_gaps_of_all_axes_axial_slices_first() -> None:
    mask = np.zeros((5, 1, 5), bool)
    mask[0, 0, 0] = mask[4, 0, 2] = True
    assert missing_slices(mask) == "z: 1; x: 1-3"
    assert missing_slices(np.ones((2, 2, 2), bool)) == ""
    assert missing_slices(np.zeros((2, 2, 2), bool)) == ""


def test_overlap_counts_each_voxel_once(study: Study) -> None:
    study.add("P", "bladder", box(slice(0, 2), slice(0, 1), slice(0, 1)))
    study.add("P", "rectum", box(slice(1, 3), slice(0, 1), slice(0, 1)))
    study.add("P", "prostate", box(slice(1, 2), slice(0, 1), slice(0, 1)))
    overlap = study.assess(["bladder", "rectum", "prostate"]).overlap
    assert overlap["overlap_voxels"].tolist() == [1, 1, 1]
    assert overlap["overlap_with"].tolist() == [
        "rectum 1, prostate 1",
        "bladder 1, prostate 1",
        "bladder 1, rectum 1",
    ]


def test_structures_in_one_file(study: Study) -> None:
    labels = box(slice(0, 2), slice(0, 2), slice(0, 2))
    labels[0] *= 2
    study.add("P", "bladder", labels, label="1")
    study.rows.append(study.rows[0] | {"channel": "rectum", "label": "2"})
    study.rows.append(study.rows[0] | {"channel": "both", "label": "1+2"})
    overlap = study.assess(["bladder", "rectum", "both"]).overlap
    assert overlap["voxels"].tolist() == [4, 4, 8]
    assert overlap["overlap_voxels"].tolist() == [4, 4, 8]


def test_problems_are_listed_and_stop_nothing(study: Study) -> None:
    study.add("P", "bladder", np.zeros(SHAPE))
    study.add("P", "rectum", box(slice(0, 1), slice(0, 1), slice(0, 1)))
    damaged = study.add("Q", "bladder", np.ones(SHAPE))
    damaged.write_bytes(damaged.read_bytes()[:40])
    study.add("R", "bladder", np.ones(SHAPE))
    study.add("R", "rectum", np.ones((2, 2, 2)))
    study.add("S", "bladder", np.ones(SHAPE))
    study.add("S", "rectum", np.ones(SHAPE), affine=np.diag([1.0, 1, 2, 1]))
    study.rows.append(study.rows[-1] | {"channel": "bladder"})
    for quality in (study.assess(), study.assess(workers=2)):
        for table in (quality.extremes, quality.overlap):
            problems = dict(
                zip(
                    zip(table["subject"], table["structure"], strict=True),
                    table["problem"],
                    strict=True,
                )
            )
            assert problems.pop(("Q", "bladder")).startswith("images/Q_bladder.nii.gz: ")
            assert problems == {
                ("P", "bladder"): "no voxel",
                ("P", "rectum"): "",
                ("Q", "rectum"): "no rows in dataset.csv",
                ("R", "bladder"): "",
                ("R", "rectum"): "on another grid than bladder",
                ("S", "bladder"): "2 rows in dataset.csv",
                ("S", "rectum"): "",
            }
    empty = row_of(quality.extremes[quality.extremes["subject"] == "P"], "bladder")
    assert pd.isna(empty["z_lo"])
    assert empty["z_max"] == 7
    apart = row_of(quality.overlap[quality.overlap["subject"] == "R"], "rectum")
    assert pd.isna(apart["overlap_voxels"])
    assert apart["voxels"] == 8


def test_texts_to_the_letter(study: Study) -> None:
    about = {"institutionId": "north", "seriesId": "1.2.840.7"}
    gap = box(slice(1, 4), slice(2, 3), slice(0, 8))
    gap[:, :, 3:5] = 0
    study.add("patient 10", "bladder", gap, **about)
    study.add("patient 10", "rectum", box(slice(1, 2), slice(2, 3), slice(0, 1)), **about)
    study.add("007", "bladder", np.zeros(SHAPE))
    study.add("007", "rectum", box(slice(0, 5), slice(0, 6), slice(0, 7)))
    quality = study.assess()
    assert extremes_text(quality.extremes).split("\n\n", 1)[1] == (
        """\
=== institution not known ===

xLo  xHi  xMx  yLo  yHi  yMx  zLo  zHi  zMx  Sub  Series  Structure  Missing
 -1   -1    5   -1   -1    6   -1   -1    7  007          bladder    no voxel
  0    4    5    0    5    6    0    6    7  007          rectum

=== institution north ===

xLo  xHi  xMx  yLo  yHi  yMx  zLo  zHi  zMx  Sub         Series     Structure  Missing
  1    3    5    2    2    6    0    7    7  patient 10  1.2.840.7  bladder    z: 3-4
  1    1    5    2    2    6    0    0    7  patient 10  1.2.840.7  rectum
"""
    )
    assert extremes_text(quality.extremes, problems_only=True).count("rectum") == 0
    assert overlap_text(quality.overlap).split("\n\n", 1)[1] == (
        """\
=== institution not known ===

LabelOverlap  LabelVolume (mL)  Sub  Series  Structure  Overlaps with
           0             0.000  007          bladder    no voxel
           0             0.210  007          rectum

=== institution north ===

LabelOverlap  LabelVolume (mL)  Sub         Series     Structure  Overlaps with
           1             0.018  patient 10  1.2.840.7  bladder    rectum 1
           1             0.001  patient 10  1.2.840.7  rectum     bladder 1
"""
    )
    assert overlap_text(quality.overlap, problems_only=True).count("rectum") == 2


def test_texts_without_problems_and_without_structures(study: Study) -> None:
    study.add("P", "bladder", np.ones(SHAPE))
    quality = study.assess(["bladder"])
    for text in (
        extremes_text(quality.extremes, problems_only=True),
        overlap_text(quality.overlap, problems_only=True),
    ):
        assert text.endswith("\n\nNo problems found.\n")
    nothing = study.assess([])
    assert list(nothing.extremes) == EXTREMES_COLUMNS
    for text in (extremes_text(nothing.extremes), overlap_text(nothing.overlap)):
        assert text.endswith("\n\nNo structures.\n")


def test_unreadable_files_have_empty_cells_in_the_texts(study: Study) -> None:
    study.add("P", "bladder", np.ones(SHAPE)).write_bytes(b"")
    quality = study.assess(["bladder"])
    line = extremes_text(quality.extremes).splitlines()[-1]
    assert line.split()[:9] == ["-1"] * 9
    assert "the file is empty" in line
    assert overlap_text(quality.overlap).splitlines()[-1].split()[:2] == ["P", "bladder"]
