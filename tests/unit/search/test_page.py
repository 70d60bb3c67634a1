from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from crossfold.__main__ import main
from crossfold.config.models import ModelConfig
from crossfold.config.search import SearchConfig, Space
from crossfold.config.trials import spaces_of
from crossfold.paper.search.page import write_page
from crossfold.paper.search.plots import _name
from crossfold.search.table import COMPLETE, FAILED, STOPPED, write_trials

SEARCH = SearchConfig.model_validate(
    {"learning_rate": {"log_uniform": [0.001, 0.1]}, "act": {"choice": ["relu", "<gelu>"]}}
)
SPACES = {
    "network.act": SEARCH.parameters["act"],
    "training.learning_rate": SEARCH.parameters["learning_rate"],
}
TRIALS = pd.DataFrame(
    {
        "trial": [0, 1, 2, 3],
        "round": [0, 0, 0, 0],
        "status": [COMPLETE, COMPLETE, STOPPED, FAILED],
        "mean": [0.5, 0.75, None, None],
        "gain": [0, 0.25, None, None],
        "gain_low": [None, 0.01, None, None],
        "gain_high": [None, 0.49, None, None],
        "epochs": [4, 4, 2, 1],
        "seconds": [60.0, 60.0, 30.0, 0.0],
        "crops": [0.5, 0.7, 0.1, None],
        "network.act": ["relu", "<gelu>", "relu", "relu"],
        "training.learning_rate": ["0.006", "0.02", "0.001", "0.09"],
        "dice_a": [0.5, 0.75, None, None],
        "reason": ["", "", "epoch 2: poor", "the loss is nan"],
    }
)
CURVES = pd.DataFrame(
    {"trial": [0, 0, 1, 1], "fold": 0, "status": COMPLETE, "epoch": [2, 4] * 2, "dice": [0.1] * 4}
)


def test_the_page_shows_all_trials_and_the_best_one(tmp_path: Path) -> None:
    write_page(
        tmp_path / "search.html",
        "Lab",
        SEARCH,
        TRIALS,
        CURVES,
        snippet="models: {}",
        spaces=SPACES,
        synthetic=True,
    )
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert "Trial 1 is the best of 4: mean Dice 0.750 on validation subjects" in page
    assert "0.250 more than the model as it is (0.500); 95 % interval of the gain" in page
    assert "over the same subjects: +0.010 to +0.490. Stopped early: 1." in page
    assert "4: 2 complete, 1 stopped, 1 failed" in page
    assert "synthetic data" in page
    assert "&lt;gelu&gt;" in page
    assert "<gelu>" not in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("http-equiv", "")


def test_what_was_tried_and_what_was_stopped_can_be_read(tmp_path: Path) -> None:
    write_page(
        tmp_path / "search.html", "Lab", SEARCH, TRIALS, CURVES, snippet="models: {}", spaces=SPACES
    )
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    rows = {" ".join(re.sub("<[^>]+>", " ", row).split()) for row in re.findall("<tr>.*", page)}
    assert "training.learning_rate 0.001 to 0.1, logarithmic 0.006 0.02" in rows
    assert "network.act relu or &lt;gelu&gt; relu &lt;gelu&gt;" in rows
    assert {"2 stopped epoch 2: poor", "3 failed the loss is nan"} <= rows
    # Which parameter matters most is not said of two finished trials.
    assert "Share of variance" not in page
    write_page(
        tmp_path / "search.html",
        "Lab",
        SEARCH,
        TRIALS[:1],
        CURVES,
        snippet="models: {}",
        spaces=SPACES,
    )
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert "That is the model as it is: no trial was better." in page
    assert "Stopped or failed" not in page


def test_a_page_needs_no_parameter(tmp_path: Path) -> None:
    """The model as it is, of which a network has what is searched by default."""
    trials = TRIALS[:1].drop(columns=["network.act", "training.learning_rate"])
    page = tmp_path / "search.html"
    write_page(page, "Lab", SEARCH, trials, CURVES[:0], snippet="models: {}", spaces=SPACES)
    assert page.read_text(encoding="utf-8").count("data:image/png;base64,") == 1


def test_a_gain_without_an_interval_is_said_to_have_none(tmp_path: Path) -> None:
    page = tmp_path / "search.html"
    trials = TRIALS.assign(gain_low=None, gain_high=None).astype({"gain_low": float})
    write_page(page, "Lab", SEARCH, trials, CURVES, snippet="models: {}", spaces=SPACES)
    text = page.read_text(encoding="utf-8")
    assert "(0.500); too few patients for an interval of the gain. Stopped" in text
    assert "Its interval counts patients, not scans" in text


def test_a_range_is_said_with_all_its_digits(tmp_path: Path) -> None:
    page = tmp_path / "search.html"
    spaces = SPACES | {"training.learning_rate": Space(uniform=(0.0000001, 1_000_050))}
    write_page(page, "Lab", SEARCH, TRIALS, CURVES, snippet="models: {}", spaces=spaces)
    assert "1e-07 to 1000050<" in page.read_text(encoding="utf-8")


def test_keys_of_one_name_are_told_apart(tmp_path: Path) -> None:
    search = {"batch_size": {"choice": [2, 4]}, "inference.batch_size": {"choice": [1, 8]}}
    model = ModelConfig(dataset="ct", images=["ct"], structures=["a"], search=search)
    trials = TRIALS.drop(columns=["network.act", "training.learning_rate"])
    trials = trials.assign(**{"training.batch_size": "2", "inference.batch_size": "8"})
    page = tmp_path / "search.html"
    spaces = spaces_of(model)
    write_page(page, "Lab", SEARCH, trials, CURVES, snippet="models: {}", spaces=spaces)
    text = page.read_text(encoding="utf-8")
    rows = {" ".join(re.sub("<[^>]+>", " ", row).split()) for row in re.findall("<tr>.*", text)}
    assert {"training.batch_size 2 or 4 2 2", "inference.batch_size 1 or 8 8 8"} <= rows
    assert '<th scope="col">inference.batch_size</th>' in text


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"affine_probability": 0.5}, "{affine_probability: 0.5}"),
        ({"method": "sgd", "momentum": 0.9}, "sgd"),
        ({"_target_": "my_lab.nets.MyNet"}, "MyNet"),
        ({"_target_": "my_lab.nets:MyNet", "width": 3}, "MyNet"),
        ([16, 32], "[16, 32]"),
    ],
)
def test_a_choice_is_said_in_short(value: object, name: str) -> None:
    assert _name("training.augmentation", value) == name


def test_a_page_without_a_finished_trial_says_so(tmp_path: Path) -> None:
    write_page(
        tmp_path / "search.html",
        "Lab",
        SEARCH,
        TRIALS[2:],
        CURVES[:0],
        snippet="models: {}",
        spaces=SPACES,
    )
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert "No trial has ended" in page
    assert page.count("data:image/png;base64,") == 2


def test_the_command_prints_the_best_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/Lab/search").mkdir(parents=True)
    (tmp_path / "results/Lab/search/best.yaml").write_text("models: {LabTuned: {base: Lab}}\n")
    write_trials(tmp_path / "results/Lab/search.csv", TRIALS)
    main(["search", "Lab"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["trial", "status", "mean", "network.act", "training.learning_rate"]
    assert lines[1].split()[:3] == ["1", "complete", "0.7500"]
    assert "models: {LabTuned: {base: Lab}}" in lines
    with pytest.raises(SystemExit, match="there is no such search"):
        main(["search", "Labb"])
