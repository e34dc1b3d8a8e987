# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from local_shell import LocalShell, checks, option

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthResult, total_budget
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.on_host import (
    host_checks,
    parse_host_output,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.run import run_health_checks

SHELLS = [
    pytest.param(
        argv, id=argv[0], marks=pytest.mark.skipif(not shutil.which(argv[0]), reason=f"{argv[0]} is missing")
    )
    for argv in (["dash"], ["bash", "--posix"], ["busybox", "sh"])
]


def run(argv: list[str], *options: dict[str, Any]) -> list[HealthResult]:
    return run_health_checks(checks(*options), LocalShell(argv), sleep=lambda _seconds: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("argv", SHELLS)
def test_commands_run_in_one_script_and_report_output(argv: list[str]) -> None:
    shell = LocalShell(argv)
    results = run_health_checks(
        checks(
            option(command="echo 'it''s fine'; echo \"$HOME\" >/dev/null"),
            option(command="echo broken >&2; exit 3"),
            option(command="cat"),
        ),
        shell,  # type: ignore[arg-type]
    )
    assert [result.healthy for result in results] == [True, False, True]
    assert results[1].detail == "exit code 3: broken"
    assert len(shell.scripts) == 1


@pytest.mark.parametrize("argv", SHELLS)
def test_a_greeting_without_an_end_of_line_hides_no_check(argv: list[str]) -> None:
    asked = checks(option(command="true"))
    done = LocalShell(argv).run(host_checks(asked))
    (result,) = parse_host_output(asked, f"Welcome! {done.stdout}")
    assert result.healthy


@pytest.mark.parametrize("argv", SHELLS)
def test_any_output_and_target_survives_the_way(argv: list[str]) -> None:
    hostile = 'it\'s "$(id)" % %41 na\u00efve `id`\nend=health\ncheck=0 0 1 fine'
    (result,) = run(argv, option(command=f"cat <<'END'\n{hostile}\nEND\nexit 1"))
    assert result.detail == f"exit code 1: {hostile}"
    noise = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i + 1)); done; printf 'a\\377\\001b'; false"
    (result,) = run(argv, option(command=noise))
    assert result.detail.endswith("line 999\na\ufffdb")
    assert len(result.detail) < 2100


