from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfold.config.models import ModelConfig
from crossfold.config.planning import WRITTEN, BudgetConfig, ModelPlan
from crossfold.data.planning.cost import Network, padded
from crossfold.data.planning.fingerprint import Fingerprint, Structure
from crossfold.data.planning.recipe import make_plan
from crossfold.errors import CrossfoldError
from tests.unit.data.planning.fingerprints import CT, MR, ORGAN, fingerprint, fingerprints, grids_of

BUDGETS = st.builds(
    BudgetConfig,
    memory_gb=st.sampled_from([1.0, 2.0, 4.0, 16.0]),
    minutes=st.floats(0.5, 600),
    device=st.sampled_from(["cpu", "gpu"]),
)


def plan(
    found: Fingerprint,
    budget: BudgetConfig | None = None,
    images: tuple[str, ...] = ("image",),
    structures: tuple[str, ...] = ("organ",),
    **written: Any,
) -> ModelPlan:
    return make_plan(
        found,
        images=images,
        structures=structures,
        written=written,
        budget=budget or BudgetConfig(minutes=2.5),
    )


def values(found: ModelPlan) -> dict[str, Any]:
    return {key: planned.value for key, planned in found.values.items()}


def spacing_of(found: Fingerprint, decided: dict[str, Any]) -> list[float]:
    wanted = decided["preprocessing.spacing_mm"]
    return [own if w is None else w for own, w in zip(found.spacing_mm, wanted, strict=True)]


@settings(max_examples=40, deadline=None)
@given(fingerprints(), BUDGETS)
def test_every_plan_is_a_valid_model_within_its_memory(
    found: Fingerprint, budget: BudgetConfig
) -> None:
    decided = plan(found, budget)
    model: dict[str, Any] = {
        "dataset": "made_up",
        "images": ["image"],
        "structures": ["organ"],
        "plan": "auto",
    }
    ModelConfig.model_validate(model | {name: decided.fill(name, {}) for name in decided.sections})
    assert decided.predicted["memory_gb"] <= budget.memory_gb + 0.005
    assert all(planned.reason for planned in decided.values.values())


@settings(max_examples=40, deadline=None)
@given(fingerprints(), BUDGETS)
def test_crops_are_what_the_network_takes_and_not_much_more_than_an_image(
    found: Fingerprint, budget: BudgetConfig
) -> None:
    decided = values(plan(found, budget))
    patch, spacing = decided["training.patch_size"], spacing_of(found, decided)
    network = Network.on(spacing, patch, decided["network.channels"], images=1, classes=2)
    divisor = network.divisor
    assert all(size % multiple == 0 for size, multiple in zip(patch, divisor, strict=True))
    assert padded(patch, divisor) == tuple(patch)
    for axis in range(3):
        image = found.extent_mm[axis] / spacing[axis]
        assert patch[axis] <= max(image + divisor[axis] / 2 + 1, divisor[axis])


@settings(max_examples=40, deadline=None)
@given(fingerprints(), st.floats(3, 100), st.floats(1, 20))
def test_more_time_never_makes_voxels_coarser_nor_a_training_shorter(
    found: Fingerprint, minutes: float, factor: float
) -> None:
    less = plan(found, BudgetConfig(minutes=minutes))
    more = plan(found, BudgetConfig(minutes=minutes * factor))
    first, second = spacing_of(found, values(less)), spacing_of(found, values(more))
    assert math.prod(second) <= math.prod(first) * 1.0001
    for decided, limit in ((less, minutes), (more, minutes * factor)):
        # At least one step per epoch has to be.
        shortest = values(decided)["training.iterations_per_epoch"] == 1
        assert decided.predicted["minutes"] <= limit + 0.01 or shortest


@settings(max_examples=20, deadline=None)
@given(fingerprints(), BUDGETS)
def test_the_same_data_and_budget_give_the_same_plan(
    found: Fingerprint, budget: BudgetConfig
) -> None:
    assert plan(found, budget).model_dump_json() == plan(found, budget).model_dump_json()


