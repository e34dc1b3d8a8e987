# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of Ansible's programs in children of a process that has imported Ansible: see ansible_server.py.

NIXFERRY_TEST_REAL_PROCESS=1 starts the programs themselves, and in `make test` the tests do that have their turn. Tests
of processes, signals and start-up do so anyway: they take the command line from `Project.prepare`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import choose
from lab import PATIENCE

SERVER = Path(__file__).with_name("ansible_server.py")
REAL_PROCESS = "NIXFERRY_TEST_REAL_PROCESS"
PROGRAMS = ("ansible-playbook", "ansible-inventory")
# What the server's Ansible is set to, and so what most runs may have without being started afresh.
SETTINGS = ("host_key_checking = True", "[ssh_connection]", "pipelining = True")
# One test of so many starts the programs themselves when a part of the matrix is chosen.
TURNS = 10
STOP_DEADLINE = 20  # seconds until the server must have killed a run, or ended


class AnsibleServer:
    """The client's side of one server."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: what runs will have beside that of this process."""
        self._directory = tempfile.TemporaryDirectory(prefix="nixferry-ansible-")
        configuration = Path(self._directory.name, "ansible.cfg")
        configuration.write_text("\n".join(("[defaults]", *SETTINGS)) + "\n")
        self._log = Path(self._directory.name, "log")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, self._log.open("wb") as log:
            # An address without a file, which the system chooses.
            listener.bind("")
            listener.listen()
            self._address: bytes = listener.getsockname()
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(listener.fileno()), self._directory.name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                env={**os.environ, **environment, "ANSIBLE_CONFIG": str(configuration)},
                start_new_session=True,
            )

    def run(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with exactly this environment, as `subprocess.run` does; its input is empty."""
        deadline = time.monotonic() + timeout
        request = {"argv": [*argv], "environment": {**environment}, "directory": str(directory)}
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
            contextlib.ExitStack() as open_files,
        ):
            connection.connect(self._address)
            pipes = [os.pipe() for _name in ("output", "error")]
            readers = [open_files.enter_context(open(reader, "rb", buffering=0)) for reader, _writer in pipes]
            message = json.dumps(request).encode() + b"\n"
            writers = [writer for _reader, writer in pipes]
            try:
                sent = socket.send_fds(connection, [message], writers)
                connection.sendall(message[sent:])
            finally:
                for writer in writers:
                    os.close(writer)
            texts = {reader.fileno(): bytearray() for reader in readers}
            status = bytearray()
            with selectors.DefaultSelector() as selector:
                for reader in readers:
                    selector.register(reader, selectors.EVENT_READ, texts[reader.fileno()])
                selector.register(connection, selectors.EVENT_READ, status)
                while selector.get_map():
                    left = deadline - time.monotonic()
                    for key, _events in selector.select(max(left, 0)):
                        data = b""
                        # A server that has died has reset the connection.
                        with contextlib.suppress(ConnectionResetError):
                            data = os.read(key.fd, 65536)
                        key.data.extend(data)
                        if not data:
                            selector.unregister(key.fileobj)
                    if left < 0:
                        self._kill(connection)
                        output, error = (_text(each) for each in texts.values())
                        raise subprocess.TimeoutExpired([*argv], timeout, output, error)
        assert status, f"the server of Ansible ended\n{self._log.read_text(errors='replace')}"
        output, error = (_text(each) for each in texts.values())
        return subprocess.CompletedProcess([*argv], int(status), output, error)

    @staticmethod
    def _kill(connection: socket.socket) -> None:
        """Have the run killed, and wait until it is."""
        connection.settimeout(STOP_DEADLINE)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(64):
                pass

    def stop(self) -> None:
        """End the server, and with it what it still runs."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=STOP_DEADLINE)
        self._directory.cleanup()


def _text(data: bytearray) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n")


_servers: dict[tuple[tuple[str, str], ...], AnsibleServer] = {}
_lock = threading.Lock()


def _server(session: Mapping[str, str]) -> AnsibleServer:
    """The server of this process for runs with these settings."""
    key = tuple(sorted(session.items()))
    with _lock:
        if key not in _servers:
            _servers[key] = AnsibleServer(session)
            atexit.register(_servers[key].stop)
        return _servers[key]


def served(argv: Sequence[str]) -> bool:
    """Whether a command line is one that a child of the server runs."""
    program = Path(argv[0])
    return (
        program.name in PROGRAMS
        and program.parent == Path(sys.executable).parent
        and os.environ.get(REAL_PROCESS) != "1"
        and not _is_turn_of_real_process()
    )


def _is_turn_of_real_process() -> bool:
    # A variable of pytest's: the test's name, and whether it is being set up.
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return not choose.everything() and choose.has_its_turn(f"a real process for {test}", TURNS)


def run_program(
    argv: Sequence[str],
    *,
    session: Mapping[str, str],
    environment: Mapping[str, str],
    directory: Path,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible's, with `environment` beside that of this process, whatever its exit status.

    `session` is the part of the environment that all runs have.
    """
    complete = {**os.environ, **environment}
    if served(argv):
        server = _server(session)
        return server.run(argv, environment=complete, directory=directory, timeout=timeout * PATIENCE)
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
        timeout=timeout * PATIENCE,
        env=complete,
        cwd=directory,
    )
