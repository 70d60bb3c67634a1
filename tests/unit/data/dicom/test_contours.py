from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from crossfold.data.dicom import read_series, write_segmentation, write_structure_set
from crossfold.data.dicom.contours import find_structure, read_structures
from crossfold.errors import CrossfoldError
from tests.dicom_series import write_enhanced_series, write_series

NAMES = ["bladder", "rectum", "Ünder scored", "slice"]
WRITERS = {"seg": write_segmentation, "rtstruct": write_structure_set}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_written_is_read_again(
    kind: str, folder: Path, segmentation: np.ndarray, tmp_path: Path
) -> None:
    series = read_series(folder)
    WRITERS[kind](series, segmentation, NAMES, tmp_path / "out.dcm")
    structures = read_structures(tmp_path / "out.dcm")
    assert [structure.name for structure in structures] == NAMES
    for label, structure in enumerate(structures, start=1):
        assert np.array_equal(structure.mask(series), segmentation == label)


@pytest.mark.parametrize("kind", WRITERS)
def test_an_enhanced_series_and_unions(
    kind: str, hounsfield: np.ndarray, segmentation: np.ndarray, tmp_path: Path
) -> None:
    series = read_series(write_enhanced_series(tmp_path / "ct.dcm", hounsfield))
    labels = {"part": (1,), "whole": (1, 2), "nothing": (9,)}
    WRITERS[kind](series, segmentation, labels, tmp_path / "out.dcm")
    part, whole, nothing = read_structures(tmp_path / "out.dcm")
    assert np.array_equal(part.mask(series), segmentation == 1)
    assert np.array_equal(whole.mask(series), np.isin(segmentation, (1, 2)))
    assert not nothing.mask(series).any()


@pytest.fixture
def drawn(tmp_path: Path, hounsfield: np.ndarray, segmentation: np.ndarray) -> Path:
    """A structure set whose `ball` grows from slice to slice."""
    write_series(tmp_path / "ct", hounsfield)
    ball = np.zeros_like(segmentation)
    for z in range(1, 8):
        ball[10 - z : 10 + z, 12 - z : 12 + z, z] = 1
    write_structure_set(read_series(tmp_path / "ct"), ball, ["ball"], tmp_path / "rtstruct.dcm")
    return tmp_path / "rtstruct.dcm"


def contours_of(dataset: Dataset) -> list[Dataset]:
    return dataset.ROIContourSequence[0].ContourSequence


def edit(path: Path, change) -> None:
    dataset = pydicom.dcmread(path)
    change(contours_of(dataset))
    dataset.save_as(path)


def areas(path: Path, folder: str = "ct") -> list[int]:
    mask = read_structures(path)[0].mask(read_series(path.parent / folder))
    return mask.sum(axis=(0, 1)).tolist()


def shift(contour: Dataset, across_mm: float) -> None:
    points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
    contour.ContourData = (points + np.array([0, 0, across_mm])).ravel().tolist()


def test_slices_between_contours_are_filled_in(drawn: Path) -> None:
    whole = areas(drawn)
    assert whole == [0, 4, 16, 36, 64, 100, 144, 196, 0]

    def every_other(contours: list[Dataset]) -> None:
        del contours[1::2]

    edit(drawn, every_other)
    filled = areas(drawn)
    assert filled[1::2] == whole[1::2]
    assert all(filled[z - 1] < filled[z] < filled[z + 1] for z in (2, 4, 6))


def test_a_gap_in_contours_of_every_slice_stays(drawn: Path) -> None:
    edit(drawn, lambda contours: contours.pop(3))
    assert areas(drawn) == [0, 4, 16, 36, 0, 100, 144, 196, 0]


def test_contours_drawn_between_slices_are_brought_to_them(drawn: Path) -> None:
    whole = areas(drawn)
    edit(drawn, lambda contours: [shift(contour, 1.6) for contour in contours])
    moved = areas(drawn)
    assert all(whole[z - 1] <= moved[z] <= whole[z] for z in range(2, 8))
    assert moved[8] == 0


def test_contours_beyond_the_series_tell_of_missing_slices(drawn: Path) -> None:
    series = read_series(drawn.parent / "ct")
    for frame in series.frames[-3:]:
        frame.file.unlink()
    with pytest.raises(CrossfoldError, match=r"`ball` reaches 2.0 slices beyond"):
        areas(drawn)


