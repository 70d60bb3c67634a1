"""HTTPS in front of Azurite, which records and can fail: what clients take for the blob storage."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from azureml_emulator.azurite import ACCOUNT
from azureml_emulator.faults import Fault
from azureml_emulator.recording import Stopwatch
from azureml_emulator.server import Connection

CHUNK_BYTES = 1 << 18
# Headers that concern one connection and not the request.
OWN_HEADERS = {"connection", "expect", "host", "keep-alive", "transfer-encoding", "authorization"}


class BlobConnection(Connection):
    """A connection of a client, and the one to Azurite that goes with it.

    A bearer token, which Azurite could check only with a certificate of its own, is accepted
    whatever it is: the request goes on with a signature of the emulator's.
    """

    service = "blob"
    upstream_url = ""
    sas = ""

    def setup(self) -> None:
        """Prepare the connection to Azurite."""
        super().setup()
        self._upstream = http.client.HTTPConnection(urlsplit(self.upstream_url).netloc)

    def respond(self, watch: Stopwatch, fault: Fault | None) -> None:
        """Pass a request on and its answer back."""
        size = int(self.headers.get("Content-Length") or 0)
        try:
            response = self._ask_upstream(size)
            if fault and fault.after:
                response.read()
                self.fail(watch, fault, size)
            else:
                self._pass_back(response, watch, size, fault.kind if fault else "")
        finally:
            # Azurite closes idle connections after seconds: a kept one would fail some requests.
            self._upstream.close()

    def _ask_upstream(self, size: int) -> http.client.HTTPResponse:
        is_chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        body = self.read_body() if is_chunked else None
        self._upstream.putrequest(
            self.command, self._target(), skip_host=True, skip_accept_encoding=True
        )
        self._upstream.putheader("Host", urlsplit(self.upstream_url).netloc)
        for name, value in self.headers.items():
            if name.lower() not in OWN_HEADERS:
                self._upstream.putheader(name, value)
        authorization = self.headers.get("Authorization", "")
        if authorization.startswith("SharedKey"):
            self._upstream.putheader("Authorization", authorization)
        if body is not None:
            self._upstream.putheader("Content-Length", str(len(body)))
        self._upstream.endheaders()
        for chunk in [body] if body is not None else self._read_chunks(size):
            self._upstream.send(chunk)
        return self._upstream.getresponse()

    def _target(self) -> str:
        path, _, query = self.path.partition("?")
        if not re.match(rf"/{ACCOUNT}(/|$)", path):
            path = f"/{ACCOUNT}{path}"
        if self.headers.get("Authorization", "").startswith("Bearer") and "sig=" not in query:
            query = f"{query}&{self.sas}" if query else self.sas
        return f"{path}?{query}" if query else path

    def _read_chunks(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self.rfile.read(min(size, CHUNK_BYTES))
            if not chunk:
                raise ConnectionError("The client hung up in the middle of a body")
            size -= len(chunk)
            yield chunk

    def _pass_back(
        self, response: http.client.HTTPResponse, watch: Stopwatch, size: int, fault: str
    ) -> None:
        length = response.getheader("Content-Length")
        # Azurite sends lists in pieces of unknown number.
        body = response.read() if length is None else None
        response_bytes = len(body) if body is not None else int(length or 0)
        is_head = self.command == "HEAD"
        self.recorder.add(
            watch.stop(
                response.status,
                request_bytes=size,
                response_bytes=0 if is_head else response_bytes,
                fault=fault,
            )
        )
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in OWN_HEADERS:
                self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)
        while chunk := response.read(CHUNK_BYTES):
            self.wfile.write(chunk)
