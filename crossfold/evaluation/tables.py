"""The table of metrics: one row per subject and structure.

Files are CSV in UTF-8: floats as `%.6g`, infinity as `inf`, a missing value as an empty cell.
"""

import os

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

METRICS = pd.DataFrame(
    [
        ("dice", "1", "higher", "mean"),
        ("iou", "1", "higher", "mean"),
        ("nsd", "1", "higher", "mean"),
        ("hd_mm", "mm", "lower", "median"),
        ("hd95_mm", "mm", "lower", "median"),
        ("assd_mm", "mm", "lower", "median"),
        ("volume_diff_ml", "ml", "zero", "mean"),
        ("volume_diff_pct", "%", "zero", "median"),
        ("fp_volume_ml", "ml", "lower", "mean"),
        ("fn_volume_ml", "ml", "lower", "mean"),
    ],
    columns=["metric", "unit", "better", "ci_statistic"],
).set_index("metric")
"""Unit of each metric, its better side, and the statistic whose confidence interval is given: the
mean where failures have finite values, the median where they are infinitely far."""

_text = pa.Column(str)
_name = pa.Column(str, pa.Check.str_length(min_value=1))
_fraction = pa.Column(float, pa.Check.in_range(0, 1), nullable=True)
_non_negative = pa.Column(float, pa.Check.ge(0), nullable=True)
_any_number = pa.Column(float, nullable=True)
_positive = pa.Column(float, pa.Check.gt(0))
_count = pa.Column(int, pa.Check.ge(0))
_optional_integer = pa.Column("Int64", nullable=True)

METRICS_SCHEMA = pa.DataFrameSchema(
    {
        "model": _name,
        "dataset": _name,
        "synthetic": pa.Column(bool),
        "split": pa.Column(str, pa.Check.isin(["val", "test"])),
        "fold": pa.Column(str, pa.Check.str_matches(r"^(\d+|ensemble)$")),
        "seed": _optional_integer,
        "subject": _name,
        "institution": _text,
        "series": _text,
        "structure": _name,
        "label": _optional_integer,
        "state": pa.Column(str, pa.Check.isin(["ok", "missed", "hallucinated", "true_absent"])),
        "dice": _fraction,
        "iou": _fraction,
        "nsd": _fraction,
        "nsd_tolerance_mm": pa.Column(float, pa.Check.ge(0)),
        "hd_mm": _non_negative,
        "hd95_mm": _non_negative,
        "assd_mm": _non_negative,
        "volume_ref_ml": _non_negative,
        "volume_pred_ml": _non_negative,
        "volume_diff_ml": _any_number,
        "volume_diff_pct": _any_number,
        "fp_volume_ml": _non_negative,
        "fn_volume_ml": _non_negative,
        "n_components_ref": _count,
        "n_components_pred": _count,
        "spacing_x_mm": _positive,
        "spacing_y_mm": _positive,
        "spacing_z_mm": _positive,
    },
    checks=[
        pa.Check(
            lambda frame: frame["dice"].isna() == (frame["state"] == "true_absent"),
            name="Dice is missing where, and only where, a structure is truly absent",
        ),
        pa.Check(
            lambda frame: (frame["split"] != "val") | (frame["fold"] != "ensemble"),
            name="no ensemble on validation subjects: its members were trained on them",
        ),
    ],
    unique=["model", "dataset", "split", "fold", "seed", "subject", "structure"],
    strict=True,
    ordered=True,
    coerce=True,
)
METRICS_COLUMNS = list(METRICS_SCHEMA.columns)
_TEXT_COLUMNS = [
    name for name, column in METRICS_SCHEMA.columns.items() if column.dtype == _text.dtype
]


def write_table(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write any table as CSV in the conventions of this module, whole or not at all."""
    with atomic_path(path) as temporary:
        frame.to_csv(
            temporary, index=False, float_format="%.6g", encoding="utf-8", lineterminator="\n"
        )


def write_metrics(path: str | os.PathLike[str], frame: pd.DataFrame) -> None:
    """Write a table of metrics, sorted by split, fold and subject.

    Structures of a subject keep their order.

    Parameters
    ----------
    path
        Target, `.csv`; appears whole or not at all.
    frame
        The columns `METRICS_COLUMNS`.

    Raises
    ------
    CrossfoldError
        If the table breaks `METRICS_SCHEMA`.
    """
    valid = _validated(frame, os.fspath(path))
    write_table(path, valid.sort_values(["split", "fold", "subject"], key=_order, kind="stable"))


def read_metrics(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read what `write_metrics` wrote; names such as `007` or `NA` stay the text that they are.

    Raises
    ------
    CrossfoldError
        If the file breaks `METRICS_SCHEMA`.
    """
    frame = pd.read_csv(
        path,
        dtype=dict.fromkeys(_TEXT_COLUMNS, str),
        keep_default_na=False,
        na_values={name: [""] for name in METRICS_COLUMNS if name not in _TEXT_COLUMNS},
        encoding="utf-8",
    )
    return _validated(frame, os.fspath(path))


def _order(column: pd.Series) -> pd.Series:
    """Sort folds as numbers, with the ensemble behind them; everything else as text."""
    return pd.to_numeric(column, errors="coerce") if column.name == "fold" else column


def _validated(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    texts = [name for name in _TEXT_COLUMNS if name in frame]
    filled = frame.fillna(dict.fromkeys(texts, "")).reset_index(drop=True)
    try:
        return METRICS_SCHEMA.validate(filled, lazy=True)
    except SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        if first["schema_context"] == "Column":
            place = f"column {first['column']}: {first['failure_case']}"
        else:
            place = "the table" if first["column"] else f"column {first['failure_case']}"
        raise CrossfoldError(
            f"{path}: {place} breaks the rule {first['check']!r}",
            remedy="let the rule `metrics` write the table again",
        ) from error
