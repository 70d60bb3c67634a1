"""What a user wants to hear about a job that is not done yet."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from snakemake_executor_plugin_azureml.jobs import WAITING, JobInfo


class Sayer(logging.LoggerAdapter[logging.Logger]):
    """Snakemake's logger, as it prints a message without putting its arguments in."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message with its arguments in it."""
        super().log(level, str(msg) % args if args else msg, **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave everything as it is."""
        return msg, kwargs


@dataclass(kw_only=True)
class Watch:
    """Notices what is worth saying about one job, and says it once.

    Attributes
    ----------
    patience_s
        How long a job may wait for a node before that is said; said again after as long.
    waiting_since
        When it began to wait, by the clock that `notice` is told.
    """

    patience_s: float
    waiting_since: float
    _has_run: bool = False
    _is_waiting: bool = True
    _times_said: int = 0

    def notice(self, info: JobInfo, now: float) -> str:
        """What to say about a job that has just been asked for; empty if there is nothing new.

        Parameters
        ----------
        info
            The job.
        now
            Seconds on a clock that never goes back.
        """
        was_waiting, self._is_waiting = self._is_waiting, info.status in WAITING
        if not self._is_waiting:
            self._has_run = self._has_run or info.status == "Running"
            return ""
        if not was_waiting:
            self.waiting_since, self._times_said = now, 0
            if self._has_run:
                return (
                    f"{info.name} has lost its node and waits for another (it is {info.status}): "
                    f"{info.url}"
                )
        waited_s = now - self.waiting_since
        if waited_s < self.patience_s * (self._times_said + 1):
            return ""
        self._times_said = int(waited_s // self.patience_s) if self.patience_s else 1
        return (
            f"{info.name} has been waiting for a node for {waited_s / 60:.0f} min (it is "
            f"{info.status}). Is its compute full, paused, or without quota? See {info.url}"
        )
