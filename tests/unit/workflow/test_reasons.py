from __future__ import annotations

import pytest

from crossfold.workflow.reasons import _jobs, differences

SAID = """
Building DAG of jobs...

[Sun Nov 22 17:30:19 2026]
rule train_fold:
    input: results/Tiny/splits.csv
    output: results/Tiny/folds/0/training.csv
    reason: Updated input files: results/Tiny/splits.csv; Code has changed since last execution; \
Params have changed since last execution: Union of exclusive params before and now across all \
output: before: {'lr': 0.1, 'augmentation': {'noise': 0.0}},['numpy==2.3', 'scipy==1.0'] \
now: {'lr': 0.2, 'augmentation': {'noise': 0.1}},['numpy==2.4', 'scipy==1.0'] \n    wildcards: x=0

[Sun Nov 22 17:30:19 2026]
localrule measure_fold:
    output: results/Tiny/folds/0/metrics.csv
    reason: Input files updated by another job: results/Tiny/folds/0/segmentations
    resources: tmpdir=/tmp
"""


def test_reasons_are_read_from_a_plan() -> None:
    train, measure = _jobs(SAID)
    assert (train.rule, train.output) == ("train_fold", "results/Tiny/folds/0/training.csv")
    assert train.causes == [
        "Updated input files: results/Tiny/splits.csv",
        "The script has changed since last execution",
        "package numpy: '2.3' -> '2.4'",
        "lr: 0.1 -> 0.2",
        "augmentation.noise: 0.0 -> 0.1",
    ]
    assert (measure.rule, measure.causes) == ("measure_fold", [])


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (["0123456789abcdef"], ["fedcba9876543210"], ["the code behind it has changed"]),
        ([3], [4], ["3 -> 4"]),
        ([], [{"folds": 5}], ["new: {'folds': 5}"]),
        ([{"folds": 5}], [], ["gone: {'folds': 5}"]),
        ([{"a": 1, "b": 2}, {"c": 3}], [{"c": 4}, {"a": 1, "b": 3}], ["c: 3 -> 4", "b: 2 -> 3"]),
        ([{"a": None}], [{"a": {"b": 1}}], ["a: None -> {'b': 1}"]),
        ([], [["numpy==2.4"]], ["package numpy: None -> '2.4'"]),
    ],
)
def test_parameters_without_names_are_compared(
    before: list[object], now: list[object], expected: list[str]
) -> None:
    assert list(differences(before, now)) == expected
