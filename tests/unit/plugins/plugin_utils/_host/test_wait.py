# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that never end their answer, as a connection plugin that only reads would see them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host import connection as _connection
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host import input_file as _input_file
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host import wait as _wait
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.wait import WaitEnded, bounded_wait

PATIENCE = 30


class Action:
    """Runs ``program`` instead of what it is asked to, and keeps all of its output, like Ansible's plugins."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.children: list[subprocess.Popen[bytes]] = []
        self._connection = self
        self.become = None
        self.has_pipelining = True
        self.transport = "ssh"

    def put_file(self, _local: str, _remote: str) -> None:
        pass

    def _low_level_execute_command(self, command: str, **_options: Any) -> dict[str, Any]:
        child = subprocess.Popen(["/bin/sh", "-c", self.program, command], stdout=subprocess.PIPE)
        self.children.append(child)
        assert child.stdout is not None
        output = []
        while chunk := os.read(child.stdout.fileno(), 1 << 20):
            output.append(chunk)
        return {"rc": child.wait(), "stdout": b"".join(output).decode(), "stderr": ""}


@pytest.fixture(autouse=True)
def no_alarm() -> Iterator[None]:
    """The alarm is that of the process: none may be left."""
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def shell_of(action: Action) -> RemoteShell:
    return RemoteShell(action, "web1")  # type: ignore[arg-type]


def test_a_host_that_never_answers_is_given_up_and_its_connection_ends() -> None:
    action = Action("exec sleep 600")
    begin = time.monotonic()
    with pytest.raises(HostUnreachable, match="has not ended its answer after 1 s") as caught:
        shell_of(action).run("exit 0", step="probe", seconds=1)
    assert time.monotonic() - begin < PATIENCE
    assert action.children[0].wait(timeout=PATIENCE) == -signal.SIGKILL
    assert caught.value.remedy


def test_output_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wait, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(
        _connection, "bounded_wait", lambda seconds: bounded_wait(seconds, memory=32 * 1024 * 1024)
    )
    action = Action("exec yes endless")
    with pytest.raises(NixferryError, match="its output does not end"):
        shell_of(action).run("exit 0", step="probe", seconds=PATIENCE)
    assert action.children[0].wait(timeout=PATIENCE) == -signal.SIGKILL


def test_more_output_than_a_script_has_is_an_error() -> None:
    action = Action("head -c 2000 /dev/zero | tr '\\0' x")
    assert len(shell_of(action).run("exit 0", step="probe", most=2000).stdout) == 2000
    with pytest.raises(NixferryError, match="more than it was asked for"):
        shell_of(action).run("exit 0", step="probe", most=1999)


def test_what_a_host_prints_is_cleaned() -> None:
    action = Action("printf 'one\\r\\n\\033[31mtwo\\302\\233mthree\\007'")
    assert shell_of(action).run("exit 0", step="probe").stdout == "one\ntwothree"


def test_an_answer_in_time_is_left_alone() -> None:
    with bounded_wait(PATIENCE):
        time.sleep(0.01)
    with bounded_wait(None):
        subprocess.run(["true"], check=True)


def test_the_timeout_of_the_task_still_ends_it() -> None:
    """Ansible's own alarm, which begins before the action does."""

    class TaskTimeout(BaseException):
        pass

    def end(_number: int, _frame: object) -> None:
        raise TaskTimeout

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(TaskTimeout), bounded_wait(PATIENCE):
            time.sleep(PATIENCE)
        # An answer in time leaves the rest of it.
        signal.setitimer(signal.ITIMER_REAL, 600)
        with bounded_wait(PATIENCE):
            time.sleep(0.01)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 600
        assert signal.getsignal(signal.SIGALRM) is end
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_wait_within_another_ends_first() -> None:
    begin = time.monotonic()
    with bounded_wait(PATIENCE):
        with pytest.raises(WaitEnded), bounded_wait(1):
            time.sleep(PATIENCE)
        with bounded_wait(PATIENCE):
            time.sleep(0.01)
    assert 1 <= time.monotonic() - begin < PATIENCE
    with pytest.raises(WaitEnded), bounded_wait(2), bounded_wait(PATIENCE):
        time.sleep(PATIENCE)


def test_to_clean_up_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without standard input is given a file, which is removed over the same connection."""
    monkeypatch.setattr(_input_file, "CLEAN_UP_SECONDS", 1)
    action = Action('case $0 in "umask "*) ;; *) exec sleep 600 ;; esac')
    action.has_pipelining = False
    begin = time.monotonic()
    with pytest.raises(HostUnreachable, match="has not ended its answer after 1 s"):
        shell_of(action).run("exit 0", step="probe", seconds=1)
    assert time.monotonic() - begin < PATIENCE
    assert len(action.children) == 3


def test_no_plugin_takes_the_end_of_the_wait_for_a_failure_to_try_again() -> None:
    assert not issubclass(WaitEnded, Exception)
