from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from crossfold.config.statistics import ComparedRun
from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.azureml import CACHE
from crossfold.evaluation.statistics.runs import read_run

METRICS = (
    "model,split,fold,subject,institution,structure,state,dice\n"
    "Old,val,0,P1,,bladder,ok,{dice}\nOld,test,ensemble,P2,B,rectum,ok,0.8\n"
)
SPLITS = "subject,group,institution,fold,role\nP1,P1,A,0,val\nP2,P2,B,0,test\n"
INNEREYE = "Patient,Structure,Dice,HausdorffDistance_mm,MeanDistance_mm\nP1,bladder,{dice},5,1\n"
RUN = ComparedRun(azureml="main/train-1")


class Plugin:
    """Stands for the plugin: a run with these files."""

    WorkflowError = KeyError

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.asked: list[tuple[str, Path | None]] = []

    def fetch_products(
        self, run: str, names: Collection[str], folder: Path, *, profile: Path | None
    ) -> list[Path]:
        self.asked.append((run, profile))
        wanted = [path for path in self.files if path.rpartition("/")[2] in names]
        if not wanted:
            raise KeyError("there is no such run")
        for path in wanted:
            target = folder / "train-1" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self.files[path])
        return sorted(folder / "train-1" / path for path in wanted)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    monkeypatch.chdir(tmp_path)
    plugin = Plugin()
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_azureml.products", plugin)
    return plugin


def test_a_run_of_crossfold(plugin: Plugin) -> None:
    plugin.files = {
        "results/Old/folds/0/metrics.csv": METRICS.format(dice=0.1),
        "results/Old/ensemble_metrics.csv": METRICS.format(dice=0.2),
        "results/Old/metrics.csv": METRICS.format(dice=0.9),
        "results/Old/splits.csv": SPLITS,
    }
    run = read_run(RUN)
    assert (run.label, run.kind, run.model) == ("train-1", "azureml", "Old")
    assert run.source == "main/train-1:results/Old/metrics.csv"
    assert list(run.rows["dice"]) == [0.9, 0.8]
    assert run.roles is not None
    assert list(run.roles["role"]) == ["val", "test"]
    assert plugin.asked == [("main/train-1", None)]
    assert (CACHE / "train-1/results/Old/metrics.csv").is_file()


def test_the_ensemble_stands_for_a_run_that_pooled_nothing(plugin: Plugin) -> None:
    plugin.files = {"results/Old/ensemble_metrics.csv": METRICS.format(dice=0.2)}
    run = read_run(RUN)
    assert list(run.rows["dice"]) == [0.2, 0.8]
    assert any("not known whom it was trained on" in note for note in run.notes)


@pytest.mark.parametrize(("split", "dice"), [("val", 0.5), ("test", 0.7)])
def test_a_run_of_innereye(plugin: Plugin, split: str, dice: float) -> None:
    plugin.files = {
        "outputs/Train/metrics.csv": INNEREYE.format(dice=0.9),
        "outputs/best/Val/metrics.csv": INNEREYE.format(dice=0.5),
        "outputs/best/Test/metrics.csv": INNEREYE.format(dice=0.7),
    }
    run = read_run(ComparedRun(azureml="main/train-1", split=split))
    assert list(run.rows["dice"]) == [dice]
    assert set(run.rows["split"]) == {split}


def test_a_run_without_metrics_of_the_split_is_named(plugin: Plugin) -> None:
    plugin.files = {"outputs/Val/metrics.csv": INNEREYE.format(dice=0.5)}
    with pytest.raises(CrossfoldError, match=r"main/train-1: the run has no metrics .* test"):
        read_run(RUN)


def test_what_the_plugin_refuses_names_the_run(plugin: Plugin) -> None:
    with pytest.raises(CrossfoldError, match=r"azureml main/train-1: .*no such run"):
        read_run(RUN)


def test_the_settings_of_the_profile_are_used(plugin: Plugin) -> None:
    Path("azureml").mkdir()
    Path("azureml/profile.yaml").touch()
    plugin.files = {"metrics.csv": METRICS.format(dice=0.2)}
    read_run(RUN)
    assert plugin.asked == [("main/train-1", Path("azureml/profile.yaml"))]


def test_without_the_plugin_the_way_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_azureml.products", None)
    with pytest.raises(CrossfoldError, match=r"main/train-1: .* not installed") as raised:
        read_run(RUN)
    assert "make setup-azureml" in raised.value.remedy
