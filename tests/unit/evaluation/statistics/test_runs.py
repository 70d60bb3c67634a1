import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.runs import combine, read_model, read_run, runs_table

METRICS = (
    "model,split,fold,subject,institution,structure,state,dice\n"
    "Old,val,0,P1,,bladder,ok,0.9\nOld,test,ensemble,P2,B,rectum,ok,0.8\n"
)
SPLITS = "subject,group,institution,fold,role\nP1,P1,A,0,val\nP2,P2,B,0,test\nP3,P3,A,0,train\n"
INNEREYE = "Patient,Structure,Dice,HausdorffDistance_mm,MeanDistance_mm\nP1,bladder,0.9,5,1\n"


def write(folder: Path, metrics: str = METRICS, splits: str = SPLITS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits.csv").write_text(splits)
    (folder / "metrics.csv").write_text(metrics)
    return folder / "metrics.csv"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose tag v1 has a table tracked by DVC, and one tracked by git."""
    folder = tmp_path_factory.mktemp("repository")
    write(folder / "results" / "ByDvc")
    write(folder / "results" / "ByGit")
    (folder / "results" / "ByGit" / "splits.csv").unlink()
    commands = [
        "git init -q .",
        "git config user.email a@example.org",
        "git config user.name A",
        "git config commit.gpgsign false",
        "dvc init -q",
        "dvc add -q results/ByDvc/metrics.csv",
        "git add -A",
        "git commit -q -m results",
        "git tag v1",
    ]
    for command in commands:
        words = command.replace(
            "dvc", f"{sys.executable} -m dvc", command.startswith("dvc")
        ).split()
        subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (folder / "results" / "ByDvc" / "metrics.csv").unlink()
    return folder


def revised(repository: Path, revision: str) -> ComparedRun:
    return ComparedRun(revision=revision, repository=str(repository))


def test_revision_tracked_by_dvc(repository: Path) -> None:
    run = read_run(revised(repository, "v1:results/ByDvc/metrics.csv"))
    assert (run.label, run.kind, run.model) == ("ByDvc@v1", "revision", "Old")
    assert list(run.rows["dice"]) == [0.9, 0.8]
    assert run.roles is not None
    assert list(run.roles["role"]) == ["val", "test", "train"]


def test_revision_tracked_by_git_without_splits(repository: Path) -> None:
    run = read_run(revised(repository, "v1:results/ByGit/metrics.csv"))
    assert run.roles is None
    assert any("not known whom it was trained on" in note for note in run.notes)


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("v9:results/ByDvc/metrics.csv", "no revision `v9`"),
        ("v1:results/Nobody/metrics.csv", "no file `results/Nobody/metrics.csv` in revision `v1`"),
    ],
)
def test_missing_revision_or_path(repository: Path, revision: str, message: str) -> None:
    with pytest.raises(CrossfoldError, match=message) as error:
        read_run(revised(repository, revision))
    assert error.value.remedy


def test_data_that_were_not_pulled(repository: Path, tmp_path: Path) -> None:
    clone = shutil.copytree(repository, tmp_path / "clone")
    shutil.rmtree(clone / ".dvc" / "cache")
    with pytest.raises(
        CrossfoldError, match=r"DVC tracks it .* but its content is not there"
    ) as error:
        read_run(revised(clone, "v1:results/ByDvc/metrics.csv"))
    assert "dvc pull results/ByDvc/metrics.csv" in error.value.remedy


def test_missing_repository(tmp_path: Path) -> None:
    for name in ("nowhere", "."):
        with pytest.raises(CrossfoldError, match=r"v1:m\.csv: .*repository"):
            read_run(revised(tmp_path / name, "v1:m.csv"))


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="there is no repository") as error:
        read_run(revised(tmp_path, "v1:m.csv"))
    assert "git repository" in error.value.remedy


def test_a_repository_in_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(CrossfoldError, match="the environment variable NOWHERE is not set"):
        read_run(ComparedRun(revision="v1:m.csv", repository="$NOWHERE/study"))


def test_table_by_path_with_splits_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "Old")
    monkeypatch.setenv("ELSEWHERE", str(tmp_path))
    run = read_run(ComparedRun(metrics="$ELSEWHERE/Old/metrics.csv"))
    assert (run.label, run.kind) == ("Old", "metrics")
    assert run.roles is not None


def test_table_by_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match=r"metrics.csv: no such file"):
        read_run(ComparedRun(metrics=str(tmp_path / "metrics.csv")))
    path = write(tmp_path)
    with pytest.raises(CrossfoldError, match=r"other.csv: no such file"):
        read_run(ComparedRun(metrics=str(path), splits=str(tmp_path / "other.csv")))


def test_innereye_split_is_that_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "epoch_120" / "Val"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(INNEREYE)
    path = str(folder / "metrics.csv")
    with pytest.raises(CrossfoldError, match=r"lies in the folder Val, but its `split` is test"):
        read_run(ComparedRun(metrics=path, label="old"))
    run = read_run(ComparedRun(metrics=path, label="old", split="val"))
    assert run.model == "old"
    assert list(run.rows["split"]) == ["val"]


def test_combined_runs_say_what_they_lack(tmp_path: Path) -> None:
    path = write(tmp_path / "Old")
    model = read_model("New", path, path.with_name("splits.csv"))
    other = tmp_path / "metrics.csv"
    other.write_text(INNEREYE + "P9,prostate,0.7,5,1\n")
    runs = [model, read_run(ComparedRun(metrics=str(other), label="old"))]
    config = StatisticsConfig(ignore_subjects=["P2", "P77"], exclude_structures=["prostate"])
    noted, compared = combine(runs, ["bladder", "rectum"], config)
    assert compared[["run", "subject", "structure", "institution"]].to_numpy().tolist() == [
        ["New", "P1", "bladder", "A"],
        ["old", "P1", "bladder", "A"],
    ]
    table = runs_table(noted, compared).set_index("run")
    assert "subjects left out as configured: P2" in table.loc["New", "note"]
    assert "ignore_subjects of whom there is no result: P77" in table.loc["New", "note"]
    assert "structures left out as configured: prostate" in table.loc["old", "note"]
    assert "no structure rectum" in table.loc["old", "note"]
    assert "not measured: iou, nsd, hd95_mm" in table.loc["old", "note"]
    assert list(table["splits_known"]) == [True, False]