def test_slices_far_apart_stay_as_they_are_and_are_not_rotated_out_of_their_plane() -> None:
    decided = values(plan(fingerprint()))
    assert decided["preprocessing.spacing_mm"][2] is None
    assert decided["preprocessing.spacing_mm"][0] > 0.6
    assert decided["training.augmentation.rotation_deg"] == [0, 0, 7]


def test_slices_far_apart_along_x_are_rotated_about_x() -> None:
    found = fingerprint(
        shape=(24.0, 200.0, 200.0),
        spacing_mm=(3.6, 0.6, 0.6),
        extent_mm=(86.4, 120.0, 120.0),
        grids=grids_of((3.6, 0.6, 0.6), 0.02),
    )
    assert values(plan(found))["training.augmentation.rotation_deg"] == [7, 0, 0]


def test_lengths_of_voxels_that_differ_much_are_made_the_same() -> None:
    found = fingerprint(spacing_range_mm=((0.5, 0.5, 2.0), (0.7, 0.7, 8.0)))
    assert values(plan(found))["preprocessing.spacing_mm"][2] == 3.6


def test_a_tiny_structure_keeps_voxels_fine_and_is_looked_for() -> None:
    coarse = plan(fingerprint())
    tiny = Structure(1.0, 0.02, 1e-5, (3.0, 3.0, 3.6), 1.0, 0.9)
    found = fingerprint(structures={"organ": tiny}, grids=grids_of((0.6, 0.6, 3.6), 0.2))
    fine = plan(found)
    assert (
        values(fine)["preprocessing.spacing_mm"][0] < values(coarse)["preprocessing.spacing_mm"][0]
    )
    assert values(fine)["training.half_resolution"] == 0
    assert "too few" in fine.values["training.half_resolution"].reason


def test_a_crop_that_sees_little_of_an_image_is_centred_on_structures() -> None:
    body = fingerprint(
        shape=(512.0, 512.0, 200.0),
        spacing_mm=(1.0, 1.0, 2.5),
        extent_mm=(512.0, 512.0, 500.0),
        largest_mm=(512.0, 512.0, 900.0),
        foreground_mm=(400.0, 300.0, 400.0),
        grids=grids_of((1.0, 1.0, 2.5), 0.03),
    )
    decided = values(plan(body))
    assert decided["training.foreground"] >= 0.6
    assert decided["inference.window"] == "patch"
    assert values(plan(fingerprint()))["training.foreground"] == 0


def test_a_single_slice_has_a_flat_crop() -> None:
    decided = values(
        plan(
            fingerprint(
                shape=(256.0, 256.0, 1.0),
                spacing_mm=(1.0, 1.0, 1.0),
                spacing_range_mm=((1.0,) * 3, (1.0,) * 3),
                extent_mm=(256.0, 256.0, 1.0),
                largest_mm=(256.0, 256.0, 1.0),
                foreground_mm=(60.0, 60.0, 1.0),
                grids=grids_of((1.0, 1.0, 1.0), 0.02)[:1],
            )
        )
    )
    assert decided["training.patch_size"][2] == 1
    assert min(decided["training.patch_size"][:2]) >= 64


def test_ct_has_a_window_and_mr_its_own_scale() -> None:
    ct = values(plan(fingerprint(channels={"image": CT})))["preprocessing.normalisation"]
    assert ct == {"method": "ct_window", "level": 60.0, "window": 500.0}
    mr = values(plan(fingerprint()))["preprocessing.normalisation"]
    assert mr == {"method": "z_score", "clip_percentiles": [0.5, 99.5]}


def test_channels_of_two_kinds_are_normalised_each_in_its_way() -> None:
    found = fingerprint(channels={"t1": MR, "ct": CT, "t2": MR})
    decided = values(plan(found, images=("t1", "ct", "t2")))["preprocessing.normalisation"]
    assert [decided[name]["method"] for name in ("t1", "ct", "t2")] == [
        "z_score",
        "ct_window",
        "z_score",
    ]


