from collections.abc import Callable

import pandas as pd
import pytest

from crossfold.config.outliers import OutliersConfig
from crossfold.evaluation.outliers.text import outliers_text, portal_query

CONFIG = OutliersConfig()
Row = Callable[..., dict[str, object]]
Metrics = Callable[..., pd.DataFrame]


def section_of(text: str, metric: str) -> str:
    return text.split(f"=== METRIC: {metric} ===\n\n")[1].split("\n\n\n")[0]


def test_sections_to_the_letter(row: Row, metrics: Metrics) -> None:
    known = {"institution": 'North "A"', "series": "1.2.3"}
    rows = [
        row(f"P{i:02d}", split="test", fold=fold, hd_mm=4.0 + i % 2)
        for i in range(12)
        for fold in ("0", "1", "ensemble")
    ]
    rows += [
        row("patient 20", "missed", split="test", fold=fold, structure="prostate", **known)
        for fold in ("0", "ensemble")
    ]
    rows.append(row("P21", split="test", fold="0", hd_mm=40.0))
    text = outliers_text(metrics(*rows), "test", CONFIG)
    assert text.startswith("Outliers among the results of Prostate on the test set\n\nListed are")
    assert "(it has one of each of 2 folds and of their ensemble)" in text.replace("\n", " ")
    assert section_of(text, "dice") == (
        """\
Structure   n    mean     std  lowest
prostate   39  0.8538  0.2011  0.2505

Patient     Structure  seriesId  institutionId  count  mean  min  max
patient 20  prostate   1.2.3     North "A"          2     0    0    0

SELECT * FROM ROOT as r WHERE true AND (r.InstitutionId = "North \\"A\\"") AND \
(STARTSWITH(r.VersionedDicomImageSeries.Latest.Series.InstanceUID,"1.2.3"))"""
    )
    assert section_of(text, "hd_mm") == (
        """\
Structure   n   mean    std  highest
prostate   37  5.459  5.858    23.03

Patient     Structure  seriesId  institutionId  count  mean  min  max
patient 20  prostate   1.2.3     North "A"          2   inf  inf  inf
P21         prostate                                1    40   40   40

SELECT * FROM ROOT as r WHERE true AND (r.InstitutionId = "North \\"A\\"") AND \
(STARTSWITH(r.VersionedDicomImageSeries.Latest.Series.InstanceUID,"1.2.3"))"""
    )


def test_mean_and_deviation_are_those_of_the_structure(row: Row, metrics: Metrics) -> None:
    # Pooled over both structures, 0.6 would be far below the mean, and 0.90 near it.
    table = metrics(
        *(row(f"P{i:02d}", dice=0.99 + 0.001 * (i % 2)) for i in range(40)),
        row("P99", dice=0.90),
        *(row(f"P{i:02d}", structure="lens", dice=0.6 + 0.1 * (i % 2)) for i in range(4)),
    )
    section = section_of(outliers_text(table, "val", CONFIG), "dice")
    assert "P99      prostate" in section
    assert "lens" not in section.split("Patient")[1]


def test_distances_are_judged_by_themselves(row: Row, metrics: Metrics) -> None:
    # InnerEye's bug: this result has the highest Dice, and no large distance.
    table = metrics(*(row(f"P{i:02d}") for i in range(20)), row("P99", dice=0.99, hd_mm=1.0))
    text = outliers_text(table, "val", CONFIG)
    for metric in ("dice", "hd_mm", "hd95_mm", "assd_mm", "nsd"):
        assert section_of(text, metric).rstrip().endswith("No outliers found")


def test_the_query_is_left_out_where_nothing_is_known(row: Row, metrics: Metrics) -> None:
    table = metrics(
        *(row(f"P{i:02d}", dice=0.9 + 0.001 * i) for i in range(20)), row("Q", dice=0.1)
    )
    text = outliers_text(table, "val", CONFIG)
    assert "SELECT" not in text
    assert "Q        prostate" in section_of(text, "dice")


def test_too_few_results_are_noted(row: Row, metrics: Metrics) -> None:
    def text_of(count: int) -> str:
        rows = [row(f"P{i:02d}", dice=0.9) for i in range(count - 1)]
        return section_of(outliers_text(metrics(*rows, row("Q", dice=0.1)), "val", CONFIG), "dice")

    assert text_of(10).endswith(
        "Too few results for any to lie that far from their mean: prostate\n\nNo outliers found"
    )
    assert "Too few" not in text_of(11)
    assert "Q        prostate" in text_of(11)


def test_one_result_and_absent_ones(row: Row, metrics: Metrics) -> None:
    text = outliers_text(metrics(row("P1"), row("P2", "true_absent")), "val", CONFIG)
    assert section_of(text, "dice").startswith(
        "Structure  n  mean  std  lowest\nprostate   1   0.9\n"
    )


def test_all_missed(row: Row, metrics: Metrics) -> None:
    table = metrics(*(row(f"P{i}", "missed", institution="x") for i in range(3)))
    text = outliers_text(table, "val", CONFIG)
    assert section_of(text, "hd95_mm").count("inf  inf  inf") == 3
    assert 'SELECT * FROM ROOT as r WHERE true AND (r.InstitutionId = "x")' in text


def test_no_results(row: Row, metrics: Metrics) -> None:
    assert outliers_text(metrics(row("P1")), "test", CONFIG) == (
        "There are no results on the test set.\n"
    )


@pytest.mark.parametrize(
    ("institutions", "series", "query"),
    [
        ([], [], ""),
        ([""], [""], ""),
        (["a", "b", "a"], [""], '(r.InstitutionId = "a" OR r.InstitutionId = "b")'),
        (
            [],
            ['\\"'],
            '(STARTSWITH(r.VersionedDicomImageSeries.Latest.Series.InstanceUID,"\\\\\\""))',
        ),
    ],
)
def test_query(institutions: list[str], series: list[str], query: str) -> None:
    expected = f"SELECT * FROM ROOT as r WHERE true AND {query}" if query else ""
    assert portal_query(institutions, series) == expected


def test_infinite_mean_is_not_taken_for_a_limit(row: Row, metrics: Metrics) -> None:
    table = metrics(row("P1", "missed"), row("P2", hd_mm=40.0))
    section = section_of(outliers_text(table, "val", CONFIG), "hd_mm")
    assert "P2" not in section
    assert "P1" in section
