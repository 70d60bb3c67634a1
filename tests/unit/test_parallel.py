from __future__ import annotations

import os
import signal

import pytest

from crossfold.errors import CrossfoldError
from crossfold.parallel import map_subjects


def square(number: int) -> int:
    return number**2


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def complain(number: int) -> None:
    raise CrossfoldError(f"{number} is bad", remedy="take another")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_subjects(workers: int) -> None:
    results = map_subjects(square, range(20), workers=workers, title="square")
    assert results == [number**2 for number in range(20)]


def test_nobody_to_work_on() -> None:
    assert map_subjects(square, [], workers=2, title="square") == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_subject_arrives_whole(workers: int) -> None:
    with pytest.raises(CrossfoldError, match="is bad") as raised:
        map_subjects(complain, [7, 8], workers=workers, title="complain")
    assert raised.value.remedy == "take another"


def test_a_killed_process_is_an_error_with_a_remedy() -> None:
    with pytest.raises(CrossfoldError, match="work: a process was killed"):
        map_subjects(die, [1, 2], workers=2, title="work")
