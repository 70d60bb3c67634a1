from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crossfold.errors import CrossfoldError
from crossfold.search.best import advice, best_trial
from crossfold.search.proposals import Proposal
from crossfold.search.rounds import (
    METRICS,
    RESULT,
    TRAINING,
    collect_round,
    finished,
    read_curves,
    write_curves,
)
from crossfold.search.table import (
    COMPLETE,
    FAILED,
    STOPPED,
    Outcome,
    parameters_of,
    read_trials,
    value_of,
    value_text,
    write_trials,
)

STRUCTURES = ["left", "right"]


def trial_folder(folder: Path, outcome: Outcome, dice: dict[str, list[float]] | None) -> Path:
    folder.mkdir(parents=True)
    outcome.write(folder / RESULT)
    curve = [(2, "val", "dice_left", 0.25), (4, "val", "dice_left", 0.5)]
    history = pd.DataFrame(curve, columns=["epoch", "phase", "metric", "value"])
    history.to_csv(folder / TRAINING, index=False)
    if dice:
        rows = [
            (f"{folder.name}-{i}", name, value)
            for name, values in dice.items()
            for i, value in enumerate(values)
        ]
        metrics = pd.DataFrame(rows, columns=["subject", "structure", "dice"])
        metrics.to_csv(folder / METRICS, index=False)
    return folder


def collected(tmp_path: Path) -> Path:
    """Two rounds: two folds that ended, one that was stopped; then one that failed."""
    folders = {
        0: {
            0: trial_folder(tmp_path / "0/0", Outcome(COMPLETE, "", 4, 2.0), {"left": [0.5, 0.7]}),
            1: trial_folder(
                tmp_path / "0/1",
                Outcome(COMPLETE, "", 4, 3.0),
                {"left": [0.9], "right": [0.1, 0.3]},
            ),
        },
        1: {
            0: trial_folder(tmp_path / "1/0", Outcome(COMPLETE, "", 4, 1.0), {"left": [0.9]}),
            1: trial_folder(tmp_path / "1/1", Outcome(STOPPED, "poor", 2, 1.0), None),
        },
    }
    first = [
        Proposal(0, {"network.act": "relu", "training.learning_rate": 0.01}),
        Proposal(1, {"network.act": "gelu", "training.learning_rate": 0.02}),
    ]
    known = collect_round(0, first, folders, metric="dice", structures=STRUCTURES, groups={})
    (tmp_path / "2").mkdir()
    Outcome(FAILED, "loss is nan", 1, 0.5).write(tmp_path / "2" / RESULT)
    second = [Proposal(2, {"network.act": "1", "training.learning_rate": 1}), Proposal(3, {})]
    known = collect_round(
        1,
        second,
        {2: {0: tmp_path / "2"}},
        metric="dice",
        structures=STRUCTURES,
        groups={},
        before=known,
    )
    write_trials(tmp_path / "trials.csv", known.trials)
    write_curves(tmp_path / "curves.csv", known.curves)
    return tmp_path / "trials.csv"


def test_rounds_become_one_table(tmp_path: Path) -> None:
    trials = read_trials(collected(tmp_path))
    assert trials["status"].tolist() == [COMPLETE, STOPPED, FAILED]
    assert trials["round"].tolist() == [0, 0, 1]
    # left: (0.5 + 0.7 + 0.9) / 3 = 0.7; right: 0.2; their mean: 0.45
    assert trials.loc[0, "dice_left"] == pytest.approx(0.7)
    assert trials.loc[0, "mean"] == pytest.approx(0.45)
    assert trials["mean"].isna().tolist() == [False, True, True]
    assert trials["epochs"].tolist() == [8, 6, 1]
    assert trials["seconds"].tolist() == [5.0, 2.0, 0.5]
    assert trials["reason"].tolist() == ["", "fold 1: poor", "loss is nan"]
    assert parameters_of(trials) == ["network.act", "training.learning_rate"]
    assert [value_of(text) for text in trials["network.act"]] == ["relu", "gelu", "1"]


def test_a_trial_is_compared_with_the_model_as_it_is_subject_by_subject(tmp_path: Path) -> None:
    done = Outcome(COMPLETE, "", 4, 1.0)
    folders = {
        trial: {
            fold: trial_folder(
                tmp_path / f"{trial}/{fold}", done, {"left": [0.5 + g for g in gains]}
            )
            for fold, gains in enumerate(of_folds)
        }
        for trial, of_folds in enumerate([([0, 0.1], [0.2]), ([0.1, 0.1], [0.4])])
    }
    proposals = [Proposal(0, {}), Proposal(1, {})]
    known = collect_round(
        0,
        proposals,
        folders,
        metric="dice",
        structures=["left"],
        groups={},
        as_it_is=[*folders[0].values()],
    )
    write_trials(tmp_path / "trials.csv", known.trials)
    table = read_trials(tmp_path / "trials.csv")
    assert table["gain"].tolist() == pytest.approx([0, 0.1])
    # Gains of 0.1, 0 and 0.2: 0.1 and 4.303 standard errors of 0.1 / sqrt(3).
    low, high = 0.1 - 0.2484, 0.1 + 0.2484
    assert table.loc[1, ["gain_low", "gain_high"]].tolist() == pytest.approx([low, high], abs=1e-3)
    assert table.loc[0, ["gain_low", "gain_high"]].isna().all()
    assert "-0.148 to +0.348, which may be chance" in advice("", table)
    alone = collect_round(
        0, proposals, folders, metric="dice", structures=["left"], groups={}
    ).trials
    assert alone["gain"].isna().all()


def test_curves_that_ended_are_those_that_trials_are_compared_with(tmp_path: Path) -> None:
    collected(tmp_path)
    curves = read_curves(tmp_path / "curves.csv")
    assert len(curves) == 2 * 4
    assert set(finished(curves, 1)["trial"]) == {0}
    assert finished(curves, 0).query("trial == 1")["dice"].tolist() == [0.25, 0.5]


def test_the_best_trial_is_said_to_be_optimistic(tmp_path: Path) -> None:
    trials = read_trials(collected(tmp_path))
    best = best_trial(trials)
    assert best is not None
    assert best["trial"] == 0
    said = advice("models: {}", trials)
    assert said.startswith("models: {}\n")
    assert "The best score of 1 trials is optimistic" in said
    assert "No test subject was read" in said
    assert "No trial was better than the first one" in said


def test_without_a_trial_that_ended_there_is_no_best_one(tmp_path: Path) -> None:
    trials = read_trials(collected(tmp_path))
    assert best_trial(trials[1:]) is None
    assert advice("# None\n", trials[1:]) == "# None"


@pytest.mark.parametrize("value", ["relu", "1", "true", "", None, 0.001, [1, 2], {"method": "sgd"}])
def test_a_value_is_read_as_it_was_written(value: object) -> None:
    assert value_of(value_text(value)) == value  # type: ignore[arg-type]


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match=r"search\.csv: no table of trials"):
        read_trials(tmp_path / "search.csv")
    (tmp_path / RESULT).write_text("{")
    with pytest.raises(CrossfoldError, match="not the result of a trial"):
        Outcome.read(tmp_path / RESULT)
