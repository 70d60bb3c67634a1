"""The server of the viewer: this machine only, and nothing but the page and its volumes."""

from __future__ import annotations

import json
import re
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crossfold.errors import CrossfoldError
from crossfold.paper.viewer.study import Study

ADDRESS = "127.0.0.1"
# Any other name in the header is that of a page elsewhere which had itself resolved to this
# machine (DNS rebinding). The port may differ: that is how a tunnel looks.
HOSTS = frozenset({ADDRESS, "localhost", "::1"})

_STATIC = Path(__file__).parent / "static"
_PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/viewer.css": ("viewer.css", "text/css; charset=utf-8"),
    "/viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "/niivue.js": ("niivue-0.69.0.umd.js", "text/javascript; charset=utf-8"),
}
_VOLUME = re.compile(r"/volumes/(\d{1,9})/([a-z]+(?:-\d{1,3})?)\.nii\.gz", re.ASCII)
_HEADERS = {
    "Cache-Control": "no-store",
    # NiiVue brings its font and colour maps as data, and unpacks arrays with WebAssembly.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_server(study: Study, port: int) -> ThreadingHTTPServer:
    """Return a server that listens on 127.0.0.1, ready for `serve_forever`.

    Parameters
    ----------
    study
        What it shows.
    port
        Port to listen on; 0 takes any that is free.

    Raises
    ------
    CrossfoldError
        If the port cannot be had.
    """
    try:
        return ThreadingHTTPServer((ADDRESS, port), partial(_Handler, study))
    except (OSError, OverflowError) as error:
        raise CrossfoldError(
            f"port {port} of this machine cannot be used ({error})",
            remedy="stop what uses it, or choose another with --port; 0 takes any that is free",
        ) from error


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "Crossfold", ""

    def __init__(self, study: Study, *arguments: Any) -> None:
        self.study = study
        super().__init__(*arguments)

    def do_GET(self) -> None:  # named by http.server
        """Answer with a page, the list of subjects or a volume."""
        try:
            self._answer()
        except ConnectionError:  # the reader went on to another subject
            self.close_connection = True

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing: the terminal belongs to the user."""

    def _answer(self) -> None:
        if not self._is_for_this_machine():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"open this page as localhost")
            return
        path = urlsplit(self.path).path
        if path in _PAGES:
            name, kind = _PAGES[path]
            self._send(HTTPStatus.OK, (_STATIC / name).read_bytes(), kind)
        elif path == "/subjects.json":
            listing = json.dumps(self.study.listing, allow_nan=False)
            self._send(HTTPStatus.OK, listing.encode(), "application/json")
        elif volume := _VOLUME.fullmatch(path):
            self._send_volume(int(volume[1]), volume[2])
        else:
            self._send(HTTPStatus.NOT_FOUND, b"there is no such page")

    def _is_for_this_machine(self) -> bool:
        try:
            return urlsplit(f"//{self.headers['Host']}").hostname in HOSTS
        except ValueError:
            return False

    def _send_volume(self, position: int, name: str) -> None:
        try:
            content = self.study.volume(position, name)
        except LookupError as error:
            self._send(HTTPStatus.NOT_FOUND, str(error.args[0]).encode())
        except CrossfoldError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode())
        else:
            self._send(HTTPStatus.OK, content, "application/octet-stream")

    def _send(
        self, status: HTTPStatus, content: bytes, kind: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