@pytest.mark.parametrize("argv", SHELLS)
def test_a_unit_that_is_not_up_is_described(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        '#!/bin/sh\ncase $1 in is-active) [ "$3 $4" = "-- up.service" ] ;; status) echo "$5 is dead" ;; esac\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    up, down = run(argv, option(unit="up.service"), option(unit="a b;c.service"))
    assert (up.healthy, down.healthy, down.detail) == (True, False, "exit code 1: a b;c.service is dead")


@pytest.mark.parametrize("argv", SHELLS)
def test_a_command_sees_the_environment_of_the_login(
    argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    (result,) = run(argv, option(command='echo "$LC_ALL $(umask)"'))
    mask = os.umask(0)
    os.umask(mask)
    assert result.detail.split()[0] == "C.UTF-8"
    assert int(result.detail.split()[1], 8) == mask


@pytest.mark.parametrize("argv", SHELLS)
def test_a_command_is_tried_again_until_it_passes(argv: list[str], tmp_path: Path) -> None:
    counter = tmp_path / "count"
    command = f"echo x >>{counter}; [ $(wc -l <{counter}) -ge 3 ]"
    (result,) = run(argv, option(command=command, retries=5))
    assert (result.healthy, result.attempts) == (True, 3)


@pytest.mark.parametrize("argv", SHELLS)
def test_a_hanging_command_fails_at_its_timeout_which_the_message_names(argv: list[str]) -> None:
    ignores = "trap '' TERM; echo begun; while :; do sleep 1; done"
    first, second = run(
        argv, option(command="exec sleep 600", timeout=1), option(name="stubborn", command=ignores, timeout=1)
    )
    assert (first.healthy, first.detail) == (False, "it did not end within its timeout of 1 s")
    assert (second.healthy, second.detail) == (False, "it did not end within its timeout of 1 s: begun")
    assert "the check 'stubborn' hangs" in second.remedy
    assert "(now 1 seconds" in second.remedy


@pytest.mark.parametrize("argv", SHELLS)
def test_an_exit_code_like_that_of_a_timeout_is_an_exit_code(argv: list[str]) -> None:
    killed, other = run(argv, option(command="kill -9 $$"), option(command="exit 124"))
    assert (killed.detail, killed.timed_out) == ("exit code 137", False)
    assert (other.detail, other.timed_out) == ("exit code 124", False)


def has_ended(file: Path) -> bool:
    """Whether the process whose number the file holds runs no more, or soon does not."""
    number = int(file.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("argv", SHELLS)
def test_what_a_command_leaves_in_the_background_is_not_waited_for(argv: list[str], tmp_path: Path) -> None:
    started = time.monotonic()
    group, session = tmp_path / "group", tmp_path / "session"
    left, failed, daemon = run(
        argv,
        option(command=f"sleep 60 & echo $! >{group}; echo fine", timeout=20),
        option(command="sleep 60 & echo broken; exit 3", timeout=20),
        option(command=f"setsid sleep 61 & echo $! >{session}; echo started; echo done", timeout=20),
    )
    assert time.monotonic() - started < 15
    assert (left.healthy, left.detail) == (True, "fine")
    assert (failed.healthy, failed.detail) == (False, "exit code 3: broken")
    assert (daemon.healthy, daemon.detail) == (True, "started\ndone")
    assert has_ended(group)
    # A session of its own says that it is meant to stay.
    os.kill(int(session.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("argv", SHELLS)
def test_a_host_with_little_installed_has_time_limits_too(argv: list[str], tmp_path: Path) -> None:
    """As macOS does it has neither ``timeout`` nor ``setsid``, and its ``mktemp`` finds no /run."""
    programs = tmp_path / "programs"
    programs.mkdir()
    names = ("mktemp", "rm", "cat", "tail", "mv", "sleep", "perl", "tr", "od", "ps")
    for name in names:
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    found = shutil.which(argv[0])
    assert found
    text = host_checks(checks(option(command="sleep 60 & exec sleep 61", timeout=1)))
    (own_path,) = [line for line in text.splitlines() if line.strip().startswith("PATH=")]
    environment = {"PATH": str(programs), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [found, *argv[1:]],
        input=text.replace(own_path, ""),
        capture_output=True,
        env=environment,
        text=True,
        check=False,
        timeout=20,
    )
    (result,) = parse_host_output(checks(option(command="x", timeout=1)), done.stdout)
    assert result.detail == "it did not end within its timeout of 1 s"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["programs"]


def test_a_check_that_never_reported_is_a_failure() -> None:
    both = checks(option(command="true"), option(command="true"))
    (result, _other) = parse_host_output(both, "Connection closed\n")
    assert not result.healthy
    first, second = parse_host_output(both, "\nnixferry=1\ncheck=0 0 1 fine\ncheck=1 0")
    assert (first.healthy, second.healthy, second.detail) == (True, False, "the check did not end")


def test_a_host_without_a_place_for_output_says_so() -> None:
    asked = checks(option(command="true"))
    text = host_checks(asked).replace("health_directory() {", "health_directory() { return 1;")
    (result,) = parse_host_output(asked, LocalShell(["dash"]).run(text).stdout)
    assert (result.healthy, result.detail) == (False, "no directory for temporary files can be written to")


@pytest.fixture
def web_server() -> Iterator[SimpleNamespace]:
    state = SimpleNamespace(statuses=[], seen=0, port=0, pieces=0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = state.statuses[min(state.seen, len(state.statuses) - 1)]
            state.seen += 1
            self.send_response(status)
            self.end_headers()
            try:
                while state.pieces:
                    state.pieces -= 1
                    time.sleep(0.2)
                    self.wfile.write(b" ")
                self.wfile.write(b"version 2")
            except OSError:
                pass

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def test_a_url_is_tried_again_and_its_status_and_text_count(web_server: SimpleNamespace) -> None:
    url = f"http://127.0.0.1:{web_server.port}/health"
    web_server.statuses = [503, 200]
    (result,) = run(["dash"], option(url=url, retries=2))
    assert (result.healthy, result.attempts) == (True, 2)
    web_server.seen = 0
    web_server.statuses = [503]
    (result,) = run(["dash"], option(url=url, retries=1))
    assert (result.healthy, result.attempts) == (False, 2)
    assert "status 503" in result.detail
    (result,) = run(["dash"], option(url=url, status_codes=[503]))
    assert result.healthy
    web_server.statuses = [200]
    (result,) = run(["dash"], option(url=url, contains="version 3"))
    assert "without the text" in result.detail


def test_an_answer_that_comes_byte_by_byte_has_a_time_limit(web_server: SimpleNamespace) -> None:
    web_server.statuses = [200]
    web_server.pieces = 25
    started = time.monotonic()
    url = f"http://127.0.0.1:{web_server.port}/"
    (result,) = run(["dash"], option(url=url, timeout=1, contains="version"))
    assert time.monotonic() - started < 3
    web_server.pieces = 0
    assert (result.healthy, result.detail) == (False, f"{url} did not answer within its timeout of 1 s")
    assert "raise its timeout" in result.remedy


def test_ports_are_open_or_name_the_address(web_server: SimpleNamespace) -> None:
    (result,) = run(["dash"], option(port=web_server.port))
    assert result.healthy
    (result,) = run(["dash"], option(port=1))
    assert "127.0.0.1 port 1" in result.detail


@pytest.mark.parametrize("name", ["", "the service is healthy"])
def test_a_failure_names_its_address_once_and_says_what_to_do(name: str, web_server: SimpleNamespace) -> None:
    web_server.statuses = [503]
    url = f"http://127.0.0.1:{web_server.port}/health"
    named = {"name": name} if name else {}
    (bad,) = run(["dash"], option(**named, url=url, retries=1, delay=3))
    assert bad.text == f"{name}: {url} answered with status 503".removeprefix(": ")
    assert "It had 2 attempts, 3 s apart" in bad.remedy
    (closed,) = run(["dash"], option(**named, url="http://127.0.0.1:1/health"))
    assert closed.text.count("http://127.0.0.1:1/health") == 1
    assert "urlopen" not in closed.text
    (port,) = run(["dash"], option(**named, port=1))
    assert port.text.count("port 1") == 1


def test_the_budget_counts_every_attempt_and_pause() -> None:
    assert (
        total_budget(checks(option(port=1, retries=2, delay=3, timeout=10), option(port=2, timeout=4))) == 40
    )
    # The host needs a moment to end a command that hangs.
    assert total_budget(checks(option(command="true", retries=1, delay=3, timeout=10))) == 31


def test_times_that_cannot_be_are_refused() -> None:
    with pytest.raises(NixferryError, match="timeout has to be at least 1"):
        checks(option(port=1, timeout=0))
