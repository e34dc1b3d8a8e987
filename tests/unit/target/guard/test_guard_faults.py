# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on a host, and that the old system comes back every time."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from guard_host import SHELLS, WAIT, Host, script_of, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def is_entirely_old(host: Host) -> bool:
    old = str(host.directory / "store/old")
    return (host.current, host.boots, host.profile_target) == (old, old, old)


@pytest.mark.parametrize("exit_code", [1, 2, 3, 4, 77, 137])
def test_activation_that_fails_is_rolled_back(host: Host, exit_code: int) -> None:
    host.with_service_manager(failed_after="broken.service")
    started = host.start(host.toplevel("new", test=f"touch $HOST/tested; exit {exit_code}"))
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.exit_code) == ("rolled-back", exit_code)
    assert ended.reason == ("failed_units" if exit_code == 4 else "activation_failed")
    assert is_entirely_old(host)
    assert host.actions[-1] == "test old"


def test_reboot_required_ends_with_the_old_system_and_says_so(host: Host) -> None:
    new = host.toplevel("new", first="exit 100")
    (Path(new) / "kernel-params").write_text("quiet")
    ended = host.ended(host.start(new).activation_id)
    assert (ended.phase, ended.reason, ended.reboot_required) == ("rolled-back", "reboot_required", True)
    assert ended.reboot_reasons == ("kernel-params",)
    assert host.actions == ["test new"], "nothing was activated, so there is nothing to activate back"


def test_units_that_failed_before_do_not_count(host: Host) -> None:
    host.with_service_manager(failed_before="ancient.service")
    started = host.start(host.toplevel("new", test="touch $HOST/tested; exit 4"))
    waiting = host.awaited(started.activation_id)
    assert (waiting.phase, waiting.exit_code) == ("awaiting-confirmation", 4)
    assert (waiting.failed_units, waiting.failed_units_before) == ((), ("ancient.service",))
    assert "exit code 4, but no unit failed that had not failed before" in waiting.notes


@pytest.mark.parametrize(
    ("policy", "phase"), [("rollback", "rolled-back"), ("ignore", "awaiting-confirmation")]
)
def test_newly_failed_units_follow_the_policy(host: Host, policy: str, phase: str) -> None:
    failed = "broken.service 'ugly\\x2dname.service' nixferry-1.service"
    host.with_service_manager(failed_before="ancient.service", failed_after=failed)
    started = host.start(host.toplevel("new", test="touch $HOST/tested; exit 4"), failed_units=policy)
    status = host.status(started.activation_id, "prepared", "activating", "rolling-back")
    assert status.phase == phase
    assert status.failed_units == ("broken.service", "ugly\\x2dname.service")


@EVERY_SHELL
def test_activation_that_hangs_and_ignores_signals_is_killed_with_all_it_started(host: Host) -> None:
    hang = (
        "trap '' TERM HUP INT\n(trap '' TERM; sleep 987) &\necho $! >$HOST/child\nwhile :; do sleep 1; done"
    )
    begin = time.monotonic()
    started = host.start(host.toplevel("new", test=hang), timeout_activation=5)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.exit_code) == ("rolled-back", "activation_timeout", None)
    assert time.monotonic() - begin < 60, "the program was not waited for"
    assert is_entirely_old(host)
    assert not host.is_alive(int((host.directory / "child").read_text()))


def test_program_that_is_locked_is_tried_again(host: Host) -> None:
    locked_once = '[ -e "$HOST/once" ] || { touch "$HOST/once"; echo Could not acquire lock >&2; exit 11; }'
    started = host.start(host.toplevel("new", first=locked_once), timeout_activation=20)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    assert host.actions == ["test new", "test new"]


def test_program_that_stays_locked_is_named(host: Host) -> None:
    # So long that the program is never too slow, and so short that there is no time for another try.
    host.environment["NIXFERRY_SECOND"] = "1000"
    new = host.toplevel("new", first="echo Could not acquire lock >&2; exit 11")
    ended = host.ended(host.start(new, timeout_activation=2).activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "locked")


