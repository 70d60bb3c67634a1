"""The store as a run sees it: renewed, patient, and out of reach once the run ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client import Client, Unavailable
from snakemake_executor_plugin_azureml.client.errors import translated

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

Answer = TypeVar("Answer")

LONGEST_OUTAGE_S = 900.0
_LONGEST_PAUSE_S = 60.0


class EndedError(WorkflowError):
    """The run is being ended: nothing new is begun."""


class CurrentContainer:
    """A container client that is renewed before its signature runs out, and stops with the run.

    Parameters
    ----------
    client
        Opens the container.
    datastore
        Name of the datastore.
    ending
        Once it is set, no further transfer begins.
    """

    def __init__(self, client: Client, datastore: str, ending: threading.Event) -> None:
        self._client = client
        self._datastore = datastore
        self._ending = ending

    def get_blob_client(self, name: str) -> BlobClient:
        """A client of one blob."""
        require_going_on(self._ending)
        return self._client.container(self._datastore).get_blob_client(name)

    def list_blobs(self, **options: Any) -> Iterable[Any]:
        """The blobs of the container."""
        require_going_on(self._ending)
        return self._client.container(self._datastore).list_blobs(**options)


class Background:
    """Runs functions side by side, in threads that a process does not wait for when it exits.

    Those of `ThreadPoolExecutor` would keep a run that is to end from ending for as long as one of
    them waits for a dead connection.

    Parameters
    ----------
    at_once
        Functions that run at a time.
    on_done
        Called after each.
    """

    def __init__(self, at_once: int, on_done: Callable[[], object]) -> None:
        self._slots = threading.Semaphore(at_once)
        self._on_done = on_done

    def begin(self, function: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        """Run a function as soon as there is room; what it returns or raises is in the future."""
        future: Future[Answer] = Future()

        def work() -> None:
            with self._slots:
                try:
                    future.set_result(function(*arguments))
                except BaseException as error:
                    future.set_exception(error)
            self._on_done()

        threading.Thread(target=work, daemon=True).start()
        return future


def require_going_on(ending: threading.Event) -> None:
    """Raise `EndedError` if the run is being ended."""
    if ending.is_set():
        raise EndedError("The run is being ended.")


def insist(action: str, attempt: Callable[[], Answer], ending: threading.Event) -> Answer:
    """Do something with the store, again and again while the store does not answer.

    Parameters
    ----------
    action
        What is done, for messages: "read a result".
    attempt
        Does it.
    ending
        Once it is set, it is not tried again.

    Raises
    ------
    Unavailable
        If there has been no answer for a quarter of an hour.
    """
    waited_s, pause_s = 0.0, 1.0
    while True:
        try:
            with translated(action):
                return attempt()
        except Unavailable as failure:
            wait_s = max(pause_s, failure.retry_after_s)
            if waited_s + wait_s > LONGEST_OUTAGE_S or ending.wait(wait_s):
                raise
            waited_s += wait_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
