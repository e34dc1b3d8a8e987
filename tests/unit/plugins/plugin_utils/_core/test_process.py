# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core import process as _nix_process
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.memory import peak_memory_mib
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.parent import ParentWatch
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.process import Command, Outcome, run_all

# Seconds that anything in these tests may take before it counts as hanging.
PATIENCE_SECONDS = 20.0
LONG = "600"


def shell(script: str, *arguments: str, seconds: float = PATIENCE_SECONDS, **given: object) -> Command:
    return Command(
        argv=("/bin/sh", "-c", script, "sh", *arguments),
        environment=dict(os.environ),
        deadline=time.monotonic() + seconds,
        **given,  # type: ignore[arg-type]
    )


def run(*commands: Command, parallel: int = 1) -> tuple[list[Outcome], list[tuple[int, str]]]:
    lines: list[tuple[int, str]] = []
    outcomes = run_all(commands, parallel=parallel, on_line=lambda index, line: lines.append((index, line)))
    return outcomes, lines


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE_SECONDS} seconds"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has ended but was not waited for does not count."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def has_pid(file: Path) -> bool:
    """Whether a child has written its number, which is a moment after it has made the file."""
    return file.exists() and file.read_text().strip().isdigit()


def read_pid(file: Path) -> int:
    wait_until(lambda: has_pid(file), f"the start of {file.name}")
    return int(file.read_text())


def test_output_lines_and_exit_code() -> None:
    outcomes, lines = run(shell("printf out; printf 'one\\ntwo\\r\\nlast' >&2; exit 3"))
    assert outcomes == [Outcome(return_code=3, stdout=b"out", timed_out=False)]
    assert lines == [(0, "one"), (0, "two"), (0, "last")]


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    _outcomes, lines = run(shell("printf 'a\\377b\\n' >&2"))
    assert lines == [(0, "a\ufffdb")]


def test_a_line_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nix passes on what another machine prints."""
    monkeypatch.setattr(_nix_process, "LINE_BYTES", 1000)
    _outcomes, lines = run(
        shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo next >&2; printf last >&2")
    )
    assert lines == [(0, "x" * 1000), (0, "next"), (0, "last")]


def test_large_input_and_output_at_once() -> None:
    data = os.urandom(3 * 1024 * 1024)
    outcomes, _lines = run(shell("cat", input=data))
    assert outcomes[0].stdout == data


def test_a_child_that_does_not_read_its_input_is_no_error() -> None:
    outcomes, _lines = run(shell("exec 0<&-; exit 4", input=b"x" * 1_000_000))
    assert outcomes[0].return_code == 4


def test_without_input_there_is_nothing_to_read() -> None:
    outcomes, _lines = run(shell("cat"))
    assert outcomes[0] == Outcome(0, b"", timed_out=False)


def test_output_can_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        outcomes, _lines = run(shell("echo binary", output=file))
    assert outcomes[0].stdout == b""
    assert (tmp_path / "out").read_text() == "binary\n"


def test_outcomes_come_in_the_order_of_the_commands() -> None:
    commands = [shell(f"sleep 0.{4 - number}; echo {number}; exit {number}") for number in range(3)]
    outcomes, _lines = run(*commands, parallel=3)
    assert [(each.return_code, each.stdout) for each in outcomes] == [(0, b"0\n"), (1, b"1\n"), (2, b"2\n")]


def test_not_more_than_the_given_number_run_at_once(tmp_path: Path) -> None:
    script = 'touch "$1/$2"; ls "$1" | wc -l; sleep 0.1; rm "$1/$2"'
    commands = [shell(script, str(tmp_path), str(number)) for number in range(5)]
    outcomes, _lines = run(*commands, parallel=2)
    at_once = [int(each.stdout) for each in outcomes]
    assert max(at_once) == 2


def test_a_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    begin = time.monotonic()
    outcomes, _lines = run(shell(f'sleep {LONG} & echo $! >"$1"; wait', str(file), seconds=0.5))
    assert outcomes[0].timed_out
    assert outcomes[0].return_code == -signal.SIGTERM
    assert time.monotonic() - begin < PATIENCE_SECONDS
    wait_until(lambda: not is_running(read_pid(file)), "the end of the grandchild")


def test_a_child_that_ignores_the_polite_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_nix_process, "TERMINATION_GRACE_SECONDS", 0.3)
    script = f"trap '' TERM; while :; do sleep {LONG} & wait; done"
    outcomes, _lines = run(shell(script, seconds=0.5))
    assert outcomes[0].timed_out
    assert outcomes[0].return_code == -signal.SIGKILL


def test_a_child_that_has_much_to_say_at_its_end_is_not_held_up() -> None:
    # More than a pipe takes, so that it can only end when it is read.
    script = f"trap 'head -c 1000000 /dev/zero >&2; exit 7' TERM; sleep {LONG} & wait"
    begin = time.monotonic()
    outcomes, _lines = run(shell(script, seconds=0.5))
    assert outcomes[0].return_code == 7
    assert time.monotonic() - begin < _nix_process.TERMINATION_GRACE_SECONDS


def test_a_left_behind_grandchild_does_not_hold_up_the_result(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    begin = time.monotonic()
    outcomes, _lines = run(shell(f'setsid sleep {LONG} & echo $! >"$1"; echo done', str(file)))
    assert outcomes[0].stdout == b"done\n"
    assert time.monotonic() - begin < PATIENCE_SECONDS / 2
    os.kill(read_pid(file), signal.SIGKILL)


def test_an_exception_in_the_reader_ends_every_child(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]

    def stop(_index: int, _line: str) -> None:
        if all(map(has_pid, files)):
            raise KeyboardInterrupt

    script = f'echo $$ >"$1"; while :; do echo tick >&2; sleep 0.1; done; sleep {LONG}'
    with pytest.raises(KeyboardInterrupt):
        run_all([shell(script, str(file)) for file in files], parallel=2, on_line=stop)
    for file in files:
        wait_until(lambda file=file: not is_running(read_pid(file)), "the end of the child")


def test_a_program_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run(Command(argv=("/nowhere/nix",), environment={}))


def test_a_child_has_a_session_of_its_own() -> None:
    program = "import os; print(os.getsid(0), os.getpid())"
    outcomes, _lines = run(Command(argv=(sys.executable, "-c", program), environment=dict(os.environ)))
    session, pid = outcomes[0].stdout.split()
    assert session == pid


def test_the_parent_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    watch = ParentWatch()
    watch.check()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    file = tmp_path / "pid"
    with pytest.raises(NixferryError, match="ansible-playbook has ended"):
        run_all(
            [shell(f'echo $$ >"$1"; exec sleep {LONG}', str(file))],
            watch=watch,
            on_line=lambda _index, _line: None,
        )
    if file.exists():
        wait_until(lambda: not is_running(read_pid(file)), "the end of the child")


WORKER = """
import sys, time, os
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.process import Command, run_all
command = Command(argv=("/bin/sh", "-c", sys.argv[1], "sh", *sys.argv[2:]), environment=dict(os.environ))
run_all([command], on_line=lambda index, line: None)
"""
# Stands for ansible-playbook: starts the worker in a session of its own, and waits.
PLAYBOOK = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], start_new_session=True)
worker.wait()
"""


