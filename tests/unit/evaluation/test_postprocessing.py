from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from crossfold.config.metrics import MetricsConfig
from crossfold.config.prediction import PostprocessingConfig
from crossfold.config.statistics import StatisticsConfig
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.measure import Measurement
from crossfold.evaluation.postprocessing import (
    COLUMNS,
    TOGETHER,
    candidate_steps,
    find_postprocessing,
)
from crossfold.images import Image, write_image, write_posterior

LABELS = {"lung": (1,), "heart": (2,), "chest": (1, 2)}
MEASUREMENT = Measurement(
    ("lung", "heart"),
    LABELS,
    MetricsConfig(),
    {"model": "M", "dataset": "drawn", "synthetic": True},
)
STATISTICS = StatisticsConfig(resamples=999)


def reference() -> NDArray[np.uint8]:
    """Two lungs that do not touch, and a heart."""
    drawing = np.zeros((15, 8, 7), dtype=np.uint8)
    drawing[1:5, 1:6, 1:6] = drawing[10:14, 1:6, 1:6] = 1
    drawing[6:9, 1:6, 1:6] = 2
    return drawing


class Drawn:
    """Subjects with the contours of `reference`, and what is predicted of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.posteriors = folder, dict[str, Path]()
        self.rows = ["subject,channel,filePath,label"]

    def add(self, prediction: NDArray[np.uint8], contours: NDArray[np.uint8] | None = None) -> None:
        subject = f"P{len(self.posteriors):02d}"
        like = Image(np.empty(0), np.diag([1.0, 1.0, 2.0, 1.0]), nib.Nifti1Header())
        contours = reference() if contours is None else contours
        write_image(self.folder / f"{subject}.nii.gz", contours, like)
        posterior = np.stack([(prediction == value) * np.uint8(204) for value in (1, 2)], axis=-1)
        self.posteriors[subject] = self.folder / f"posterior_{subject}.nii.gz"
        write_posterior(self.posteriors[subject], posterior, like)
        for label, structure in enumerate(("lung", "heart"), start=1):
            self.rows.append(f"{subject},{structure},{subject}.nii.gz,{label}")

    def decide(self, workers: int = 1, **section: Any) -> tuple[pd.DataFrame, PostprocessingConfig]:
        (self.folder / "dataset.csv").write_text("\n".join(self.rows) + "\n")
        table, decided = find_postprocessing(
            Dataset.read(self.folder / "dataset.csv"),
            self.posteriors,
            PostprocessingConfig(**section),
            MEASUREMENT,
            STATISTICS,
            workers=workers,
        )
        assert [*table.columns] == COLUMNS
        return table.set_index(["step", "structure"]), decided


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    """Twelve subjects: three have a stray part of the heart, all a hole in it."""
    made = Drawn(tmp_path)
    for number in range(12):
        prediction = reference()
        prediction[7, 3, 3] = 0
        if number % 4 == 0:
            prediction[0, 7, 0:3] = 2
        made.add(prediction)
    return made


def test_what_helps_is_adopted_and_what_hurts_is_not(drawn: Drawn) -> None:
    table, decided = drawn.decide()
    assert decided == PostprocessingConfig(largest_component=("heart",), fill_holes=("heart",))
    verdicts = table["verdict"]
    assert verdicts["largest_component heart", "heart"] == "helps"
    assert verdicts["largest_component lung", "lung"] == "hurts"
    assert verdicts["fill_holes heart", "heart"] == "helps"
    assert verdicts["fill_holes lung", "lung"] == "no_change"
    adopted = table["adopted"].groupby("step").any()
    assert {*adopted.index[adopted]} == {"largest_component heart", "fill_holes heart", TOGETHER}


def test_by_how_much(drawn: Drawn) -> None:
    table, _ = drawn.decide()
    row = table.loc["largest_component heart", "heart"]
    # 75 voxels; 74 of them are predicted, and in three of twelve subjects 3 strays besides.
    stray, clean = 2 * 74 / (75 + 77), 2 * 74 / (75 + 74)
    assert (row["n"], row["n_changed"]) == (12, 3)
    assert row["dice_without"] == pytest.approx((3 * stray + 9 * clean) / 12)
    assert row["dice_with"] == pytest.approx(clean)
    assert row["dice_difference"] == pytest.approx((clean - stray) / 4)
    assert 0 <= row["ci_low"] < row["dice_difference"] < row["ci_high"]
    together = table.loc[TOGETHER, "heart"]
    assert together["dice_with"] == 1
    assert together["hd95_mm_with"] == 0


def test_many_processes_decide_the_same(drawn: Drawn) -> None:
    one, two = drawn.decide()[0], drawn.decide(workers=2)[0]
    pd.testing.assert_frame_equal(one, two)


def test_steps_of_the_configuration_are_candidates(drawn: Drawn) -> None:
    rule = {"higher": "heart", "lower": "lung", "keep": "higher"}
    section = {"smoothing_mm": 0.4, "slice_exclusion": [rule], "largest_component": [["lung", 0.2]]}
    table, decided = drawn.decide(**section)
    steps = table.index.unique("step")
    assert [*steps[:4]] == [
        "smoothing_mm",
        "largest_component lung",
        "largest_component heart",
        "largest_component chest",
    ]
    # Both lungs have more than a fifth of it.
    assert table.loc[("largest_component lung", "lung"), "verdict"] == "no_change"
    assert table.loc[("slice_exclusion heart lung higher", "lung"), "verdict"] == "hurts"
    assert decided.slice_exclusion == ()
    assert "heart" in dict(decided.components())


def test_a_rare_gain_without_a_loss_is_a_gain(tmp_path: Path) -> None:
    made = Drawn(tmp_path)
    for number in range(12):
        prediction = reference()
        if number == 0:
            prediction[0, 7, 0:3] = 2
        made.add(prediction)
    table, decided = made.decide()
    assert table.loc[("largest_component heart", "heart"), "ci_low"] == 0
    assert [*decided.components()] == [("heart", None)]
    assert TOGETHER not in table.index.unique("step")


def test_a_gain_that_others_pay_for_is_unclear(tmp_path: Path) -> None:
    made = Drawn(tmp_path)
    apart = reference()
    apart[6:9, 1:6, 1:6] = 0
    apart[6:9, 1, 1:6] = apart[6:9, 3:6, 1:6] = 2  # a heart in two parts, as its contour is
    for number in range(12):
        stray = reference()
        stray[0, 7, 0:4] = 2
        made.add(*((apart, apart) if number % 2 else (stray, None)))
    table, decided = made.decide()
    assert table.loc[("largest_component heart", "heart"), "verdict"] in ("unclear", "hurts")
    assert decided == PostprocessingConfig()


def test_below_ten_subjects_nobody_may_lose(tmp_path: Path) -> None:
    made = Drawn(tmp_path)
    for _ in range(4):
        prediction = reference()
        prediction[0, 7, 0:3] = 2
        made.add(prediction)
    table, decided = made.decide()
    row = table.loc["largest_component heart", "heart"]
    assert np.isnan(row["ci_low"])
    assert row["verdict"] == "helps"
    assert decided.largest_component == ("heart",)


def test_removing_what_was_invented_counts_as_right(tmp_path: Path) -> None:
    made = Drawn(tmp_path)
    for _ in range(10):
        contours = reference()
        contours[contours == 2] = 0
        prediction = contours.copy()
        prediction[7, 3, 3] = 2  # smoothing removes a single voxel
        made.add(prediction, contours)
    table, _ = made.decide(smoothing_mm=0.7)
    row = table.loc["smoothing_mm", "heart"]
    assert (row["failures_without"], row["failures_with"]) == (10, 0)
    assert (row["dice_without"], row["dice_with"]) == (0, 1)
    assert row["verdict"] == "helps"


def test_a_posterior_of_another_grid_is_named(drawn: Drawn) -> None:
    like = Image(np.empty(0), np.eye(4), nib.Nifti1Header())
    write_posterior(drawn.posteriors["P03"], np.zeros((4, 4, 4, 2), dtype=np.uint8), like)
    with pytest.raises(CrossfoldError, match=r"posterior_P03.*not on the grid"):
        drawn.decide()


def test_every_structure_is_tried_once() -> None:
    config = PostprocessingConfig(largest_component=("heart",), fill_holes=("chest",))
    names = [step.name for step in candidate_steps(config, tuple(LABELS))]
    assert names == [
        *(f"largest_component {name}" for name in LABELS),
        *(f"fill_holes {name}" for name in LABELS),
    ]
