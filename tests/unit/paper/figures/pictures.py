"""Made-up images with balls for organs, their predictions, and the tables that belong to them."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from crossfold.config.figures import FiguresConfig
from crossfold.config.labels import label_values
from crossfold.evaluation.tables import METRICS_COLUMNS, write_metrics, write_table
from crossfold.paper.figures import Context
from crossfold.paths import subject_file

SPACING_MM = (1.5, 1.5, 3.0)


def make_pictures(
    folder: Path,
    *,
    structures: int = 2,
    subjects: int = 3,
    shape: tuple[int, int, int] = (32, 28, 12),
    absent: Collection[int] = (),
    split: str = "test",
    long_names: bool = False,
) -> tuple[dict[str, Any], Context]:
    """Write dataset, segmentations and metrics; the later a subject, the worse its prediction."""
    stem = "left_inferior_parotid_gland_after_surgery_" if long_names else "organ_"
    names = [f"{stem}{number}" for number in range(1, structures + 1)]
    generator = np.random.default_rng(0)
    segmentations = folder / "segmentations"
    for directory in (folder / "images", segmentations):
        directory.mkdir(parents=True)
    rows, metrics = [], []
    for number in range(subjects):
        subject = f"subject {'of a study with a very long name ' * long_names}{number}"
        reference = balls(shape, structures, shift=0.0, absent=absent)
        prediction = balls(shape, structures, shift=1.0 + number, absent=absent)
        image = (50 * (reference > 0) + generator.normal(100, 10, shape)).astype(np.float32)
        for array, place in (
            (image, folder / "images" / f"{number}.nii.gz"),
            (reference, folder / "images" / f"{number}_labels.nii.gz"),
            (prediction, subject_file(segmentations, subject)),
        ):
            nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), place)
        rows.append((subject, "ct", f"images/{number}.nii.gz", ""))
        for label, name in enumerate(names, start=1):
            rows.append((subject, name, f"images/{number}_labels.nii.gz", str(label)))
            metrics.append(metrics_row(subject, name, label, reference, prediction, split))
    columns = ["subject", "channel", "filePath", "label"]
    write_table(folder / "dataset.csv", pd.DataFrame(rows, columns=columns))
    write_metrics(folder / "metrics.csv", pd.DataFrame(metrics)[METRICS_COLUMNS])
    context = Context(
        run="Model",
        structures=tuple(names),
        split=split,
        runs=("Model",),
        colours={"Model": "#0072B2"},
        config=FiguresConfig(dpi=60),
        synthetic=True,
        options={"image": "ct", "labels": label_values(names, {})},
    )
    inputs = {
        "dataset": folder / "dataset.csv",
        "segmentations": [segmentations],
        "metrics": folder / "metrics.csv",
    }
    return inputs, context


def balls(
    shape: tuple[int, int, int], count: int, *, shift: float, absent: Collection[int] = ()
) -> np.ndarray:
    """Label map of balls on a square grid in the axial plane, `shift` mm away from their places."""
    places_mm = np.stack(np.indices(shape), axis=-1) * SPACING_MM
    size_mm = np.array(shape) * SPACING_MM
    labels = np.zeros(shape, np.uint8)
    across = int(np.ceil(np.sqrt(count)))
    for number in range(count):
        if number + 1 in absent:
            continue
        row, column = divmod(number, across)
        centre = np.array([(column + 0.5) / across, (row + 0.5) / across, 0.5]) * size_mm
        centre[2] -= SPACING_MM[2] / 2
        far = ((places_mm - centre - (shift, 0, 0)) ** 2).sum(axis=-1)
        radius_mm = max(0.4 * min(size_mm[:2]) / across, 2 * SPACING_MM[0])
        labels[far < radius_mm**2] = number + 1
    return labels


def metrics_row(
    subject: str, name: str, label: int, reference: np.ndarray, prediction: np.ndarray, split: str
) -> dict[str, Any]:
    one, other = reference == label, prediction == label
    whole = one.sum() + other.sum()
    dice = 2 * (one & other).sum() / whole if whole else np.nan
    row: dict[str, Any] = dict.fromkeys(METRICS_COLUMNS, 0)
    row |= dict.fromkeys(("spacing_x_mm", "spacing_y_mm", "spacing_z_mm"), 1.0)
    row |= {"model": "Model", "dataset": "made_up", "synthetic": True, "split": split, "seed": 0}
    row |= {"fold": "ensemble" if split == "test" else "0", "subject": subject, "label": label}
    row |= {"institution": "", "series": "", "structure": name, "dice": dice, "nsd": dice}
    return row | {"state": "ok" if whole else "true_absent", "nsd_tolerance_mm": 1.0}
