from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.measure import Measurement, measure_segmentations
from crossfold.evaluation.posteriors import (
    COLUMNS,
    PosteriorMeasurement,
    Source,
    measure_posteriors,
)
from crossfold.evaluation.tables import write_table
from crossfold.images import Image, read_image, write_image, write_posterior
from crossfold.paths import subject_file

STRUCTURES = ["kidney_l", "kidney_r", "cyst"]
PARAMS = SimpleNamespace(
    model={
        "structures": STRUCTURES,
        "derived_structures": {"kidneys": ["kidney_l", "kidney_r"]},
        "metrics": {"nsd_tolerance_mm": {"default": 2, "cyst": 2.25}, "nsd_curve_mm": [4, 0, 2]},
        "dataset": "phantom",
    },
    mirror_pairs=[],
    synthetic=True,
    seed=0,
)
KEYS = ["subject", "structure"]
# The voxels are so thick that the band of 5 mm stays in a slice, and does not fill it.
SPACING_MM = (2.0, 2.0, 10.0)
VOXEL_ML = 0.04


def boxes(*values: int) -> NDArray[np.uint8]:
    """A kidney on either side, three voxels wide, with the given labels."""
    labels = np.zeros((16, 9, 3), np.uint8)
    for x, value in zip((2, 11), values, strict=True):
        labels[x : x + 3, 3:6, 1] = value
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`good` is predicted as it is, `swapped` with its sides exchanged, `missed` not at all."""
    predicted = {"good": boxes(1, 2), "swapped": boxes(2, 1), "missed": boxes(0, 0)}
    rows = ["subject,channel,filePath,label"]
    for subject, labels in predicted.items():
        like = Image(labels, np.diag([*SPACING_MM, 1.0]), nib.Nifti1Header())
        # 0.8 where a structure is predicted; on the left the other kidney has the rest.
        posterior = np.stack([(labels == value) * np.uint8(204) for value in (1, 2, 3)], axis=-1)
        posterior[labels == 1, 1] = 51
        write_image(tmp_path / f"{subject}.nii.gz", boxes(1, 2), like)
        write_image(subject_file(tmp_path / "segmentations", subject), labels, like)
        write_posterior(subject_file(tmp_path / "posteriors", subject), posterior, like)
        for label, structure in enumerate(STRUCTURES, start=1):
            rows.append(f"{subject},{structure},{subject}.nii.gz,{label}")
    (tmp_path / "dataset.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def measure(folder: Path, workers: int = 1) -> dict[str, pd.DataFrame]:
    places = folder / "posteriors", folder / "segmentations"
    sources = [
        Source("val", "0", ("good", "swapped"), *places),
        Source("val", "1", ("missed",), *places),
        Source("test", "ensemble", ("good",), *places),
    ]
    return measure_posteriors(
        Dataset.read(folder / "dataset.csv"),
        sources,
        PosteriorMeasurement.from_params("M@5", PARAMS),
        workers=workers,
    )


def row(table: pd.DataFrame, subject: str, structure: str) -> pd.Series:
    found = table[(table["subject"] == subject) & (table["structure"] == structure)]
    return found[found["split"] == "val"].iloc[0]


def test_tables_have_their_columns_and_a_row_per_subject_and_structure(folder: Path) -> None:
    tables = measure(folder)
    assert {name: [*table.columns] for name, table in tables.items()} == COLUMNS
    expected = [
        ["M@5", split, fold, subject, structure]
        for split, fold, subject in [
            ("val", "0", "good"),
            ("val", "0", "swapped"),
            ("val", "1", "missed"),
            ("test", "ensemble", "good"),
        ]
        for structure in [*STRUCTURES, "kidneys"]
    ]
    for name in ("posteriors", "inspection"):
        assert tables[name].iloc[:, :5].to_numpy().tolist() == expected
    assert len(tables["calibration_bins"]) == 10 * len(expected)
    # Three tolerances, and the one of the cyst, which is not among them.
    assert len(tables["nsd_curve"]) == 3 * len(expected) + 4


def test_several_processes_give_the_same_tables(folder: Path) -> None:
    for table, parallel in zip(measure(folder).values(), measure(folder, 2).values(), strict=True):
        pd.testing.assert_frame_equal(table, parallel)


def test_curve_dice_and_volume_are_those_of_metrics_csv(folder: Path) -> None:
    tables = measure(folder)
    subjects = ("good", "swapped", "missed")
    metrics = measure_segmentations(
        Dataset.read(folder / "dataset.csv"),
        folder / "segmentations",
        subjects,
        Measurement.from_params("M@5", PARAMS, "val", "0"),
    ).rename(columns={"nsd_tolerance_mm": "tolerance_mm"})
    for name, columns, keys in [
        ("nsd_curve", ["state", "nsd"], [*KEYS, "tolerance_mm"]),
        ("posteriors", ["dice", "volume_ref_ml"], KEYS),
    ]:
        both = tables[name][tables[name]["split"] == "val"].merge(metrics, on=keys)
        assert len(both) == len(metrics) == 12
        for column in columns:
            values = both[f"{column}_x"], both[f"{column}_y"]
            pd.testing.assert_series_equal(*values, check_names=False, check_exact=False)


def test_calibration_and_uncertainty_by_hand(folder: Path) -> None:
    posteriors = measure(folder)["posteriors"]
    # 5 mm reach two voxels of 2 mm straight on and (2, 1) voxels askew, beyond the box of 3 x 3:
    # each of 4 sides 2 x 3 voxels, and in each corner the voxels (1, 1), (2, 1) and (1, 2).
    band, box = 9 + 4 * 6 + 4 * 3, 9
    left = row(posteriors, "good", "kidney_l")
    assert left["n_band_voxels"] == band
    assert left["brier"] == pytest.approx(box * 0.04 / band)
    assert left["ece"] == pytest.approx(box * 0.2 / band)
    assert left["ace"] == pytest.approx(box * 0.2 / band)
    bits = -0.2 * np.log2(0.2) - 0.8 * np.log2(0.8)
    assert left["uncertainty"] == pytest.approx(box * bits / band)
    # The union has probability 1 on the left and 0.8 on the right; 204 + 51 is 255.
    both = row(posteriors, "good", "kidneys")
    assert both["n_band_voxels"] == 2 * band
    assert both["brier"] == pytest.approx(box * 0.04 / (2 * band))


def test_bins_by_hand(folder: Path) -> None:
    bins = measure(folder)["calibration_bins"]
    left = bins[(bins["subject"] == "good") & (bins["structure"] == "kidney_l")].iloc[:10]
    assert left["n_voxels"].tolist() == [36, 0, 0, 0, 0, 0, 0, 0, 9, 0]
    assert left["mean_confidence"].dropna().tolist() == pytest.approx([0, 0.8])
    assert left["frequency"].dropna().tolist() == [0, 1]


def test_volumes_by_hand(folder: Path) -> None:
    posteriors = measure(folder)["posteriors"]
    columns = ["volume_ref_ml", "volume_expected_ml", "volume_low_ml", "volume_high_ml"]
    volumes = row(posteriors, "good", "kidneys")[columns] / VOXEL_ML
    assert volumes.tolist() == pytest.approx([18, 9 + 0.8 * 9, 9, 18])
    assert row(posteriors, "good", "kidneys")["in_interval"]
    missed = row(posteriors, "missed", "kidneys")
    assert (missed[columns] / VOXEL_ML).tolist() == pytest.approx([18, 0, 0, 0])
    assert not missed["in_interval"]


def test_a_miss_counts_and_an_absent_structure_is_missing(folder: Path) -> None:
    tables = measure(folder)
    missed = row(tables["posteriors"], "missed", "kidney_l")
    assert missed[["dice", "uncertainty", "n_band_voxels"]].tolist() == [0, 1, 45]
    assert missed[["brier", "ece", "ace"]].tolist() == pytest.approx([9 / 45] * 3)
    absent = row(tables["posteriors"], "good", "cyst")
    assert absent[["dice", "brier", "ece", "ace", "uncertainty", "in_interval"]].isna().all()
    assert absent[["n_band_voxels", "volume_ref_ml", "volume_high_ml"]].tolist() == [0, 0, 0]


def test_uncertainty_does_not_know_the_reference(folder: Path) -> None:
    before = measure(folder)["posteriors"]
    like = read_image(folder / "good.nii.gz")
    moved = np.roll(like.array, 1, axis=0).astype(np.uint8)
    write_image(folder / "good.nii.gz", moved, like)
    after = measure(folder)["posteriors"]
    for structure in ("kidney_l", "kidney_r", "kidneys"):
        here, there = (row(table, "good", structure) for table in (before, after))
        assert here["uncertainty"] == there["uncertainty"]
        assert here["ece"] != there["ece"]


def test_inspection(folder: Path) -> None:
    inspection = measure(folder)["inspection"]
    good, swapped, missed = (
        row(inspection, name, "kidney_l") for name in ("good", "swapped", "missed")
    )
    assert [found["partner"] for found in (good, swapped, missed)] == ["kidney_r"] * 3
    assert [found["dice_swapped"] for found in (good, swapped, missed)] == [0, 1, 0]
    assert row(inspection, "good", "kidneys")["partner"] == ""
    assert np.isnan(row(inspection, "good", "kidneys")["dice_swapped"])
    # From the reference's last voxel, x = 4, to x = 11.
    assert [found["remote_component_mm"] for found in (good, swapped)] == [0, 14]
    assert np.isnan(missed["remote_component_mm"])
    assert not inspection["touches_border"].any()


def test_tables_are_written_in_the_conventions_of_metrics_csv(folder: Path) -> None:
    for name, table in measure(folder).items():
        write_table(folder / f"{name}.csv", table)
    lines = (folder / "posteriors.csv").read_text().splitlines()
    assert (
        lines[1] == "M@5,val,0,good,kidney_l,1,0.008,0.04,0.04,0.144386,0.36,0.288,0,0.36,True,45"
    )
    assert lines[3] == "M@5,val,0,good,cyst,,,,,,0,0,0,0,,0"


def test_a_run_without_subjects_gives_empty_tables(folder: Path) -> None:
    tables = measure_posteriors(
        Dataset.read(folder / "dataset.csv"), [], PosteriorMeasurement.from_params("M", PARAMS)
    )
    assert {name: [*table.columns] for name, table in tables.items()} == COLUMNS
    assert all(table.empty for table in tables.values())


def test_another_grid_is_refused(folder: Path) -> None:
    file = subject_file(folder / "segmentations", "missed")
    moved = read_image(file)
    moved.affine[0, 3] += 1
    write_image(file, moved.array.astype(np.uint8), moved)
    with pytest.raises(CrossfoldError, match=r"segmentations/missed\.nii\.gz: not on the grid"):
        measure(folder)


def test_posteriors_of_other_structures_are_refused(folder: Path) -> None:
    file = subject_file(folder / "posteriors", "missed")
    like = read_image(subject_file(folder / "segmentations", "missed"))
    write_posterior(file, np.zeros((*like.array.shape, 2), np.uint8), like)
    with pytest.raises(CrossfoldError, match=r"posteriors/missed\.nii\.gz: .*with 3 structures"):
        measure(folder)


def test_a_missing_posterior_is_named(folder: Path) -> None:
    subject_file(folder / "posteriors", "swapped").unlink()
    with pytest.raises(CrossfoldError, match=r"posteriors/swapped\.nii\.gz: no such file"):
        measure(folder)
