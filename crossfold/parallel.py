"""Subjects side by side, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sized
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Protocol, TypeVar

from tqdm import tqdm

from crossfold.errors import CrossfoldError

Result = TypeVar("Result", covariant=True)


class SizedIterable(Sized, Iterable, Protocol):
    """What can be counted before it is walked through."""


def map_subjects(
    function: Callable[..., Result],
    *arguments: SizedIterable,
    workers: int,
    title: str,
    unit: str = "subject",
) -> list[Result]:
    """Call a function for every subject, in processes of their own; results keep the order.

    A progress bar is drawn on a terminal, and in no file.

    Parameters
    ----------
    function
        Has to be picklable; must not use threads or a GPU, since processes are forked.
    arguments
        Iterables as for `map`.
    workers
        Number of processes; with 1 everything happens in this one.
    title, unit
        Of the progress bar.

    Raises
    ------
    CrossfoldError
        If a process was killed.
    """
    total = len(arguments[0])
    workers = min(workers, total)
    bar = partial(tqdm, total=total, desc=title, unit=unit, disable=None)
    if workers <= 1:
        return list(bar(map(function, *arguments)))
    # Forked, because Snakemake's scripts have no main guard that spawned processes would need.
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(workers, context) as pool:
            results = pool.map(function, *arguments, chunksize=max(1, total // (workers * 16)))
            return list(bar(results))
    except BrokenProcessPool as error:
        raise CrossfoldError(
            f"{title}: a process was killed, probably for want of memory",
            remedy="give the step fewer threads (--set-threads) or more memory",
        ) from error


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