def test_abort_rolls_back_at_once(host: Host) -> None:
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    ended = host.abort(started.activation_id, "GET / gave 500: it's broken")
    assert (ended.phase, ended.reason) == ("rolled-back", "aborted")
    assert ended.message == "aborted: GET / gave 500: it's broken"
    assert is_entirely_old(host)


def test_abort_during_the_activation_kills_it(host: Host) -> None:
    started = host.start(host.toplevel("new", test="sleep 60"), timeout_activation=400)
    wait_for(lambda: host.actions == ["test new"], "the activation to begin")
    assert host.abort(started.activation_id).phase == "rolled-back"
    assert is_entirely_old(host)


def test_abort_after_the_commit_is_refused(host: Host) -> None:
    done = host.deploy(host.toplevel("new"))
    with pytest.raises(NixferryError, match="the activation is committed"):
        host.abort(done.activation_id)


@EVERY_SHELL
def test_failed_boot_loader_restores_exactly_the_old_generation(host: Host) -> None:
    started = host.start(host.toplevel("new", boot="echo no space left on /boot; exit 1"))
    host.awaited(started.activation_id)
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.reason, ended.commit_exit_code) == ("rolled-back", "commit_failed", 1)
    assert "no space left on /boot" in ended.log
    assert host.actions == ["test new", "boot new", "boot old", "test old"]
    assert is_entirely_old(host)
    assert host.profile.readlink() == Path("system-1-link")
    assert not Path(f"{host.profile}-2-link").is_symlink(), "the boot menu would offer it"


def test_failed_commit_of_an_older_generation_keeps_that_generation(host: Host) -> None:
    """Going back to generation 1 fails: the profile is 2 again, and 1 is not lost."""
    host.run_system(host.toplevel("second"))
    old = Path(host.directory / "store/old/bin/switch-to-configuration")
    old.write_text(old.read_text().replace("boot)", "boot) exit 1"))
    started = host.start(str(host.directory / "store/old"))
    host.awaited(started.activation_id)
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.old_generation, ended.new_generation) == ("rolled-back", 2, 2)
    assert Path(f"{host.profile}-1-link").is_symlink()


def test_failed_action_boot_activates_nothing_either(host: Host) -> None:
    started = host.start(host.toplevel("new", boot="exit 1"), action="boot")
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "commit_failed")
    assert host.actions == ["boot new", "boot old"]
    assert is_entirely_old(host)


def test_boot_loader_that_hangs_is_killed(host: Host) -> None:
    started = host.start(host.toplevel("new", boot="sleep 99"), timeout_activation=5)
    host.awaited(started.activation_id)
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "commit_timeout")
    assert is_entirely_old(host)


def test_profile_that_cannot_be_set_is_a_failed_commit(host: Host) -> None:
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    host.fault("nix-env")
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "commit_failed")
    assert is_entirely_old(host)


def change_old(host: Host, test: str) -> None:
    """Let the old system's program do ``test`` as well, before it makes the old system the current one."""
    program = Path(host.current) / "bin/switch-to-configuration"
    program.write_text(program.read_text().replace("test)", f"test) {test};"))


@EVERY_SHELL
def test_roll_back_that_fails_for_a_moment_is_tried_again(host: Host) -> None:
    """The program has moved the link already when the service manager drops it."""
    half_way = (
        "ln -sfn $HOST/store/old $HOST/run/current-system; echo Message recipient disconnected >&2; exit 1"
    )
    change_old(host, f"[ -e $HOST/once ] || {{ touch $HOST/once; {half_way}; }}")
    ended = host.ended(host.start(host.toplevel("new"), timeout_confirm=1).activation_id)
    assert (ended.phase, ended.roll_back_exit_code) == ("rolled-back", 0)
    assert host.actions == ["test new", "test old", "test old"]
    assert any("exit code 1: trying again (try 1 of 3)" in note for note in ended.notes), ended.notes
    assert is_entirely_old(host)


