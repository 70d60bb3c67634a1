from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.evaluation.tables import METRICS_COLUMNS, write_metrics
from crossfold.paper.tables import metrics_table, print_metrics


def row(subject: str, structure: str, state: str = "ok", dice: float = 0.9) -> dict[str, object]:
    distance = {"ok": 2.0, "missed": np.inf, "true_absent": np.nan}[state]
    numbers = dict.fromkeys(METRICS_COLUMNS, 1.0)
    texts = {"model": "M", "dataset": "phantom", "split": "test", "fold": "ensemble"}
    return {
        **numbers,
        **texts,
        "synthetic": True,
        "institution": "",
        "series": "",
        "subject": subject,
        "structure": structure,
        "state": state,
        **dict.fromkeys(["dice", "iou", "nsd"], dice),
        **dict.fromkeys(["hd_mm", "hd95_mm", "assd_mm"], distance),
        "volume_diff_ml": -1.5,
    }


@pytest.fixture
def metrics() -> pd.DataFrame:
    return pd.DataFrame(
        [
            row("a", "prostate"),
            row("b", "prostate", dice=0.8),
            row("c", "prostate", "missed", dice=0.0),
            row("a", "bladder", dice=0.95),
            row("b", "bladder", "true_absent", dice=np.nan),
        ]
    )


def test_failures_count_and_absent_structures_do_not(metrics: pd.DataFrame) -> None:
    table = metrics_table(metrics)
    assert [*table.index] == ["prostate", "bladder"]
    assert table["subjects"].tolist() == ["3", "1"]
    assert table["failed"].tolist() == ["1", "0"]
    assert table["mean Dice"].tolist() == ["0.567", "0.950"]
    assert table["median Dice"].tolist() == ["0.800", "0.950"]
    assert table["median HD95 (mm)"].tolist() == ["2.0", "2.0"]
    assert table["median volume difference (ml)"].tolist() == ["-1.5", "-1.5"]


def test_a_median_failure_is_infinitely_far(metrics: pd.DataFrame) -> None:
    missed = metrics.assign(hd95_mm=np.inf)
    assert metrics_table(missed)["median HD95 (mm)"].tolist() == ["inf", "inf"]


def test_synthetic_data_are_called_so(
    metrics: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path / "ensemble_metrics.csv", metrics)
    (tmp_path / "folds").mkdir()
    print_metrics(tmp_path / "ensemble_metrics.csv")
    said = capsys.readouterr().out
    assert "M on phantom (SYNTHETIC DATA)" in said
    assert str(tmp_path / "folds") in said
    assert "dataset_report.html" not in said
