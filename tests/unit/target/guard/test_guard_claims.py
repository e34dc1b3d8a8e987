# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard believes an exit code only if the host agrees, and waiting for a lock is not an activation."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from guard_host import SHELLS, Host, wait_for

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
LOCKED = "echo 'Could not acquire lock' >&2; exit 11"
LOCK = "run/nixos/switch-to-configuration.lock"
# As the programs until NixOS 24.05 do
WAIT_FOR_LOCK = f'flock "$HOST/{LOCK}" true; echo "activating the configuration..." >&2'


def is_entirely_old(host: Host) -> bool:
    old = str(host.directory / "store/old")
    return (host.current, host.boots, host.profile_target) == (old, old, old)


@contextmanager
def lock_held(host: Host) -> Iterator[None]:
    """Another activation holds the program's lock."""
    lock = host.directory / LOCK
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    held = host.directory / "held"
    command = ["flock", str(lock), "sh", "-c", f"touch {held}; exec sleep 600"]
    with subprocess.Popen(command, env=host.env()):
        wait_for(held.exists, "the lock")
        try:
            yield
        finally:
            host.kill_everything()


def wait_for_lock(host: Host, name: str) -> None:
    """Let the program of a system wait for the lock, as the old releases' does."""
    program = host.directory / "store" / name / "bin/switch-to-configuration"
    program.write_text(program.read_text().replace("test)", f"test) {WAIT_FOR_LOCK}\n"))


@EVERY_SHELL
@pytest.mark.parametrize("exit_code", [11, 100])
def test_exit_code_of_a_refusal_after_the_activation_is_rolled_back(host: Host, exit_code: int) -> None:
    """The program ends with the errno of what failed last."""
    started = host.start(host.toplevel("new", test=f"exit {exit_code}"))
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.exit_code) == ("rolled-back", "activation_failed", exit_code)
    assert f"exit code {exit_code}" in ended.message
    assert is_entirely_old(host)
    assert host.actions == ["test new", "test old"], "tried once, and the old program was run"


@EVERY_SHELL
def test_words_of_the_lock_after_the_activation_are_not_believed(host: Host) -> None:
    """An activation script may have asked for another lock."""
    started = host.start(host.toplevel("new", test=LOCKED), timeout_activation=2)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "activation_failed")
    assert str(host.directory / "store/new") in ended.message
    assert is_entirely_old(host)
    assert host.actions[-1] == "test old"


def test_words_of_an_earlier_run_are_not_believed(host: Host) -> None:
    once = f'if [ ! -e "$HOST/once" ]; then touch "$HOST/once"; {LOCKED}; fi; exit 11'
    ended = host.ended(host.start(host.toplevel("new", first=once), timeout_activation=20).activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "activation_failed")
    assert host.actions == ["test new", "test new", "test old"]


@EVERY_SHELL
@pytest.mark.parametrize(
    "claim", [LOCKED, "exit 100", "echo \"Pre-switch check 'switchInhibitors' failed\"; exit 1"]
)
def test_refusal_after_a_service_was_stopped_is_rolled_back(host: Host, claim: str) -> None:
    host.with_service_manager()
    service = host.directory / "services/ActiveState/web.service"
    service.parent.mkdir(parents=True)
    service.write_text("active")
    new = host.toplevel("new", first=f'rm "$HOST/services/ActiveState/web.service"; {claim}')
    ended = host.ended(host.start(new, timeout_activation=2).activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "activation_failed")
    assert "web.service stopped" in ended.message
    assert host.actions[-1] == "test old"


def test_login_that_ended_meanwhile_does_not_count_as_stopped(host: Host) -> None:
    host.with_service_manager()
    service = host.directory / "services/ActiveState/user@1000.service"
    service.parent.mkdir(parents=True)
    service.write_text("active")
    new = host.toplevel("new", first='rm "$HOST/services/ActiveState/user@1000.service"; exit 100')
    ended = host.ended(host.start(new).activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "reboot_required")
    assert host.actions == ["test new"]


@EVERY_SHELL
def test_failed_units_are_not_believed_while_units_are_left_to_start(host: Host) -> None:
    """4 is EINTR as well; a program that has come to its end has removed its list."""
    left = 'mkdir -p "$HOST/run/nixos"; echo web.service >"$HOST/run/nixos/start-list"; exit 4'
    ended = host.ended(host.start(host.toplevel("new", test=left)).activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "activation_failed")
    assert "half-way" in ended.message
    assert is_entirely_old(host)


@EVERY_SHELL
def test_program_that_waits_for_the_lock_past_the_deadline_has_activated_nothing(host: Host) -> None:
    host.toplevel("new")
    wait_for_lock(host, "new")
    wait_for_lock(host, "old")
    with lock_held(host):
        started = host.start(str(host.directory / "store/new"), timeout_activation=5, timeout_roll_back=5)
        ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "locked")
    assert "/run/nixos/switch-to-configuration.lock" in ended.message
    assert is_entirely_old(host)


@EVERY_SHELL
def test_abort_of_a_program_that_waits_for_the_lock_has_activated_nothing(host: Host) -> None:
    host.toplevel("new")
    wait_for_lock(host, "new")
    wait_for_lock(host, "old")
    with lock_held(host):
        started = host.start(str(host.directory / "store/new"), timeout_roll_back=5)
        host.status(started.activation_id, "prepared")
        ended = host.abort(started.activation_id, "enough")
    assert (ended.phase, ended.reason) == ("rolled-back", "aborted")
    assert "nothing was activated" in ended.message
    assert "/run/nixos/switch-to-configuration.lock" in ended.message


@EVERY_SHELL
def test_roll_back_of_what_was_activated_is_not_believed_while_the_lock_is_held(host: Host) -> None:
    wait_for_lock(host, "old")
    hang = "echo 'activating the configuration...' >&2; sleep 600"
    with lock_held(host):
        started = host.start(host.toplevel("new", first=hang), timeout_activation=3, timeout_roll_back=3)
        ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("failed", "activation_timeout")
    assert "holds the lock /run/nixos/switch-to-configuration.lock" in ended.message
