from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from crossfold.evaluation.tables import METRICS_COLUMNS, METRICS_SCHEMA

Rows = list[dict[str, object]]

FAILURE = {"dice": 0.0, "iou": 0.0, "nsd": 0.0, "hd_mm": np.inf, "hd95_mm": np.inf}
OF_STATE = {
    "ok": {},
    "missed": {**FAILURE, "assd_mm": np.inf, "volume_pred_ml": 0.0, "volume_diff_ml": -50.0},
    "hallucinated": {**FAILURE, "assd_mm": np.inf, "volume_ref_ml": 0.0, "volume_diff_ml": 49.0},
    "true_absent": dict.fromkeys([*FAILURE, "assd_mm"], np.nan),
}


def _row(subject: str, state: str = "ok", **changes: object) -> dict[str, object]:
    whole = {
        "model": "Prostate",
        "dataset": "phantom",
        "synthetic": True,
        "split": "val",
        "fold": "0",
        "seed": 0,
        "subject": subject,
        "institution": "",
        "series": "",
        "structure": "prostate",
        "label": 1,
        "state": state,
        "dice": 0.9,
        "iou": 0.8,
        "nsd": 0.95,
        "nsd_tolerance_mm": 1.0,
        "hd_mm": 4.0,
        "hd95_mm": 3.0,
        "assd_mm": 1.0,
        "volume_ref_ml": 50.0,
        "volume_pred_ml": 49.0,
        "volume_diff_ml": -1.0,
        "volume_diff_pct": -2.0,
        "fp_volume_ml": 1.0,
        "fn_volume_ml": 2.0,
        "n_components_ref": 1,
        "n_components_pred": 1,
        "spacing_x_mm": 1.0,
        "spacing_y_mm": 1.0,
        "spacing_z_mm": 3.0,
    }
    return whole | OF_STATE[state] | changes


@pytest.fixture(scope="session")
def row() -> Callable[..., dict[str, object]]:
    """Write one row of metrics.csv, good unless its state or values say otherwise."""
    return _row


@pytest.fixture(scope="session")
def metrics() -> Callable[..., pd.DataFrame]:
    """Make a valid table of metrics of rows."""

    def make(*rows: dict[str, object]) -> pd.DataFrame:
        return METRICS_SCHEMA.validate(pd.DataFrame(rows, columns=METRICS_COLUMNS))

    return make