def test_a_structure_among_the_brightest_voxels_is_not_clipped() -> None:
    found = fingerprint(channels={"image": replace(MR, cut=0.4)})
    assert values(plan(found))["preprocessing.normalisation"] == {"method": "z_score"}


def test_the_fewer_the_subjects_the_stronger_the_augmentation() -> None:
    few, many = (
        values(plan(fingerprint(per_fold=count)))["training.augmentation.affine_probability"]
        for count in (10, 1000)
    )
    assert (few, many) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("mirrored", "name", "axes"),
    [(0.9, "organ", ["x"]), (0.5, "organ", []), (0.9, "kidney_left", [])],
)
def test_left_and_right_change_places_only_where_that_is_no_other_structure(
    mirrored: float, name: str, axes: list[str]
) -> None:
    found = fingerprint(structures={name: replace(ORGAN, mirrored=mirrored)})
    decided = values(plan(found, structures=(name,)))
    assert decided["training.augmentation.mirror_axes"] == axes
    assert decided["inference.mirror_axes"] == axes


def test_named_pairs_change_names_in_the_mirror() -> None:
    organs = dict.fromkeys(("femur_r", "femur_l"), replace(ORGAN, mirrored=0.5))
    found = fingerprint(structures=organs, side_pairs=(("femur_r", "femur_l"),))
    decided = values(plan(found, structures=("femur_r", "femur_l")))
    assert decided["training.augmentation.mirror_axes"] == ["x"]
    assert decided["training.augmentation.mirror_pairs"] == [["femur_r", "femur_l"]]


def test_structures_in_pieces_keep_their_parts() -> None:
    whole, parts = replace(ORGAN, one_piece=0.97), replace(ORGAN, one_piece=0.6)
    found = fingerprint(structures={"organ": whole, "lesions": parts})
    decided = values(plan(found, structures=("organ", "lesions")))
    assert decided["postprocessing.largest_component"] == ["organ"]


def test_what_the_configuration_says_wins_and_the_plan_builds_on_it() -> None:
    decided = plan(
        fingerprint(),
        preprocessing={"spacing_mm": [1, 1, 3.6]},
        network={"channels": [8, 16, 32]},
        training={
            "epochs": 10,
            "patch_size": [64, 64, 16],
            "iterations_per_epoch": 7,
            "augmentation": {"gain": 0.0},
        },
    )
    for key, value in (
        ("preprocessing.spacing_mm", [1, 1, 3.6]),
        ("network.channels", [8, 16, 32]),
        ("training.patch_size", [64, 64, 16]),
        ("training.iterations_per_epoch", 7),
        ("training.augmentation.gain", 0.0),
    ):
        assert decided.values[key].value == value
        assert decided.values[key].reason == WRITTEN
    # 70 steps: the average looks back on 8 % of them.
    assert decided.values["training.ema_decay"].value == pytest.approx(1 - 1 / 5.6, abs=1e-4)
    assert decided.predicted["minutes"] < 0.5


@pytest.mark.parametrize(
    "written",
    [
        {"preprocessing": {"spacing_mm": "median"}},
        {"training": {"patch_size": "auto"}},
    ],
)
def test_shorthands_are_understood(written: dict[str, Any]) -> None:
    assert plan(fingerprint(), **written).predicted["minutes"] > 0


def test_augmentation_as_a_list_is_left_alone() -> None:
    mirror = {"method": "mirror", "axes": ["x"]}
    decided = values(plan(fingerprint(), training={"augmentation": [mirror]}))
    assert not [key for key in decided if key.startswith("training.augmentation")]
    assert decided["inference.mirror_axes"] == []


def test_too_little_memory_is_said() -> None:
    with pytest.raises(CrossfoldError, match=r"budget\.memory_gb.*\n.*1 GB"):
        plan(fingerprint(), BudgetConfig(memory_gb=0.5))
