from __future__ import annotations

import numpy as np
import pandas as pd

from crossfold.evaluation.summary import headline


def test_the_headline_has_means_of_ratios_and_medians_of_distances() -> None:
    rows = [
        ("val", "pooled", "a", "dice", "1", 0.81234567, 0.9),
        ("val", "pooled", "a", "hd95_mm", "mm", np.nan, np.inf),
        ("val", "pooled", "a", "assd_mm", "mm", 1.0, 1.0),
        ("val", "pooled", "b", "hd95_mm", "mm", 3.0, 2.0),
        ("val", "pooled", "b", "dice", "1", np.nan, np.nan),
        ("test", "0", "a", "dice", "1", 0.1, 0.1),
        ("test", "ensemble", "a", "nsd", "1", 0.5, 0.6),
    ]
    columns = ["split", "fold", "structure", "metric", "unit", "mean", "median"]
    assert headline(pd.DataFrame(rows, columns=columns)) == {
        "val": {"a": {"dice": 0.812346, "hd95_mm": "inf"}, "b": {"hd95_mm": 2.0}},
        "test": {"a": {"nsd": 0.5}},
    }
