"""Serve a page on 127.0.0.1:8765, in place of the version that ran before."""

from __future__ import annotations

import fcntl
import http.server
import os
import pathlib
import signal
import sys
import time

PAGE = pathlib.Path("@page@")
STATE = pathlib.Path.home() / ".local/state/example-service"
STOP_DEADLINE = 5  # seconds until the version before must have ended


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer every request with the page."""

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE.read_bytes())


STATE.parent.mkdir(parents=True, exist_ok=True)
state = STATE.open("a+")
deadline = time.monotonic() + STOP_DEADLINE
while True:
    # A running version holds the lock, so the number in the file is that of its process and of no other.
    try:
        fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        if time.monotonic() > deadline:
            sys.exit(f"the version before did not end within {STOP_DEADLINE} s")
        state.seek(0)
        number = state.read()
        if number:
            os.kill(int(number), signal.SIGTERM)
        time.sleep(0.1)

server = http.server.HTTPServer(("127.0.0.1", 8765), Handler)
if os.fork() == 0:
    os.setsid()
    state.truncate(0)
    state.write(str(os.getpid()))
    state.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    server.serve_forever()
