from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.tables import read_metrics, write_metrics
from crossfold.paper.facts import gather_facts
from crossfold.paper.report import write_report
from tests.browser.tiny_run import RUN, make_run, report_inputs

MEGABYTE = 2**20


def write(inputs: dict[str, Any], results: Path) -> str:
    facts = gather_facts(inputs, run=RUN, statistics=StatisticsConfig(resamples=999))
    write_report(inputs, results / "report.html", facts)
    return (results / "report.html").read_text(encoding="utf-8")


def least(results: Path) -> dict[str, Any]:
    """Return what a report cannot do without."""
    names = {"config": "config.json", "splits": "splits.csv", "metrics": "metrics.csv"}
    return {name: results / file for name, file in names.items()} | {
        "summary": results / "metrics_summary.csv"
    }


class Elements(HTMLParser):
    """All opening tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_names_nothing_outside_of_it_but_files_beside_it(tmp_path: Path) -> None:
    results = make_run(tmp_path, images=False)
    page = write(report_inputs(results), results)
    for tag, attributes in Elements(page).found:
        if tag == "a" and not str(attributes["href"]).startswith("#"):
            assert (results / str(attributes["href"])).is_file()
        for name in ("src", "srcset", "href"):
            if tag != "a" and name in attributes:
                assert str(attributes[name]).startswith("data:")
    assert re.findall(r"@import|url\(|https?://", re.sub(r"base64,[^\"]*", "", page)) == []


def test_every_id_is_there_once_and_every_anchor_leads_to_one(tmp_path: Path) -> None:
    results = make_run(tmp_path, images=False)
    elements = Elements(write(report_inputs(results), results)).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    anchors = [str(attributes["href"])[1:] for tag, attributes in elements if tag == "a"]
    assert len(ids) == len(set(ids))
    assert {"run", "results", "comparisons", "subjects", "outliers", "limitations"} <= set(ids)
    assert {name for name in anchors if "." not in name} <= set(ids)


def test_it_needs_only_metrics_and_says_what_is_not_there(tmp_path: Path) -> None:
    results = make_run(tmp_path, images=False)
    page = write(least(results), results)
    assert "None was planned" in page
    assert "No subject is listed as an outlier." in page
    assert "<figure" not in page
    assert "not recorded" in page


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    results = make_run(tmp_path, images=False)
    inputs = report_inputs(results)
    assert write(inputs, results) == write(inputs, results)


def test_a_damaged_table_is_said_and_leaves_the_old_page(tmp_path: Path) -> None:
    results = make_run(tmp_path, images=False)
    inputs = report_inputs(results)
    before = write(inputs, results)
    inputs["outliers"].write_bytes(b"\xff\xfe")
    with pytest.raises(CrossfoldError, match=r"outliers\.csv"):
        write(inputs, results)
    assert (results / "report.html").read_text(encoding="utf-8") == before


def test_a_thousand_subjects_with_thumbnails_stay_below_ten_megabytes(tmp_path: Path) -> None:
    results = make_run(tmp_path, subjects=30, images=False)
    inputs = report_inputs(results)
    metrics = read_metrics(results / "metrics.csv")
    copies = [metrics.assign(subject=metrics["subject"] + f" {i}") for i in range(33)]
    write_metrics(results / "metrics.csv", pd.concat([metrics, *copies]))
    page = write(inputs, results)
    assert page.count("<tr data-split=") == 34 * 30
    assert len(page) < 10 * MEGABYTE
