"""What was asked, when and with what answer: requests.jsonl."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RecordedRequest:
    """One request; `service` is "api" or "blob", `body` JSON or text or its size if binary.

    `seconds` is the time until the answer was ready, `fault` the kind of fault it met, if any. Of
    the Authorization header only the scheme is kept, and signatures of storage URLs are cut out, so
    that a search of this record for a secret finds only secrets that have no business in a request.
    """

    time: float
    service: str
    method: str
    path: str
    query: str
    status: int
    seconds: float
    request_bytes: int
    response_bytes: int
    authorization: str
    fault: str
    body: Any


class Recorder:
    """Keeps the requests in memory and in a file of one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []

    def add(self, request: RecordedRequest) -> None:
        """Record one request."""
        with self._lock:
            self._requests.append(request)
            if not self._file.closed:
                self._file.write(json.dumps(asdict(request)) + "\n")

    def find(self, *, method: str = "", path: str = "", service: str = "") -> list[RecordedRequest]:
        """The requests so far, oldest first; `path` is a regular expression to be found in it."""
        with self._lock:
            requests = list(self._requests)
        return [
            request
            for request in requests
            if method in ("", request.method)
            and service in ("", request.service)
            and re.search(path, request.path)
        ]

    def clear(self) -> None:
        """Forget the requests so far; the file keeps them."""
        with self._lock:
            self._requests.clear()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


@dataclass
class Stopwatch:
    """What of a record is known when the request arrives."""

    service: str
    method: str
    path: str
    query: str
    authorization: str

    def __post_init__(self) -> None:
        self._time = time.time()
        self._start = time.perf_counter()

    def stop(
        self,
        status: int,
        *,
        request_bytes: int,
        response_bytes: int = 0,
        fault: str = "",
        body: Any = None,
    ) -> RecordedRequest:
        """The record of the request, now that its answer is ready."""
        return RecordedRequest(
            time=self._time,
            service=self.service,
            method=self.method,
            path=self.path,
            query=re.sub(r"(?<=sig=)[^&]+", "…", self.query),
            status=int(status),
            seconds=time.perf_counter() - self._start,
            request_bytes=request_bytes,
            response_bytes=response_bytes,
            authorization=self.authorization.partition(" ")[0],
            fault=fault,
            body=body,
        )


def readable_body(headers: Mapping[str, str], body: bytes) -> Any:
    """A body as JSON or text; of a binary one, its size."""
    if not body:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"<{len(body)} bytes>"
    if "json" in headers.get("Content-Type", ""):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
