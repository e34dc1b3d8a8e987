# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What passes the long way to a host is what was sent, and it comes no sooner than it should."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from benchmarks.delay import FAR, NEAR, delayed

ROUND_TRIP = 0.05  # seconds
DEADLINE = 30  # seconds for one answer
DATA = bytes(range(256)) * 4096


def echo(server: socket.socket) -> None:
    connection, _address = server.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def test_bytes_arrive_later_and_whole() -> None:
    with socket.create_server((NEAR, 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with delayed([port], ROUND_TRIP * 1000) as address:
            assert address == FAR
            start = time.monotonic()
            with socket.create_connection((address, port), timeout=DEADLINE) as connection:
                threading.Thread(target=connection.sendall, args=(DATA,), daemon=True).start()
                received = bytearray()
                while len(received) < len(DATA):
                    received += connection.recv(65536)
                # One to open the connection, one for the answer.
                assert time.monotonic() - start >= 2 * ROUND_TRIP
                assert bytes(received) == DATA
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b""


def test_no_delay_is_no_detour() -> None:
    with delayed([1], 0) as address:
        assert address == NEAR


# What the program forgets is gone at once, not at some later time.
COLLECT = """
import gc, threading, time

def collect():
    while True:
        time.sleep(0.005)
        gc.collect()

threading.Thread(target=collect, daemon=True).start()
"""


def answer_late(server: socket.socket) -> None:
    connection, _address = server.accept()
    with connection:
        while connection.recv(65536):
            pass
        time.sleep(10 * ROUND_TRIP)  # the host works
        connection.sendall(DATA)


def test_an_answer_arrives_at_a_client_that_says_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(COLLECT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with socket.create_server((NEAR, 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=answer_late, args=(server,), daemon=True).start()
        with (
            delayed([port], ROUND_TRIP * 1000) as address,
            socket.create_connection((address, port), timeout=DEADLINE) as client,
        ):
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            received = bytearray()
            while data := client.recv(65536):
                received += data
            assert bytes(received) == DATA
