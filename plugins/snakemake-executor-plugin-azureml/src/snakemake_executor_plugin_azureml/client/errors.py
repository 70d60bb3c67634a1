"""What can go wrong, in the plugin's own words: the errors of either SDK never leave a backend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.credentials import redact

TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504, 530})
"""HTTP status codes that are worth another try; 530 is Azure Machine Learning's own."""

# By name: neither SDK, nor the libraries that it talks HTTP with, must be imported to compare.
_OUTAGES = frozenset(
    {
        "ChunkedEncodingError",
        "ClientRequestError",
        "ConnectionError",
        "HTTPError",
        "IncompleteReadError",
        "ProtocolError",
        "ServiceRequestError",
        "ServiceResponseError",
        "Timeout",
        "TimeoutError",
    }
)
_AUTHENTICATION = frozenset({"ClientAuthenticationError", "AuthenticationException"})
_UNTRUSTED = frozenset({"SSLCertVerificationError"})
_STATUS_IN_TEXT = re.compile(r"(?:\bCode: |\"status_code\": )(\d{3})\b")


class JobNotFound(WorkflowError):  # noqa: N818 - reads better where it is caught
    """The workspace has no job of this name."""


class Unavailable(WorkflowError):  # noqa: N818
    """The service did not answer or asked to be left alone; the same request may succeed later.

    Attributes
    ----------
    retry_after_s
        How long the service asked to wait; 0 if it did not say.
    unclear
        Whether the request may have been carried out.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0, unclear: bool = True) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.unclear = unclear


class Refused(WorkflowError):  # noqa: N818
    """The service understood a request and refused it.

    Attributes
    ----------
    status
        HTTP status code; 0 if the SDK refused before anything was sent.
    """

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn whatever an SDK raises within into one of the errors above.

    Parameters
    ----------
    action
        What was being done, for the message: "list jobs".

    Raises
    ------
    Unavailable
        If trying again is worthwhile.
    Refused
        Otherwise.
    """
    try:
        yield
    except WorkflowError:
        raise
    except Exception as error:
        # `from None`: the requests in the SDK's traceback carry signatures in their addresses.
        raise translate(error, action) from None


def translate(error: BaseException, action: str) -> Unavailable | Refused:
    """The error of an SDK in the plugin's words; see `translated`."""
    chain = list(_chain(error))
    status = next(filter(None, map(_status, chain)), 0)
    reason = describe(error)
    if status in TRANSIENT_STATUS:
        return Unavailable(
            f"HTTP {status}",
            retry_after_s=next(filter(None, map(_retry_after_s, chain)), 0.0),
            unclear=status != 429,
        )
    if status in {401, 403} or _is_a(error, _AUTHENTICATION):
        remedy = (
            "Log in with `az login` (or set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
            "AZURE_CLIENT_SECRET) as someone with the role AzureML Data Scientist in the workspace."
        )
        return Refused(f"Not allowed to {action}: {reason}\n{remedy}", status=status)
    untrusted = any(_is_a(link, _UNTRUSTED) for link in chain)
    if not status and not untrusted and any(_is_a(link, _OUTAGES) for link in chain):
        return Unavailable(f"{type(error).__name__}: {reason}")
    return Refused(f"Azure Machine Learning refused to {action}: {reason}", status=status)


def describe(error: BaseException) -> str:
    """The message of an error without secrets, whatever state its class is in."""
    lines = [line.strip() for line in redact(_text(error)).splitlines() if line.strip()]
    return " ".join(lines)[:1000] or type(error).__name__


def _text(error: BaseException) -> str:
    """What an error says; empty if it cannot."""
    message = getattr(error, "message", None)
    if isinstance(message, str) and message:
        return message
    try:
        return str(error)
    except Exception:  # azureml-core's ServiceException where the answer has no details
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    waiting, seen = [error], set()
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        context = None if link.__suppress_context__ else link.__context__
        causes = (link.__cause__, context, getattr(link, "inner_exception", None))
        # What the plugin has understood and dealt with already is not a cause of what came after.
        waiting += [
            cause
            for cause in causes
            if isinstance(cause, BaseException) and not isinstance(cause, WorkflowError)
        ]


def _status(error: BaseException) -> int:
    """HTTP status code of an error; 0 if it has none."""
    response = getattr(error, "response", None)
    for source in (error, response):
        status = getattr(source, "status_code", None)
        if isinstance(status, int):
            return status
    # Parts of azureml-core have the status in the text of an exception and nowhere else.
    if "azureml" in type(error).__module__ or type(error) is Exception:
        match = _STATUS_IN_TEXT.search(_text(error))
        return int(match[1]) if match else 0
    return 0


def _retry_after_s(error: BaseException) -> float:
    """Seconds in the header Retry-After; 0 if there is none."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    for name, unit_s in (
        ("retry-after-ms", 0.001),
        ("x-ms-retry-after-ms", 0.001),
        ("Retry-After", 1),
    ):
        try:
            return float(headers.get(name) or "") * unit_s
        except ValueError:
            continue
    return 0.0


def _is_a(error: BaseException, names: frozenset[str]) -> bool:
    """Whether the class of an error, or one that it derives from, is among `names`."""
    return any(base.__name__ in names for base in type(error).__mro__)