def test_roll_back_that_changes_nothing_is_tried_again(host: Host) -> None:
    """The exit code alone proves nothing."""
    change_old(host, "[ -e $HOST/once ] || { touch $HOST/once; exit 0; }")
    ended = host.ended(host.start(host.toplevel("new"), timeout_confirm=1).activation_id)
    assert ended.phase == "rolled-back"
    assert host.actions == ["test new", "test old", "test old"]
    assert is_entirely_old(host)


def test_boot_default_that_cannot_be_restored_for_a_moment(host: Host) -> None:
    program = Path(host.current) / "bin/switch-to-configuration"
    once = "[ -e $HOST/once ] || { touch $HOST/once; exit 28; }"
    program.write_text(program.read_text().replace("boot)", f"boot) {once};"))
    started = host.start(host.toplevel("new", boot="echo wrong >$HOST/boot-default; exit 1"))
    host.awaited(started.activation_id)
    assert host.confirm(started.activation_id).phase == "rolled-back"
    assert host.actions == ["test new", "boot new", "boot old", "boot old", "test old"]
    assert is_entirely_old(host)


def test_roll_back_that_fails_is_reported_as_failed(host: Host) -> None:
    change_old(host, "exit 2")
    ended = host.ended(host.start(host.toplevel("new"), timeout_confirm=1).activation_id)
    assert (ended.phase, ended.roll_back_exit_code) == ("failed", 2)
    assert "the old system's activation failed with exit code 2" in ended.message
    assert host.actions == ["test new", *["test old"] * 3]
    assert ended.log_path in ended.remedy
    assert ended.boot_default == "old"


@EVERY_SHELL
def test_killed_guard_is_replaced_by_the_dead_man(host: Host) -> None:
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    os.kill(host.worker(started.activation_id), signal.SIGKILL)
    wait_for(lambda: is_entirely_old(host), "the dead-man")
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "guard_killed")
    assert ended.message == "the guard was killed in the phase awaiting-confirmation"


def test_guard_killed_during_the_activation_takes_the_program_along(host: Host) -> None:
    started = host.start(host.toplevel("new", test="echo $$ >$HOST/child; sleep 60"), timeout_activation=400)
    child = host.directory / "child"
    wait_for(lambda: child.exists() and child.read_text() != "", "the activation to begin")
    os.kill(host.worker(started.activation_id), signal.SIGKILL)
    wait_for(lambda: host.actions[-1] == "test old", "the dead-man")
    assert host.ended(started.activation_id).phase == "rolled-back"
    assert not host.is_alive(int(child.read_text()))
    assert is_entirely_old(host)


@pytest.mark.parametrize("reachable", [True, False])
def test_reboot_if_unreachable(host: Host, reachable: bool) -> None:
    started = host.start(
        host.toplevel("new"),
        # Long enough to get in on a machine that is busy.
        timeout_confirm=10 if reachable else 1,
        reboot_if_unreachable=True,
        reboot_command="touch $HOST/rebooted",
    )
    wait_for(
        lambda: (host.record(started.activation_id) / "phase").read_text() == "rolled-back\n", "the roll back"
    )
    if reachable:
        assert host.status(started.activation_id).phase == "rolled-back"
    worker = host.worker(started.activation_id)
    wait_for(lambda: not host.is_alive(worker), "the end of the guard")
    assert (host.directory / "rebooted").exists() is not reachable


def test_state_directory_that_takes_no_writes_is_reported_before_anything_changes(host: Host) -> None:
    (host.directory / "var/lib").rmdir()
    (host.directory / "var/lib").write_text("not a directory")
    with pytest.raises(NixferryError, match="cannot make the state directory") as caught:
        host.start(host.toplevel("new"))
    assert "Nothing was changed" in caught.value.remedy
    assert host.actions == []


def test_full_disk_is_reported_before_anything_changes(host: Host) -> None:
    """Files may be made but hold nothing: a file size limit stands in for the full disk."""
    host.program("guard-shell", f'#!/bin/sh\ntrap "" XFSZ\nulimit -f 8\n{SHELLS[host.shell]} "$@"\n')
    with pytest.raises(NixferryError, match="cannot write to the state directory"):
        host.start(host.toplevel("new"))
    assert host.actions == []


