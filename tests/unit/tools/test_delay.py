# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What passes the long way to a host is what was sent, and it comes no sooner than it should."""

from __future__ import annotations

import socket
import threading
import time

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
