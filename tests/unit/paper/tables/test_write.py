from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossfold.evaluation.frames import read_frame
from crossfold.paper.facts import Facts, gather_facts
from crossfold.paper.tables import TABLES, comparisons, failures, main, structures, write_tables
from crossfold.paper.tables.html import to_html
from crossfold.paper.tables.latex import to_latex

NONE = pd.DataFrame()


@pytest.fixture
def facts(compared_run: Any) -> Facts:
    return gather_facts(
        compared_run.paths, run=compared_run.run, statistics=compared_run.statistics
    )


def frame(compared_run: Any, name: str) -> pd.DataFrame:
    return read_frame(compared_run.paths[name])


def test_every_table_is_written_in_three_formats(compared_run: Any, tmp_path: Path) -> None:
    target = tmp_path / "tables"
    target.mkdir()
    for _ in range(2):
        write_tables(
            compared_run.paths, target, run=compared_run.run, statistics=compared_run.statistics
        )
        names = {f"{name}{suffix}" for name in TABLES for suffix in (".tex", ".csv", ".html")}
        assert {path.name for path in target.iterdir()} == names | {"macros.tex"}


def test_main_has_every_run_and_split_in_the_order_of_the_structures(
    compared_run: Any, facts: Facts
) -> None:
    table = main.table(facts, frame(compared_run, "compared"))
    shown = table.frame[["structure", "run", "result"]].to_numpy().tolist()
    assert shown[:4] == [
        ["bladder", "Model_1", "out of fold"],
        ["bladder", "Baseline", "out of fold"],
        ["bladder", "Model_1", "test"],
        ["bladder", "Baseline", "test"],
    ]
    assert [row[0] for row in shown[::4]] == ["bladder", "femur_r", "femur-r"]


def test_a_compared_run_is_summarised_as_the_run_itself_is(compared_run: Any, facts: Facts) -> None:
    own = frame(compared_run, "compared")
    again = pd.concat([own, own[own["run"] == facts.run].assign(run="Again")])
    table = main.table(facts, again).frame
    numbers = [name for name in table.columns if name.startswith(main.SHOWN)]
    mine, other = (
        table.loc[table["run"] == run, numbers].to_numpy(float) for run in (facts.run, "Again")
    )
    np.testing.assert_allclose(mine, other, rtol=2e-5)


def test_a_failure_counts_and_takes_the_mean_distance_away(compared_run: Any, facts: Facts) -> None:
    row = main.table(facts, NONE).frame.iloc[0]
    assert row["n_failed"] == 1
    assert np.isnan(row["hd95_mm_mean"])
    assert np.isfinite(row["hd95_mm_median"])
    text = to_latex(main.table(facts, NONE))
    assert "(1)" in text
    assert "out of fold" in text
    assert "Baseline" not in text


def test_only_what_is_significant_after_correction_is_bold(compared_run: Any, facts: Facts) -> None:
    rows = frame(compared_run, "comparisons")
    planned = rows["role"] == "confirmatory"
    assert 0 < planned.sum() < len(rows)
    rows.loc[planned, ["p_raw", "p_adjusted"]] = [0.01, 0.06]
    assert "<strong>" not in to_html(comparisons.table(facts, rows))
    rows.loc[planned, "p_adjusted"] = 0.04
    page = to_html(comparisons.table(facts, rows))
    assert page.count("<strong>") == planned.sum() == 6


def test_a_refused_comparison_says_why(compared_run: Any, facts: Facts) -> None:
    rows = frame(compared_run, "comparisons")
    numbers = ["diff_hl", "diff_ci_low", "diff_ci_high", "p_adjusted", "effect", "effect_ci_low"]
    rows[numbers] = np.nan
    rows["verdict"], rows["reason"] = "refused", "s001 was trained on by Baseline"
    text = to_latex(comparisons.table(facts, rows))
    assert text.count("refused: s001 was trained on by Baseline.") == 1


def test_another_tolerance_is_not_passed_over(compared_run: Any, facts: Facts) -> None:
    rows = frame(compared_run, "comparisons")
    planned = (rows["role"] == "confirmatory") & (rows["metric"] == "nsd")
    rows.loc[planned, "reason"] = "NSD at 2 mm in Model_1, at 1 mm in Baseline"
    notes = " ".join(main.table(replace(facts, comparisons=rows), NONE).notes)
    assert "not comparable: another tolerance in Baseline" in notes
    assert "not comparable" not in " ".join(main.table(facts, NONE).notes)


def test_failures_are_compared_with_the_right_run(compared_run: Any, facts: Facts) -> None:
    table = failures.table(
        facts, frame(compared_run, "compared"), frame(compared_run, "failure_rates")
    )
    bladder = table.frame[table.frame["structure"] == "bladder"]
    assert bladder["run"].tolist() == ["Model_1", "Model_1", "Baseline"]
    assert bladder["n_missed"].tolist() == [1, 0, 1]
    assert bladder["risk_diff"].isna().tolist() == [True, True, False]
    # Clopper and Pearson's upper limit of 0 in n is 1 - (alpha / 2) ^ (1 / n).
    none = table.frame[table.frame["n_missed"] == 0].iloc[0]
    assert none["rate_ci_high"] == pytest.approx(1 - 0.025 ** (1 / none["n_present"]))


def test_ratios_of_volumes_are_marked(compared_run: Any, facts: Facts) -> None:
    agreement = frame(compared_run, "bland_altman")
    metrics = frame(compared_run, "metrics")
    agreement["scale"] = "raw"
    assert "×" not in to_html(structures.table(facts, metrics, agreement))
    agreement["scale"] = "log"
    assert "×" in to_html(structures.table(facts, metrics, agreement))
    assert structures.table(facts, metrics, NONE).frame["bias_ml"].isna().all()


def test_names_are_text_in_html(make_run: Callable, tmp_path: Path) -> None:
    files = make_run(structures=["<b>x</b>", "a&b"])
    write_tables(files.paths, tmp_path, run=files.run, statistics=files.statistics)
    page = (tmp_path / "main.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "a&amp;b" in page
