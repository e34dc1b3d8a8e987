# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a link is, measured over pipes of a known speed, and whether a copy over it is compressed."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import link
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteResult,
)

PIECE = 16 * 1024


@dataclass
class Shell:
    """Runs commands here. Their input comes in pieces, with a pause of ``pause`` seconds before each but the first."""

    pause: float = 0.0
    path: str = "/usr/bin:/bin"
    connection: Any = None
    sent: list[int] = field(default_factory=list)

    def run_command(self, command: str, *, data: bytes, **_limits: object) -> RemoteResult:
        self.sent.append(len(data))
        with subprocess.Popen(
            ["/bin/sh", "-c", f"echo Welcome; {command}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": self.path},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for begin in range(0, len(data), PIECE):
                time.sleep(self.pause if begin else 0)
                process.stdin.write(data[begin : begin + PIECE])
                process.stdin.flush()
            process.stdin.close()
            said = process.stdout.read().decode()
        return RemoteResult(process.returncode, said, "")


def ssh_connection(arguments: str, **options: Any) -> Any:
    connection = connection_loader.get("ssh", PlayContext(), None)
    settings = {"host": "192.0.2.1", "control_path_dir": "/nonexistent", "ssh_args": f"-F none {arguments}"}
    connection.set_options(direct={**settings, **options})
    return connection


@pytest.fixture
def coarse(tmp_path: Path) -> str:
    """A search path whose ``date`` knows whole seconds only, as on macOS and with busybox."""
    (tmp_path / "date").write_text("#!/bin/sh\necho 1700000000N\n")
    (tmp_path / "date").chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"


@pytest.mark.parametrize("clock", ["fine", "coarse"])
def test_the_rate_is_that_of_the_input(clock: str, coarse: str) -> None:
    shell = Shell(0.02, coarse if clock == "coarse" else "/usr/bin:/bin")
    rate = link.bytes_per_second(shell)  # type: ignore[arg-type]
    # A busy machine makes it slower, but never faster.
    assert rate is not None
    assert rate <= 1.2 * PIECE / 0.02
    assert shell.sent == [link.PROBE_BYTES + 1]


def test_a_pipe_is_faster_than_a_slow_link() -> None:
    slow = link.bytes_per_second(Shell(0.05))  # type: ignore[arg-type]
    fast = max(link.bytes_per_second(Shell()) or 0 for _try in range(3))  # type: ignore[arg-type]
    assert slow is not None
    assert fast > slow


def test_a_host_that_cannot_measure_tells_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ("", "Welcome\n", "nixferry-nanoseconds=\n", "nixferry-nanoseconds=1e9\n"):
        monkeypatch.setattr(Shell, "run_command", lambda *_a, text=said, **_o: RemoteResult(0, text, ""))
        assert link.bytes_per_second(Shell()) is None  # type: ignore[arg-type]


def test_a_lost_host_tells_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_arguments: object, **_options: object) -> RemoteResult:
        raise HostUnreachable("the link is down", step="copy")  # type: ignore[arg-type]

    monkeypatch.setattr(Shell, "run_command", lose)
    assert link.bytes_per_second(Shell()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "options", "size", "rate", "expected"),
    [
        ("-C", {}, link.LARGE_BYTES, 1e8, False),
        ("-o Compression=yes", {}, link.LARGE_BYTES, 1e8, False),
        ("-C", {}, link.LARGE_BYTES - 1, 1e8, None),
        ("-C", {}, link.LARGE_BYTES, 1.25e6, None),
        ("-C", {}, link.LARGE_BYTES, None, None),
        ("", {}, link.LARGE_BYTES, 1e8, None),
        ("-C", {"password": "x"}, link.LARGE_BYTES, 1e8, None),
    ],
    ids=["flag", "setting", "small", "slow link", "unknown link", "no compression", "password"],
)
def test_only_a_large_copy_over_a_fast_link_gets_a_connection_without_compression(
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    options: dict[str, Any],
    size: int,
    rate: float | None,
    expected: bool | None,
) -> None:
    measured: list[object] = []
    monkeypatch.setattr(link, "bytes_per_second", lambda shell: measured.append(shell) or rate)
    shell = Shell(connection=ssh_connection(arguments, **options))
    assert link.compression_for(shell, size) is expected  # type: ignore[arg-type]
    # What cannot change anything is not measured: that costs a round trip.
    assert bool(measured) == (size == link.LARGE_BYTES and arguments != "" and not options)
