"""The HTTPS server: reads requests, meets faults, asks the router, records."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from azureml_emulator.faults import Fault, Faults
from azureml_emulator.recording import Recorder, Stopwatch, readable_body
from azureml_emulator.routing import ApiError, Request, Response

LOOPBACK = "127.0.0.1"


class HttpsServer(ThreadingHTTPServer):
    """A server on loopback with a thread per connection; port 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext, port: int = 0
    ) -> None:
        super().__init__((LOOPBACK, port), handler)
        # The handshake happens in the connection's own thread: one that is slow holds up no other.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where the server listens; by name, since clients check the certificate's."""
        return f"https://localhost:{self.server_port}"

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the socket."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that hang up; say anything else."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError, TimeoutError)):
            super().handle_error(request, client_address)


class Connection(BaseHTTPRequestHandler):
    """What the connections of both servers share: faults, records, reading of bodies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # header and body leave in one packet
    service = ""
    faults: Faults
    recorder: Recorder

    def log_message(self, *_arguments: object) -> None:
        """Nothing: requests.jsonl has it all."""

    def answer(self) -> None:
        """Meet the fault that waits for this request, if any, then `respond`."""
        path, _, query = self.path.partition("?")
        path = urllib.parse.unquote(path).replace("//", "/")
        watch = Stopwatch(
            self.service, self.command, path, query, self.headers.get("Authorization", "")
        )
        fault = self.faults.take_request(self.service, self.command, path)
        if fault and fault.kind == "delay":
            time.sleep(fault.seconds)
        elif fault and not fault.after:
            body = self.read_body()
            self.fail(watch, fault, len(body), readable_body(dict(self.headers), body))
            return
        self.respond(watch, fault)

    def respond(self, watch: Stopwatch, fault: Fault | None) -> None:
        """Answer a request; to be overridden."""
        raise NotImplementedError

    def read_body(self) -> bytes:
        """The whole body, be its length given or sent in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def send(self, response: Response) -> None:
        """Send an answer."""
        content_type, body = response.payload()
        self.send_response(response.status)
        self.send_header("Content-Type", content_type)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drop(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may have been quicker
            self.connection.shutdown(socket.SHUT_RDWR)

    def fail(self, watch: Stopwatch, fault: Fault, size: int, body: Any = None) -> None:
        """Answer, or hang up, as a fault wants it."""
        self.recorder.add(watch.stop(fault.answer, request_bytes=size, fault=fault.kind, body=body))
        if fault.kind == "drop":
            self.drop()
        elif fault.kind == "throttle":
            error = ApiError(fault.answer, "Too many requests: slow down.")
            self.send(error.response({"Retry-After": f"{fault.retry_after_s:g}"}))
        else:
            error = ApiError(fault.answer, "The emulator was told to fail.", code="Told")
            self.send(error.response())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815


class ApiConnection(Connection):
    """A connection to the API; `dispatch` answers its requests."""

    service = "api"
    dispatch: Callable[[Request], Response]

    def respond(self, watch: Stopwatch, fault: Fault | None) -> None:
        """Read the request, let it be answered, record it."""
        request = Request(
            method=self.command,
            path=watch.path,
            # Azure writes some names of parameters with a dollar sign and some without.
            query={name.lstrip("$"): text for name, text in urllib.parse.parse_qsl(watch.query)},
            headers=dict(self.headers),
            body=self.read_body(),
        )
        response = self._safely(request)
        body = readable_body(request.headers, request.body)
        if fault and fault.after:
            self.fail(watch, fault, len(request.body), body)
            return
        # Recorded before it is sent: who has the answer finds it in the record.
        self.recorder.add(
            watch.stop(
                response.status,
                request_bytes=len(request.body),
                response_bytes=len(response.payload()[1]),
                fault=fault.kind if fault else "",
                body=body,
            )
        )
        self.send(response)

    def _safely(self, request: Request) -> Response:
        try:
            return type(self).dispatch(request)
        except ApiError as error:
            return error.response()
        except Exception as error:  # a defect of the emulator: it shall be seen, and not hang
            traceback.print_exc()
            message = f"Defect of the emulator: {error!r}"
            # Not 500: the SDKs would ask again and again.
            return ApiError(HTTPStatus.NOT_IMPLEMENTED, message, code="Defect").response()
