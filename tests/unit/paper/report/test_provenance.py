from __future__ import annotations

from pathlib import Path

import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.paper.facts import gather_facts
from crossfold.paper.report import write_report
from crossfold.paper.report.provenance import SHOWN_FILES, provenance_of
from tests.browser.tiny_run import RUN, make_run, publish, report_inputs


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return make_run(tmp_path, images=False)


def test_unpublished(results: Path) -> None:
    assert provenance_of(None).label == "not published"
    assert not (results / "MANIFEST.json").exists()


def test_as_published(results: Path) -> None:
    report_inputs(results)
    said = provenance_of(publish(results.parents[1]))
    assert (said.label, said.kind, said.differences) == ("as published", "good", ())
    details = dict(said.details)
    assert details["Seeds"] == "training 3"
    assert details["Uncommitted"] == "changes of config.yaml"
    assert details["Lock"] == f"locks/core.txt {'f' * 32}"


def test_what_differs_is_named(results: Path) -> None:
    manifest = publish(results.parents[1])
    (results / "splits.csv").unlink()
    with (results / "metrics.csv").open("a") as metrics:
        metrics.write("\n")
    (results / "own.txt").write_text("mine")
    said = provenance_of(manifest)
    assert (said.label, said.kind) == ("not as published", "bad")
    assert "3 files differed" in said.sentence
    assert {(one.files, one.kind) for one in said.differences} == {
        (("splits.csv",), "missing"),
        (("metrics.csv",), "other configuration"),
        (("own.txt",), "not published"),
    }


def test_what_was_left_out_may_be_missing(results: Path) -> None:
    manifest = publish(results.parents[1], left_out="folds/1")
    (results / "folds/1/training.csv").unlink()
    said = provenance_of(manifest)
    assert said.kind == "good"
    assert "1 more were left out of publishing" in said.sentence


def test_a_long_list_is_cut(results: Path) -> None:
    manifest = publish(results.parents[1])
    for number in range(SHOWN_FILES + 5):
        (results / f"{number}.txt").write_text("mine")
    (differing,) = provenance_of(manifest).differences
    assert (len(differing.files), differing.more) == (SHOWN_FILES, 5)


def test_a_damaged_manifest_is_an_error(results: Path) -> None:
    manifest = publish(results.parents[1])
    manifest.write_text("{")
    with pytest.raises(CrossfoldError, match=r"MANIFEST\.json"):
        provenance_of(manifest)


@pytest.mark.parametrize("published", [False, True])
def test_the_page_shows_it(results: Path, published: bool) -> None:
    inputs = report_inputs(results)
    if published:
        inputs["manifest"] = publish(results.parents[1])
        (results / "splits.csv").rename(results / "<b>splits.csv")
        inputs["splits"] = results / "<b>splits.csv"
    facts = gather_facts(inputs, run=RUN, statistics=StatisticsConfig(resamples=999))
    write_report(inputs, results / "report.html", facts)
    page = (results / "report.html").read_text()
    assert ('<span class="badge bad">not as published</span>' in page) == published
    assert ("<code>&lt;b&gt;splits.csv</code>" in page) == published
    assert ('<span class="badge unknown">not published</span>' in page) == (not published)
