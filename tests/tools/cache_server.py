# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server for tests of binary caches and pointers, on the loopback interface or on a bridge to containers.

It knows GET, HEAD, PUT, POST, and faults on demand.

It keeps files as nginx does with its WebDAV module: PUT answers 201 for a new file and 204 for a replaced one, a file
is replaced when all of it has come, and what is absent is answered with 404.
"""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class CacheServer:
    """What the server keeps, and how it behaves. ``address`` is one of this machine.

    ``faults`` are HTTP statuses by a part of the path. ``stale`` are answers that a proxy in front would give, by path.
    ``login`` is ``user:password``. ``before_answer`` is called with method and path of each request.
    """

    directory: Path
    port: int = 0
    address: str = "127.0.0.1"
    faults: dict[str, int] = field(default_factory=dict)
    stale: dict[str, bytes] = field(default_factory=dict)
    login: str = ""
    takes_put: bool = True
    posted: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    before_answer: Callable[[str, str], None] = lambda _method, _path: None

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def file(self, path: str) -> Path:
        return self.directory / unquote(urlsplit(path).path).lstrip("/")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, kept: CacheServer) -> None:
        self.kept = kept
        super().__init__((kept.address, kept.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._give(self._fault() or self._content())

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.server.kept.posted.append(self._body())
        self._give(self._fault() or b"")

    def do_PUT(self) -> None:
        kept = self.server.kept
        content = self._body()
        fault = self._fault() or (0 if kept.takes_put else 405)
        if fault:
            self._give(fault)
            return
        file = kept.file(self.path)
        existed = file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{threading.get_ident()}")
        temporary.write_bytes(content)
        temporary.replace(file)
        self._give(204 if existed else 201)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _fault(self) -> int:
        kept = self.server.kept
        kept.requests.append(f"{self.command} {self.path}")
        kept.before_answer(self.command, self.path)
        if kept.login:
            expected = "Basic " + base64.b64encode(kept.login.encode()).decode()
            if self.headers.get("Authorization") != expected:
                return 401
        return next((status for part, status in kept.faults.items() if part in self.path), 0)

    def _content(self) -> bytes | int:
        kept = self.server.kept
        if self.path in kept.stale:
            return kept.stale[self.path]
        try:
            return kept.file(self.path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return 404

    def _give(self, answer: bytes | int) -> None:
        body = answer if isinstance(answer, bytes) else b""
        self.send_response(200 if isinstance(answer, bytes) else answer)
        self.send_header("Content-Length", str(len(body)))
        if answer == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="cache"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *_arguments: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serving(directory: Path, **behaviour: object) -> Iterator[CacheServer]:
    """Serve a directory on a free port of the loopback interface until the block ends."""
    kept = CacheServer(directory, **behaviour)  # type: ignore[arg-type]
    server = _Server(kept)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