@pytest.fixture
def start_playbook(tmp_path: Path) -> Callable[[str], subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[5] / ".build" / "collections")}

    def start(script: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                PLAYBOOK,
                WORKER,
                script,
                str(tmp_path / "worker"),
                str(tmp_path / "child"),
            ],
            env=environment,
        )

    return start


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("victim", ["playbook", "worker"])
def test_no_child_survives_a_killed_controller(
    start_playbook: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path, victim: str
) -> None:
    playbook = start_playbook(f'echo $PPID >"$1"; echo $$ >"$2"; exec sleep {LONG}')
    try:
        child, worker = read_pid(tmp_path / "child"), read_pid(tmp_path / "worker")
        assert is_running(child)
        os.kill(playbook.pid if victim == "playbook" else worker, signal.SIGKILL)
        wait_until(lambda: not is_running(child), "the end of the child")
        wait_until(lambda: not is_running(worker), "the end of the worker")
    finally:
        for file in ("child", "worker"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((tmp_path / file).read_text()), signal.SIGKILL)
        playbook.kill()
        playbook.wait()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_memory_is_measured_and_decides_what_starts() -> None:
    holds = "import time; held = bytearray(40 << 20); time.sleep(0.6)"
    commands = [
        Command((sys.executable, "-c", holds), dict(os.environ), deadline=time.monotonic() + PATIENCE_SECONDS)
        for _number in range(3)
    ]
    asked: list[list[int]] = []

    def may_start(peaks: Sequence[int]) -> bool:
        asked.append(list(peaks))
        return False

    outcomes = run_all(commands, parallel=3, on_line=lambda _index, _line: None, may_start=may_start)
    assert all(outcome.return_code == 0 for outcome in outcomes)
    assert all(40 <= outcome.peak_mib < 200 for outcome in outcomes)
    # It is asked about what runs, and only then: never about an idle machine.
    assert asked
    assert all(len(peaks) == 1 for peaks in asked)


def test_memory_is_not_measured_unless_it_decides() -> None:
    outcomes, _lines = run(shell("exit 0"))
    assert outcomes[0].peak_mib == 0
    assert peak_memory_mib(2**22 + 1) == 0
