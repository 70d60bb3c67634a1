import pandas as pd
import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.leaks import find_leaks, refusal
from crossfold.evaluation.statistics.runs import Run, combine
from crossfold.evaluation.statistics.sources import parse_metrics, parse_roles


def run(label: str, rows: list[str], roles: list[str] | None) -> Run:
    metrics = "split,fold,subject,structure,dice\n" + "".join(f"{row},a,0.9\n" for row in rows)
    known = "subject,group,fold,role\n" + "\n".join(roles) + "\n" if roles else None
    return Run(label, "model", "m", parse_metrics(metrics, "m"), known and parse_roles(known, "s"))


def leaks_of(*runs: Run) -> pd.DataFrame:
    noted, compared = combine(runs, ["a"], StatisticsConfig())
    return find_leaks(noted, compared)


CLEAN = ["P1,,0,val", "P1,,1,train", "P2,,0,train", "P2,,1,val", "T,,0,test", "T,,1,test"]


def test_out_of_fold_and_test_results_do_not_leak() -> None:
    rows = ["val,0,P1", "val,1,P2", "test,0,T", "test,1,T", "test,ensemble,T"]
    assert leaks_of(run("A", rows, CLEAN)).empty


@pytest.mark.parametrize(
    ("row", "leaks"),
    [
        ("val,1,P1", True),
        ("val,0,P1", False),
        ("test,ensemble,P1", True),
        ("test,,P1", True),
        ("val,,P1", False),
        ("val,,T", False),
    ],
)
def test_rows_whose_model_saw_the_subject(row: str, leaks: bool) -> None:
    assert leaks_of(run("A", [row], CLEAN)).empty is not leaks


def test_validation_row_of_a_subject_that_was_never_validated() -> None:
    assert list(leaks_of(run("A", ["val,,P"], ["P,,0,train"]))["subject"]) == ["P"]


def test_unknown_splits_are_no_leak() -> None:
    assert leaks_of(run("A", ["test,,P1"], None)).empty


@pytest.mark.parametrize("knows", ["trained", "other"])
def test_another_scan_of_the_patient_leaks(knows: str) -> None:
    group = "G" if knows == "trained" else ""
    trained = run("A", ["test,,scan2"], [f"scan1,{group},0,train", f"scan2,{group},0,test"])
    about = ["scan1,G,0,val", "scan2,G,0,val", "P,,0,train"]
    other = run("B", ["val,0,scan1", "val,0,scan2"], about)
    runs = (trained, other) if knows == "trained" else (other, trained)
    leaks = leaks_of(*runs)
    assert leaks[["run", "subject", "trained_on"]].to_numpy().tolist() == [["A", "scan2", "scan1"]]


def test_refusal_names_subjects() -> None:
    one = run("A", ["test,ensemble,P1", "test,ensemble,P2", "test,ensemble,T"], CLEAN)
    leaks = leaks_of(one)
    assert refusal(leaks, "A", one.rows) == "A was trained on P1, P2"
    assert refusal(leaks, "B", one.rows) == ""
    assert refusal(leaks, "A", one.rows[one.rows["subject"] == "T"]) == ""
