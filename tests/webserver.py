"""A web server on this machine that breaks off, lies and redirects as a test asks it to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Site:
    """What the server has and how it behaves; set between two requests, read afterwards.

    Attributes
    ----------
    files : dict
        Content by path.
    types : dict
        Content type by path, where it is not that of a plain file.
    breaks : list of int
        For the next requests, in order: bytes of the body after which the connection is cut.
    answers : list of (int, dict)
        For the next requests, in order: a status, and headers, instead of the file.
    redirects : dict
        Address by path.
    headers : dict
        More headers of every answer with a file; a value of None leaves a header out.
    requests : list of (str, str, dict)
        What was asked: method, path, headers in lower case.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.breaks: list[int] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, str | None] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        asked = {key.lower(): value for key, value in self.headers.items()}
        site.requests.append((self.command, self.path, asked))
        if site.answers:
            status, headers = site.answers.pop(0)
            return self._send(status, headers)
        if self.path in site.redirects:
            return self._send(302, {"Location": site.redirects[self.path]})
        if self.path not in site.files:
            return self._send(404, {})
        body = site.files[self.path]
        headers = {"Content-Type": site.types.get(self.path, "application/octet-stream")}
        headers["Content-Length"] = str(len(body))
        headers = {k: v for k, v in (headers | site.headers).items() if v is not None}
        self._send(200, headers, body)

    do_CONNECT = do_GET

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            if body and self.site.breaks:
                body = body[: self.site.breaks.pop(0)]
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    """Serve on a free port for the length of a block."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
