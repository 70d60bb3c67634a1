from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossfold.config.models import ModelConfig
from crossfold.errors import CrossfoldError
from crossfold.search.proposals import (
    Proposal,
    proposal_of,
    propose_round,
    read_proposals,
    write_proposals,
)
from crossfold.search.table import COMPLETE, FAILED, STOPPED, value_text

SPACES: dict[str, Any] = {
    "learning_rate": {"log_uniform": [0.0005, 0.05]},
    "weight_decay": {"uniform": [0, 0.1]},
    "optimiser": {"choice": [{"method": "sgd"}, {"method": "adamw"}]},
}


def model(**search: Any) -> ModelConfig:
    return ModelConfig(dataset="ct", images=["ct"], structures=["a"], search={**SPACES, **search})


def known(searched: ModelConfig, rounds: int) -> pd.DataFrame:
    """Trials of some rounds, of which high learning rates did well."""
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for each in propose_round(searched, number):
            rate = float(str(each.parameters["training.learning_rate"]))
            status = {3: FAILED, 4: STOPPED}.get(each.trial, COMPLETE)
            row = {"trial": each.trial, "round": number, "status": status, "epochs": 4}
            row |= {"mean": rate * 10 if status == COMPLETE else None, "crops": rate}
            rows.append(row | {key: value_text(v) for key, v in each.parameters.items()})
    return pd.DataFrame(rows)


def test_a_random_trial_depends_on_the_seed_and_its_number_alone() -> None:
    few = propose_round(model(method="random", parallel=2), 1)
    many = propose_round(model(method="random", parallel=4, trials=90), 0)
    assert few == many[2:]
    assert propose_round(model(method="random", parallel=2, seed=1), 1) != few
    # What every machine draws.
    assert few[0].parameters == {
        "training.learning_rate": 0.0007255,
        "training.optimiser": {"method": "sgd"},
        "training.weight_decay": 0.06013,
    }


def test_the_first_trial_is_the_model_as_it_is() -> None:
    first = propose_round(model(), 0)[0]
    assert first.parameters["training.learning_rate"] == 0.006
    drawn = propose_round(model(baseline=False), 0)[0]
    assert drawn.parameters["training.learning_rate"] != 0.006


def test_a_grid_is_tried_whole_and_once() -> None:
    spaces = {"learning_rate": {"log_uniform": [0.001, 0.1], "steps": 3}}
    searched = ModelConfig(
        dataset="ct",
        images=["ct"],
        structures=["a"],
        search={**spaces, "batch_size": {"choice": [1, 2]}, "method": "grid", "parallel": 4},
    )
    rounds = [propose_round(searched, number) for number in range(3)]
    assert [len(each) for each in rounds] == [4, 2, 0]
    points = {tuple(each.parameters.values()) for each in (*rounds[0], *rounds[1])}
    assert points == {(size, rate) for rate in (0.001, 0.01, 0.1) for size in (1, 2)}


def test_tpe_does_without_a_trial_that_has_no_score() -> None:
    searched = model(trials=60)
    trials = known(searched, rounds=5)
    scored = propose_round(searched, 5, trials[trials["trial"] != 8])
    trials.loc[trials["trial"] == 8, "mean"] = None
    assert propose_round(searched, 5, trials) == scored


def test_tpe_learns_from_earlier_rounds_and_draws_the_same_again() -> None:
    searched = model()
    before = known(searched, 3)
    # Ten finished trials are needed: until then, it draws at random.
    assert propose_round(searched, 1, before[:4]) == propose_round(model(method="random"), 1)
    told = propose_round(searched, 3, before)
    assert told == propose_round(searched, 3, before)
    assert told != propose_round(model(method="random"), 3)
    assert len({each.parameters["training.learning_rate"] for each in told}) == 4
    assert [each.trial for each in told] == [12, 13, 14, 15]


def test_values_that_do_not_go_together_are_proposed_with_the_reason(tmp_path: Path) -> None:
    searched = ModelConfig(
        dataset="ct",
        images=["ct"],
        structures=["a"],
        search={"schedule.floor": {"choice": [0, 0.5]}, "learning_rate": {"choice": [0.01, 1]}},
    )
    proposals = [each for number in range(4) for each in propose_round(searched, number)]
    for each in proposals:
        wrong = each.parameters == {"training.learning_rate": 0.01, "training.schedule.floor": 0.5}
        assert ("schedule.floor is 0.5" in each.problem) == wrong
    assert any(each.problem for each in proposals)
    write_proposals(tmp_path / "proposals.json", proposals)
    assert read_proposals(tmp_path / "proposals.json") == proposals


def test_a_damaged_file_and_a_foreign_trial_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "proposals.json"
    write_proposals(file, [Proposal(4, {})])
    assert proposal_of(file, 4) == Proposal(4, {})
    with pytest.raises(CrossfoldError, match="has no trial 5"):
        proposal_of(file, 5)
    file.write_text("[{}")
    with pytest.raises(CrossfoldError, match="not the trials of a round"):
        read_proposals(file)
