from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crossfold.config.planning import BudgetConfig, ModelPlan
from crossfold.data.dataset import Dataset
from crossfold.data.planning import plan_model, write_plan
from crossfold.data.planning.fingerprint import Fingerprint, candidate_spacings, measure_fingerprint
from crossfold.data.planning.sides import side_pairs
from crossfold.data.splits import Fold, Member, Splits

STRUCTURES = ["kidney_r", "kidney_l", "liver", "scattered"]
SHAPE = (40, 30, 20)


@pytest.fixture
def dataset(tmp_path: Path, write_nifti: Callable[..., Path]) -> Dataset:
    """Three patients in HU: two kidneys, a liver on one side, and something in two parts."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    rows = ["subject,channel,filePath,label"]
    for number, subject in enumerate(("one", "two", "three")):
        labels = np.zeros(SHAPE)
        labels[4:10, 10:20, 5:15] = 1
        labels[30:36, 10:20, 5:15] = 2
        labels[14:26, 20:28, 5:15] = 3
        labels[14:18, 20:24, 5:15] = 0
        labels[16:18, 4:6, 2:4] = labels[22:24, 4:6, 12:14] = 4
        image = np.full(SHAPE, -1000.0)
        image[2:38, 2:28] = 50 + number
        image[labels == 3] = 120
        write_nifti(tmp_path / f"{subject}.nii.gz", image, affine)
        write_nifti(tmp_path / f"{subject}_labels.nii.gz", labels, affine)
        rows.append(f"{subject},scan,{subject}.nii.gz,")
        rows += [f"{subject},{s},{subject}_labels.nii.gz,{i}" for i, s in enumerate(STRUCTURES, 1)]
    # Of the test set: its files are not there, so reading them fails.
    rows += [f"secret,{channel},secret.nii.gz," for channel in ("scan", *STRUCTURES)]
    (tmp_path / "dataset.csv").write_text("\n".join(rows) + "\n")
    return Dataset.read(tmp_path / "dataset.csv")


@pytest.fixture
def found(dataset: Dataset) -> Fingerprint:
    return measure_fingerprint(
        dataset,
        ["one", "two", "three"],
        per_fold=2,
        images=["scan"],
        structures=STRUCTURES,
        derived_structures={"kidneys": ["kidney_r", "kidney_l"]},
    )


def test_sizes_are_those_of_the_images(found: Fingerprint) -> None:
    assert (found.subjects, found.per_fold) == (3, 2)
    assert found.shape == SHAPE
    assert found.spacing_mm == (2, 2, 3)
    assert found.extent_mm == found.largest_mm == (80, 60, 60)
    # From the right kidney to the left one, from the scattered structure to the liver.
    assert found.foreground_mm == (64, 48, 39)


def test_structures_are_measured(found: Fingerprint) -> None:
    kidney = found.structures["kidney_r"]
    assert kidney.volume_ml == pytest.approx(600 * 12 / 1000)
    assert kidney.share == pytest.approx(600 / 24000)
    assert kidney.extent_mm == (12, 20, 30)
    assert found.structures["scattered"].one_piece == 0
    assert found.structures["liver"].one_piece == 1
    assert found.structures["kidneys"].one_piece == 0


def test_symmetry_is_that_of_a_pair_where_names_tell(found: Fingerprint) -> None:
    assert found.side_pairs == (("kidney_r", "kidney_l"),)
    assert found.structures["kidney_r"].mirrored == 1
    # A corner of 4 x 4 of its 12 x 8 is missing: mirrored, another one is.
    assert found.structures["liver"].mirrored == pytest.approx(1 - 16 / 80)


def test_intensities_are_recognised(found: Fingerprint) -> None:
    channel = found.channels["scan"]
    assert channel.hounsfield
    assert channel.structure_range == (51, 120)


def test_structures_lose_the_more_the_coarser_the_grid(found: Fingerprint) -> None:
    assert found.grids[0].dice == dict.fromkeys(STRUCTURES, 1.0)
    assert found.grids[-1].dice["liver"] < 1
    # On coarser ones, hardly anything is left of a structure of eight voxels.
    assert len(found.grids) < len(candidate_spacings(found.spacing_mm))
    assert min(grid.worst for grid in found.grids) >= 0.5


def test_nobody_of_the_test_set_is_read(dataset: Dataset, tmp_path: Path) -> None:
    names = ("one", "two", "three", "secret")
    members = tuple(Member(name, name, "") for name in names)
    test = frozenset({"secret"})
    folds = tuple(
        Fold(frozenset(names) - {name} - test, frozenset({name}), test) for name in names[:3]
    )
    plan = plan_model(
        dataset,
        Splits(members, folds),
        images=["scan"],
        structures=STRUCTURES,
        derived_structures={},
        written={},
        budget=BudgetConfig(),
    )
    write_plan(plan, tmp_path / "plan.json")
    again = ModelPlan.read(tmp_path / "plan.json")
    assert again.values == plan.values
    assert again.fingerprint["subjects"] == 3
    pairs = again.values["training.augmentation.mirror_pairs"]
    assert pairs.value == [["kidney_r", "kidney_l"]]


@pytest.mark.parametrize("spacing_mm", [(0.625, 0.625, 3.6), (1, 1, 1), (0.03, 0.04, 0.05)])
def test_voxels_become_coarser_step_by_step(spacing_mm: tuple[float, float, float]) -> None:
    found = candidate_spacings(spacing_mm)
    assert found[0] == spacing_mm
    finest = [min(spacing) for spacing in found]
    assert finest == sorted(set(finest))
    assert all(spacing[2] >= spacing_mm[2] for spacing in found)


@pytest.mark.parametrize(
    ("names", "pairs", "single"),
    [
        (("femur_r", "femur_l"), (("femur_r", "femur_l"),), ()),
        (("LeftLung", "RightLung", "heart"), (("LeftLung", "RightLung"),), ()),
        (("kidney left",), (), ("kidney left",)),
        (("rectum", "bladder", "l"), (), ()),
    ],
)
def test_sides_are_read_from_names(
    names: tuple[str, ...], pairs: tuple[tuple[str, str], ...], single: tuple[str, ...]
) -> None:
    assert side_pairs(names) == (pairs, single)
