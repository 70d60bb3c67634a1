"""Made-up tables of what posteriors tell, in the form of the files in metrics/."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.tables import METRICS_COLUMNS, write_table
from crossfold.paper.figures import Context

TOLERANCES_MM = (0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def make_posteriors(
    folder: Path,
    *,
    structures: int = 2,
    subjects: int = 30,
    long_names: bool = False,
    constant: bool = False,
    **options: Any,
) -> tuple[dict[str, Any], Context]:
    """Write nsd_curve.csv, calibration_bins.csv, posteriors.csv and metrics.csv out of fold."""
    stem = "left_superior_temporal_gyrus_posterior_division_" if long_names else "structure_"
    names = tuple(f"{stem}{number}" for number in range(1, structures + 1))
    generator = np.random.default_rng(0)
    frame = pd.MultiIndex.from_product(
        [[f"case_{number:03}" for number in range(subjects)], names], names=["subject", "structure"]
    ).to_frame(index=False)
    fold = (frame["subject"].str[-3:].astype(int) % 5).astype(str)
    frame = frame.assign(model="Model", split="val", fold=fold, state="ok")
    quality = np.full(len(frame), 0.8) if constant else generator.beta(8, 2, len(frame))
    curve = frame.merge(pd.DataFrame({"tolerance_mm": TOLERANCES_MM}), how="cross")
    curve["nsd"] = 1 - (1 - np.repeat(quality, len(TOLERANCES_MM))) * np.exp(-curve["tolerance_mm"])
    bins = frame.merge(pd.DataFrame({"bin_low": np.arange(10) / 10}), how="cross")
    noise = generator.normal(0, 0.03, len(bins))
    bins = bins.assign(
        bin_high=bins["bin_low"] + 0.1,
        n_voxels=np.where(bins["bin_low"].between(0.05, 0.85), 40, 2000),
        mean_confidence=bins["bin_low"] + 0.05,
        frequency=np.clip(bins["bin_low"] ** 1.3 + 0.05 + noise, 0, 1),
    )
    posteriors = frame.assign(
        dice=quality,
        uncertainty=1.1 - quality + (0 if constant else generator.normal(0, 0.05, len(frame))),
        ece=0.05 if constant else generator.uniform(0.02, 0.1, len(frame)),
        in_interval=generator.uniform(size=len(frame)) < 0.9,
    )
    metrics = frame.assign(nsd=1 - (1 - quality) * np.exp(-2), nsd_tolerance_mm=2.0, dice=quality)
    frames = {
        "nsd_curve": curve,
        "calibration_bins": bins,
        "posteriors": posteriors,
        "metrics": metrics.reindex(columns=METRICS_COLUMNS),
    }
    for name, table in frames.items():
        write_table(folder / f"{name}.csv", table)
    context = Context(
        run="Model",
        structures=names,
        split="val",
        runs=("Model",),
        colours={"Model": "#0072B2"},
        config=FiguresConfig(dpi=60),
        options={"statistics": {"resamples": 999}, **options},
    )
    return {name: folder / f"{name}.csv" for name in frames}, context
