"""Requests, responses, and which function answers which path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azureml_emulator.service import Service

WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)

KINDS = {"": "[^/]+", "path": ".+"}


@dataclass
class Request:
    """One request, as a handler sees it; `parameters` are the named parts of its path."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body as JSON; an empty body is an empty object.

        Raises
        ------
        ApiError
            The body is not JSON (status 400).
        """
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}") from None


@dataclass
class Response:
    """One answer: `content` is sent as it is when bytes, else as JSON."""

    status: int = HTTPStatus.OK
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def payload(self) -> tuple[str, bytes]:
        """Content type and body."""
        if isinstance(self.content, bytes):
            return "application/octet-stream", self.content
        body = b"" if self.content is None else json.dumps(self.content).encode()
        return "application/json; charset=utf-8", body


class ApiError(Exception):
    """An answer other than success, in the form in which Azure writes its errors."""

    def __init__(self, status: int, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code or HTTPStatus(status).phrase.replace(" ", "")

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The answer; azureml-core itself fails on errors without `details`."""
        error = {"code": self.code, "message": str(self), "details": []}
        return Response(self.status, {"error": error}, dict(headers or {}))


def not_found(what: str) -> ApiError:
    """The answer to a request for something that there is not."""
    return ApiError(HTTPStatus.NOT_FOUND, f"{what} was not found.", code="ResourceNotFound")


Handler = Callable[["Service", Request], Response]


class Routes:
    """A table of handlers, filled by the decorator `on`."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def on(self, method: str, template: str) -> Callable[[Handler], Handler]:
        """Let a function answer `method` for paths like `template`.

        `{name}` is one part of a path, `{name:path}` any number of them, and anything else after
        the colon is a regular expression without braces.
        """

        def register(handler: Handler) -> Handler:
            self._routes.append((method, _compile(template), handler))
            return handler

        return register

    def __iter__(self) -> Iterator[tuple[str, re.Pattern[str], Handler]]:
        return iter(self._routes)


class Router:
    """Finds the handler of a request among several tables; the first that fits answers."""

    def __init__(self, *tables: Routes) -> None:
        self._routes = [route for table in tables for route in table]

    def find(self, request: Request) -> Handler:
        """The handler of a request, whose `parameters` are set.

        Raises
        ------
        ApiError
            No handler: status 501, which says what the emulator would have to learn.
        """
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path) if method == request.method else None
            if match:
                request.parameters = match.groupdict()
                return handler
        raise ApiError(
            HTTPStatus.NOT_IMPLEMENTED,
            f"The emulator does not know {request.method} {request.path}",
            code="NotEmulated",
        )


def _compile(template: str) -> re.Pattern[str]:
    # Odd parts are what stands in braces.
    parts = re.split(r"\{([^}]+)\}", template)
    for index in range(1, len(parts), 2):
        name, _, kind = parts[index].partition(":")
        parts[index] = f"(?P<{name}>{KINDS.get(kind, kind)})"
    parts[::2] = map(re.escape, parts[::2])
    # Azure compares the fixed parts of a path without case: one SDK writes resourcegroups.
    return re.compile("".join(parts), re.IGNORECASE)
