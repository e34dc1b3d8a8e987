# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container engines that say who they are and nothing else: engines.py SOCKET=OPERATING-SYSTEM... [tcp=...]

A socket after which nothing follows is one that its engine has left behind. The port of tcp goes to /mac/port; the file
/mac/ready appears once all of them answer.
"""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import sys
import threading
from pathlib import Path


class Engine(http.server.BaseHTTPRequestHandler):
    """The two questions that Docker's client asks."""

    operating_system = ""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        answers = {
            "version": {"Version": "27.3.1", "ApiVersion": "1.47", "MinAPIVersion": "1.24"},
            "info": {"OperatingSystem": self.operating_system, "Name": "vm", "Architecture": "aarch64"},
        }
        if self.operating_system == "fedora":
            answers["info"]["BuildahVersion"] = "1.37.5"
        body = json.dumps(answers.get(name, {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nobody reads it."""


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _address = super().get_request()
        return request, ("local", 0)


def main():
    for argument in sys.argv[1:]:
        path, _equals, operating_system = argument.partition("=")
        handler = type("Named", (Engine,), {"operating_system": operating_system})
        if path == "tcp":
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            Path("/mac/port").write_text(str(server.server_address[1]), encoding="utf-8")
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if not operating_system:
                socket.socket(socket.AF_UNIX).bind(path)
                continue
            server = Unix(path, handler)
        threading.Thread(target=server.serve_forever).start()
    Path("/mac/ready").touch()


main()