def fill_disk(host: Host) -> None:
    """From now on the guard, and what it starts, can make files but not write to them.

    A limit stands in for the full disk, and for one on which even the room that the record keeps is taken.
    """
    for process in host.processes():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, (0, 0))


@EVERY_SHELL
def test_disk_that_fills_up_during_the_activation_is_a_reason_to_go_back(host: Host) -> None:
    host.program("guard-shell", f'#!/bin/sh\ntrap "" XFSZ\n{SHELLS[host.shell]} "$@"\n')
    wait = "until [ -e $HOST/full ]; do sleep 0.05; done"
    started = host.start(host.toplevel("new", test=wait))
    wait_for(lambda: host.actions == ["test new"], "the activation to begin")
    fill_disk(host)
    (host.directory / "full").touch()
    ended = host.ended(started.activation_id)
    assert ended.phase == "rolled-back"
    assert is_entirely_old(host)


def test_disk_that_is_full_during_the_commit_does_not_look_like_a_program_that_hangs(host: Host) -> None:
    host.program("guard-shell", f'#!/bin/sh\ntrap "" XFSZ\n{SHELLS[host.shell]} "$@"\n')
    wait = "until [ -e $HOST/full ]; do sleep 0.05; done; echo >$HOST/entry || exit 1"
    started = host.start(host.toplevel("new", boot=wait))
    host.awaited(started.activation_id)
    confirmed = threading.Thread(target=host.confirm, args=[started.activation_id])
    confirmed.start()
    wait_for(lambda: host.actions[-1:] == ["boot new"], "the commit to begin")
    fill_disk(host)
    (host.directory / "full").touch()
    begin = time.monotonic()
    confirmed.join()
    ended = host.ended(started.activation_id)
    assert ended.phase in ("rolled-back", "failed")
    assert ended.commit_exit_code is None
    assert time.monotonic() - begin < 10, "the program was waited for"


def test_toplevel_that_is_not_there_is_refused(host: Host) -> None:
    with pytest.raises(NixferryError, match="is not in this host's store") as caught:
        host.start(str(host.directory / "store/nothing"))
    assert "nix_copy" in caught.value.remedy
    assert not host.state.exists()


def test_toplevel_of_another_kind_is_refused(host: Host) -> None:
    new = host.toplevel("new")
    (Path(new) / "nixos-version").unlink()
    with pytest.raises(NixferryError, match="not a system of the kind nixos: it lacks nixos-version"):
        host.start(new)


def test_toplevel_for_another_platform_is_refused(host: Host) -> None:
    new = host.toplevel("new")
    (Path(new) / "system").write_text("riscv64-linux")
    with pytest.raises(NixferryError, match="was built for riscv64-linux, but this host is"):
        host.start(new)
    (Path(new) / "system").write_text(f"{os.uname().machine}-linux")
    assert host.start(new).phase != "none"


@EVERY_SHELL
def test_a_start_without_a_controller_that_listens_begins_nothing(host: Host) -> None:
    """The controller has looked over a new login meanwhile, and found that nothing was begun."""
    slow = host.programs / "nix-store"
    slow.write_text(
        slow.read_text().replace(
            "--check-validity)", "--check-validity) while [ ! -e $HOST/go ]; do sleep 0.02; done;"
        )
    )
    request = host.request(host.toplevel("new"))
    with subprocess.Popen(
        [str(host.programs / "guard-shell")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=host.env(),
    ) as start:
        assert start.stdin is not None
        assert start.stdout is not None
        start.stdin.write(script_of(host, request))
        start.stdin.close()
        assert start.stdout.readlines(2) == [b"\n", b"nixferry=1\n"]
        start.stdout.close()
        (host.directory / "go").touch()
        assert start.wait(timeout=WAIT) != 0
    assert not host.record(request.activation_id).exists()
    assert host.actions == []
    assert not (host.directory / "run/nixferry/lock").exists()
