# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard and the requests wake each other. That saves time, and nothing depends on it."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from guard_host import DRIVER_BEGINS, SHELLS, Host, changed_program, run_library, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
FOR_EVER = "LONGEST_REST=1000000"
UNWOKEN = "wake_from() { :; }\nLONGEST_REST=10"
UNWRITABLE = "find_rest() { REST_FILE=$DIR/missing/rest; }"
OTHERS = 'find_rest() { REST_FILE=$DIR/other; printf "1 1 1\\n" >"$DIR/other"; chmod 400 "$DIR/other"; }'
PARTS = ("base", "answer", "time", "files", "process", "rest")
VICTIM = 60  # seconds that a process would live that must not be killed


def with_code(host: Host, code: str) -> Host:
    """Let the host have a guard with ``code`` behind the part that waits."""
    host.program_sent = changed_program(code, DRIVER_BEGINS)
    return host


def run(host: Host, code: str) -> tuple[str, float]:
    """What ``code`` prints behind the guard's library, and the seconds that it takes."""
    directory = host.directory / "record"
    directory.mkdir(exist_ok=True)
    library = [target_text(f"lib/{part}.sh") for part in PARTS]
    script = "\n".join([*library, f"STATE={host.state} UNSAVED= COPIES= DIR={directory}", code])
    begun = time.monotonic()
    done = run_library(host, script, VICTIM / 2)
    assert done.stderr == ""
    return done.stdout, time.monotonic() - begun


@EVERY_SHELL
def test_every_step_of_a_deploy_wakes_what_waits_for_it(host: Host) -> None:
    """Nothing that is waited for here ends by itself."""
    with_code(host, FOR_EVER)
    assert host.deploy(host.toplevel("new")).phase == "committed"
    wait_for(lambda: host.processes() == [], "the end of all processes")


@EVERY_SHELL
def test_an_abort_wakes_the_guard(host: Host) -> None:
    with_code(host, FOR_EVER)
    identifier = host.start(host.toplevel("new")).activation_id
    assert host.awaited(identifier).phase == "awaiting-confirmation"
    assert host.abort(identifier).phase == "rolled-back"
    identifier = host.start(host.toplevel("slow", test="sleep 50")).activation_id
    wait_for(lambda: host.actions[-1:] == ["test slow"], "the program")
    assert host.abort(identifier).phase == "rolled-back"
    wait_for(lambda: host.processes() == [], "the end of all processes")


@EVERY_SHELL
def test_deadlines_hold_without_a_wake(host: Host) -> None:
    with_code(host, f"wake_from() {{ :; }}\n{FOR_EVER}")
    limits = {"timeout_activation": 3, "timeout_confirm": 3, "timeout_roll_back": 3}
    for test, reason in (":", "not_confirmed"), ("sleep 50", "activation_timeout"):
        new = host.toplevel(reason, test=test)
        record = host.record(host.start(new, **limits).activation_id)
        wait_for(lambda: "rolled-back" in (record / "phase").read_text(), "the end")  # noqa: B023
        assert (record / "result/reason").read_text().strip() == reason


@EVERY_SHELL
@pytest.mark.parametrize("code", [UNWOKEN, UNWRITABLE, OTHERS], ids=["unwoken", "unwritable", "other's"])
def test_a_deploy_needs_no_wake(host: Host, code: str) -> None:
    with_code(host, code)
    assert host.deploy(host.toplevel("new")).phase == "committed"
    identifier = host.start(host.toplevel("newer")).activation_id
    host.awaited(identifier)
    assert host.abort(identifier).phase == "rolled-back"
    wait_for(lambda: host.processes() == [], "the end of all processes")


@EVERY_SHELL
def test_a_sleep_that_knows_whole_seconds_only_will_do(host: Host) -> None:
    host.program("sleep", "#!/bin/sh\ncase $1 in *.*) exit 1 ;; esac\nPATH=${PATH#*:} exec sleep 0.1\n")
    assert host.deploy(host.toplevel("new")).phase == "committed"


@EVERY_SHELL
def test_a_killed_program_is_noticed(host: Host) -> None:
    """A program that is killed with the process that runs it wakes no guard."""
    new = host.toplevel("new", test="kill -KILL 0")
    ended = host.ended(host.start(new).activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "activation_failed")


@EVERY_SHELL
def test_only_the_recorded_sleep_is_killed(host: Host) -> None:
    victim = subprocess.Popen(["sleep", str(VICTIM)])
    try:
        find = f"find_boot_identity; find_process_start {victim.pid}; S=$PROCESS_START B=$BOOT_IDENTITY"
        wrong = [
            "",
            f"{victim.pid}",
            f"{victim.pid} $S",
            f"{victim.pid} $((S + 1)) $B",
            f"{victim.pid} $S other-$B",
            f"{victim.pid} $S $B more",
            f"{victim.pid}x $S $B",
            f"{victim.pid}\\n$S $B",
            f"-{victim.pid} $S $B",
            "0 $S $B",
            "-1 $S $B",
        ]
        lines = [f'printf "%s\\n" "{text}" >"$DIR/rest.worker"; wake worker' for text in wrong]
        # A line that was cut short
        lines.append(f'printf %s "{victim.pid} $S $B" >"$DIR/rest.worker"; wake worker')
        lines.append('rm "$DIR/rest.worker"; wake worker; mkdir "$DIR/rest.worker"; wake worker; echo done')
        assert run(host, "\n".join([find, *lines]))[0] == "done\n"
        assert victim.poll() is None
        (host.directory / "record/rest.worker").rmdir()
        assert run(host, f'{find}; echo "{victim.pid} $S $B" >"$DIR/rest.worker"; wake worker')[0] == ""
        assert victim.wait(5) == -signal.SIGTERM
    finally:
        victim.kill()
        victim.wait()


@EVERY_SHELL
def test_nothing_is_missed_between_a_look_and_the_rest(host: Host) -> None:
    """The first call returns to the caller, who looks once more; a wake after it ends the second one."""
    code = f"""
{FOR_EVER}
in_seconds 10000
rest worker "$MOMENT"
echo "[$WOKEN]"
wake worker
rest worker "$MOMENT"
echo "[$WOKEN]"
rest worker "$MOMENT"
end_rest
end_rest
"""
    said, seconds = run(host, code)
    assert said == "[]\n[1]\n"
    assert seconds < VICTIM / 2
    assert host.processes() == []


@EVERY_SHELL
def test_a_rest_is_short_when_its_moment_has_come(host: Host) -> None:
    code = 'read_clock; for i in 1 2 3 4; do rest worker "$((CLOCK - 5))"; done; echo done'
    said, seconds = run(host, f"{FOR_EVER}\n{code}")
    assert said == "done\n"
    assert seconds < VICTIM / 2


def test_a_request_whose_guard_is_killed_hears_of_it(host: Host) -> None:
    identifier = host.start(host.toplevel("new")).activation_id
    host.awaited(identifier)
    os.kill(host.worker(identifier), signal.SIGKILL)
    host.ended(identifier)
    wait_for(lambda: host.status(identifier).phase == "rolled-back", "the roll back")
    assert host.status(identifier).reason == "guard_killed"
