"""What the pipeline itself can see that weakens a result, in sentences for the reader."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from crossfold.paper.facts.records import Facts, Result
from crossfold.paper.words import counted

# From about this many subjects on, all usual intervals of a mean cover what they claim (André et
# al., MICCAI workshops 2025).
FEW_SUBJECTS = 50
# A bootstrapped interval is not given for fewer.
FEWEST_FOR_INTERVAL = 10
_MOST_NAMES = 5


def limitations_of(facts: Facts) -> tuple[str, ...]:
    """Return the limitations of a run that follow from its own files, the gravest first."""
    return tuple(
        sentence
        for check in (_data, _subjects, _divisions, _institutions, _failures, _comparisons, _code)
        for sentence in check(facts)
    )


def _data(facts: Facts) -> Iterator[str]:
    if facts.dataset.synthetic:
        yield (
            "The images are synthetic: they were computed, not taken from patients, and say "
            "nothing about performance on patients."
        )


def _subjects(facts: Facts) -> Iterator[str]:
    dataset, splits = facts.dataset, facts.splits
    if splits.development < FEW_SUBJECTS:
        yield (
            f"Few subjects: {splits.development} outside the test set. Confidence intervals of "
            f"fewer than {FEW_SUBJECTS} subjects tend to be too narrow."
        )
    if not splits.test:
        yield "There is no test set: every subject was used to train a part of the folds."
    elif splits.test < FEWEST_FOR_INTERVAL:
        yield (
            f"The test set has {counted(splits.test, 'subject')}, too few for confidence "
            "intervals: its numbers are descriptive."
        )
    elif splits.test < FEW_SUBJECTS:
        yield f"The test set is small: {splits.test} subjects."
    if dataset.excluded:
        names = [subject.subject for subject in dataset.excluded]
        count = counted(len(names), "subject")
        yield f"{count} excluded by the checks of the data: {_list(names)}."
    if dataset.groups < dataset.used:
        yield (
            f"{dataset.used} scans of {dataset.groups} groups: repeated scans are not independent."
        )


def _divisions(facts: Facts) -> Iterator[str]:
    if facts.splits.folds == 1:
        yield "A single division into training and validation: it was not cross-validated."
    seed = facts.config["training"]["seed"]
    yield (
        f"Every fold was trained once (seed {seed} + fold). How much results vary between "
        "trainings was not measured, so they are about these networks, not about the method."
    )


def _institutions(facts: Facts) -> Iterator[str]:
    known = {name: count for name, count in facts.dataset.institutions.items() if name}
    unknown = facts.dataset.institutions.get("", 0)
    if not known:
        yield "The institutions of the subjects are not known: generalisation was not assessed."
    elif len(known) == 1 and not unknown:
        yield f"All subjects are from one institution, {next(iter(known))}."
    elif unknown:
        yield f"The institution of {counted(unknown, 'subject')} is not known."
    if len(known) > 1 and facts.splits.test and not facts.splits.new_institutions:
        yield "No institution was kept for testing: the test set is internal."


def _failures(facts: Facts) -> Iterator[str]:
    results = [result for result in facts.of_split() if result.metric == "dice"]
    if failed := [_failure(result) for result in results if result.n_failed]:
        yield f"Failures, {facts.split_in_words}: {'; '.join(failed)}."
    scarce = [
        f"{result.structure} ({result.n})" for result in results if result.n < FEWEST_FOR_INTERVAL
    ]
    if scarce and len(scarce) < len(results):
        yield f"Structures present in few subjects: {', '.join(scarce)}."


def _failure(result: Result) -> str:
    kinds = (("missed", result.n_missed), ("hallucinated", result.n_hallucinated))
    said = " and ".join(f"{word} in {count}" for word, count in kinds if count)
    return f"{result.structure} {said} of {counted(result.n, 'subject')}"


def _comparisons(facts: Facts) -> Iterator[str]:
    if facts.planned_after_results:
        yield (
            "The plan of the statistics was made or changed after the first results: its "
            "comparisons were planned by somebody who could have seen them."
        )
    comparisons = facts.comparisons
    others = comparisons
    if not comparisons.empty:
        others = comparisons[comparisons["role"] == "confirmatory"]
    if others.empty:
        yield "The model was not compared with any other by a planned test."
    if not comparisons.empty:
        yield from _refusals(comparisons)


def _refusals(comparisons: pd.DataFrame) -> Iterator[str]:
    refused = comparisons[comparisons["verdict"] == "refused"]
    pairs = refused.drop_duplicates(["run_a", "run_b", "reason"])
    for row in pairs.itertuples():
        yield f"Refused to compare {row.run_a} with {row.run_b}: {str(row.reason).rstrip('.')}."


def _code(facts: Facts) -> Iterator[str]:
    if facts.software.commit is None:
        yield "The code was not in a git repository: its exact state is not known."
    elif facts.software.dirty:
        yield f"The code differed from commit {facts.software.commit[:10]} in tracked files."


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    rest = len(names) - _MOST_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown
