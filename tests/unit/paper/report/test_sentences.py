from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.paper.facts import Facts, gather_facts
from crossfold.paper.report.sentences import headline, planned_comparisons
from tests.browser.tiny_run import RUN, make_run, report_inputs


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    inputs = report_inputs(make_run(tmp_path_factory.mktemp("facts"), images=False))
    return gather_facts(inputs, run=RUN, statistics=StatisticsConfig())


def with_dice(facts: Facts, **changes: Any) -> Facts:
    results = tuple(
        replace(result, **changes) if result.metric == "dice" else result
        for result in facts.results
    )
    return replace(facts, results=results)


def test_the_headline_names_subjects_structures_and_intervals(facts: Facts) -> None:
    sure = with_dice(facts, mean=0.8, ci_low=0.77, ci_high=0.83)
    assert headline(sure) == (
        "On 10 subjects, each predicted by the fold that was not trained on it, mean Dice is "
        "0.800 (0.770 to 0.830) for gland and 0.800 (0.770 to 0.830) for organ & <b>rim</b> "
        "(95 % confidence intervals). No structure was missed or invented."
    )


def test_without_intervals_the_headline_claims_none(facts: Facts) -> None:
    few = with_dice(replace(facts, split="test"), ci_low=np.nan, ci_high=np.nan)
    assert headline(few).startswith("On 4 test subjects, predicted by the ensemble, mean Dice is")
    assert "confidence" not in headline(few)
    assert "to" not in headline(few).split("mean Dice")[1].split()


def test_the_headline_counts_failures(facts: Facts) -> None:
    assert headline(replace(facts, split="test")).endswith(
        "1 of 8 structures was missed or invented."
    )
    assert "20 of 20 structures were" in headline(with_dice(facts, n=10, n_missed=10))


def test_many_structures_become_a_range(facts: Facts) -> None:
    dice = facts.result("gland", "dice")
    assert dice is not None
    names = [f"s{number}" for number in range(25)]
    results = tuple(
        replace(dice, structure=name, mean=0.5 + number / 100, ci_low=np.nan, ci_high=np.nan)
        for number, name in enumerate(names)
    )
    many = replace(facts, results=results, config={**facts.config, "structures": names})
    assert "ranges from 0.50 for s0 to 0.74 for s24, over 25 structures" in headline(many)


def test_nothing_measured_is_said(facts: Facts) -> None:
    nothing = with_dice(facts, mean=np.nan)
    assert headline(nothing) == "Nothing was measured on all subjects out of fold."


def test_a_distance_has_its_unit_and_the_sides_their_institutions(facts: Facts) -> None:
    row = facts.comparisons.iloc[0].to_dict()
    row |= {"metric": "hd95_mm", "unit": "mm", "diff_hl": -1.25, "diff_ci_low": -2.0}
    row |= {"diff_ci_high": -0.5, "group_a": "A", "group_b": "B", "design": "unpaired", "n_b": 7}
    other = replace(facts, comparisons=pd.DataFrame([row]))
    (sentence,) = planned_comparisons(other)
    assert sentence.text == (
        "HD95 of gland, Tiny, A against Other <i>, B: −1.2 mm (95 % CI −2.0 to −0.5, adjusted p = "
        "0.012 after Holm, n = 10 and 7); Tiny, A is better."
    )


@pytest.mark.parametrize("missing", [np.nan, "", None])
def test_a_refusal_without_a_reason_is_still_a_sentence(facts: Facts, missing: Any) -> None:
    row = facts.comparisons[facts.comparisons["verdict"] == "refused"].iloc[0].to_dict()
    other = replace(facts, comparisons=pd.DataFrame([{**row, "reason": missing}]))
    (sentence,) = planned_comparisons(other)
    assert sentence.text.endswith("refused, because no reason was given.")


def test_an_interval_that_is_not_there_is_not_written(facts: Facts) -> None:
    row = facts.comparisons.iloc[0].to_dict() | {"diff_ci_low": np.nan, "diff_ci_high": np.nan}
    (sentence,) = planned_comparisons(replace(facts, comparisons=pd.DataFrame([row])))
    assert "CI" not in sentence.text
    assert "+0.021 (adjusted p" in sentence.text


def test_no_comparison_gives_no_sentence(facts: Facts, tmp_path: Path) -> None:
    assert list(planned_comparisons(replace(facts, comparisons=pd.DataFrame()))) == []