def test_contours_across_slices_are_refused(drawn: Path) -> None:
    def tilt(contours: list[Dataset]) -> None:
        contours[0].ContourData = [0, 0, 30, 10, 0, 50, 10, 10, 40]

    edit(drawn, tilt)
    with pytest.raises(CrossfoldError, match="cross the slices"):
        areas(drawn)


@pytest.mark.parametrize("numbers", [[0, 0, 30, 10], [float("nan")] * 9])
def test_contours_that_are_no_points_are_refused(drawn: Path, numbers: list[float]) -> None:
    def damage(contours: list[Dataset]) -> None:
        contours[0].ContourData = numbers

    edit(drawn, damage)
    with pytest.raises(CrossfoldError, match="a contour of `ball` is no list of points"):
        areas(drawn)


def test_a_point_encloses_nothing(drawn: Path) -> None:
    def point(contours: list[Dataset]) -> None:
        contours[6].ContourGeometricType, contours[6].ContourData = "POINT", [0, 0, 58]

    edit(drawn, point)
    assert areas(drawn)[7] == 0


def square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (high, low), (high, high), (low, high)]


HOLE = {
    "of its own": [square(9, 15), square(3.5, 20.5)],
    "keyhole": [[*square(3.5, 20.5), (3.5, 3.5), *square(9, 15), (9, 9), (3.5, 3.5)]],
}


@pytest.mark.parametrize("polygons", HOLE.values(), ids=HOLE)
def test_holes_are_left_out(drawn: Path, polygons: list) -> None:
    """Squares of 17 and 6 pixels, the hole written first."""

    def cut(contours: list[Dataset]) -> None:
        template = contours[3]
        del contours[3]
        for polygon in polygons:
            voxels = np.array([(x, y, 4) for x, y in polygon])
            contour = copy.deepcopy(template)
            contour.ContourData = (voxels * [2, 3, 4] + [-50, -40, 30]).ravel().tolist()
            contours.append(contour)

    edit(drawn, cut)
    assert areas(drawn)[4] == 17 * 17 - 6 * 6


@pytest.mark.parametrize("lacks", ["contours", "points", "its item"])
def test_a_structure_that_nobody_has_drawn_is_empty(drawn: Path, lacks: str) -> None:
    dataset = pydicom.dcmread(drawn)
    (roi,) = dataset.ROIContourSequence
    if lacks == "contours":
        del roi.ContourSequence
    elif lacks == "points":
        for contour in roi.ContourSequence:
            contour.ContourData = None
    else:
        dataset.ROIContourSequence = []
    dataset.save_as(drawn)
    assert areas(drawn) == [0] * 9


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_other_types_of_segmentations(
    kind: str, hounsfield: np.ndarray, segmentation: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", hounsfield)
    series = read_series(tmp_path / "ct")
    write_segmentation(series, segmentation, NAMES, tmp_path / "binary.dcm")
    binary = hd.seg.segread(tmp_path / "binary.dcm")
    pixels = segmentation.T
    if kind == "FRACTIONAL":
        pixels = np.stack([(pixels == label) * 0.7 for label in range(1, 5)], axis=-1)
    hd.seg.Segmentation(
        series.datasets,
        pixels,
        kind,
        [binary.get_segment_description(number) for number in range(1, 5)],
        *("1.2.3", 1, "1.2.4", 1, "a", "b", "c", "d"),
    ).save_as(tmp_path / "other.dcm")
    structures = {s.number: s for s in read_structures(tmp_path / "other.dcm")}
    for label in range(1, 5):
        assert np.array_equal(structures[label].mask(series), segmentation == label)


def test_a_segmentation_on_another_grid_is_refused(
    hounsfield: np.ndarray, segmentation: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "ct", hounsfield)
    write_series(tmp_path / "other", hounsfield, origin_mm=(-49.0, -40.0, 30.0))
    write_segmentation(read_series(tmp_path / "ct"), segmentation, NAMES, tmp_path / "seg.dcm")
    with pytest.raises(CrossfoldError, match="`bladder` lies on another grid"):
        areas(tmp_path / "seg.dcm", "other")


def test_names_are_found_by_patterns(drawn: Path) -> None:
    structures = read_structures(drawn) * 2
    assert find_structure(structures[:1], ["bladder", "BA*"], "x") is structures[0]
    assert find_structure(structures, ["bladder"], "x") is None
    spaced = replace(structures[0], name="Seminal  VESICLES")
    assert find_structure([spaced], ["seminal vesicles"], "x") is spaced
    with pytest.raises(CrossfoldError, match="matches more than one structure: `ball` of"):
        find_structure(structures, ["b?ll"], "x")
