# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Without a roll back: what fails keeps running and is reported, and what boots stays old."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from guard_host import SHELLS, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def start(host: Host, toplevel: str, **options: object) -> GuardStatus:
    return host.start(toplevel, roll_back_on_failure=False, **options)


def assert_left(host: Host, ended: GuardStatus, reason: str) -> None:
    """``new`` runs, untouched since it failed; ``old`` boots; nothing blocks the next deploy."""
    old, new = str(host.directory / "store/old"), str(host.directory / "store/new")
    assert (ended.phase, ended.reason, ended.left_running) == ("failed", reason, True)
    assert (host.current, host.boots, host.profile_target) == (new, old, old)
    assert host.actions == ["test new"]
    assert ended.boot_default == "old"
    assert "it was not rolled back, as requested" in ended.message
    assert "rolling-back" not in [phase for phase, _time in ended.phase_times]
    assert "a reboot brings that back" in ended.remedy
    assert "could not be restored" not in ended.remedy
    roots = [path.name for path in (host.directory / "nix/var/nix/gcroots/nixferry").iterdir()]
    assert sorted(roots) == [f"{ended.activation_id}-{name}" for name in ("new", "old")]
    assert host.probe().lock_holder is None


@EVERY_SHELL
def test_activation_that_fails(host: Host) -> None:
    ended = host.ended(start(host, host.toplevel("new", test="exit 3")).activation_id)
    assert_left(host, ended, "activation_failed")
    assert ended.message.startswith("the activation failed with exit code 3; ")


def test_units_that_fail(host: Host) -> None:
    host.with_service_manager(failed_after="broken.service")
    new = host.toplevel("new", test="touch $HOST/tested; exit 4")
    ended = host.ended(start(host, new).activation_id)
    assert_left(host, ended, "failed_units")
    assert ended.failed_units == ("broken.service",)


@EVERY_SHELL
def test_missing_confirmation(host: Host) -> None:
    started = start(host, host.toplevel("new"), timeout_confirm=1)
    assert_left(host, host.ended(started.activation_id), "not_confirmed")


def test_failed_check(host: Host) -> None:
    started = start(host, host.toplevel("new"))
    host.awaited(started.activation_id)
    assert_left(host, host.abort(started.activation_id, "no answer"), "aborted")


def test_activation_that_hangs_is_ended(host: Host) -> None:
    new = host.toplevel("new", test="echo $$ >$HOST/child; sleep 60")
    ended = host.ended(start(host, new, timeout_activation=5).activation_id)
    assert_left(host, ended, "activation_timeout")
    assert not host.is_alive(int((host.directory / "child").read_text()))


def test_killed_guard(host: Host) -> None:
    started = start(host, host.toplevel("new"))
    host.awaited(started.activation_id)
    os.kill(host.worker(started.activation_id), signal.SIGKILL)
    wait_for(lambda: host.status(started.activation_id).final, "the dead-man")
    assert_left(host, host.status(started.activation_id), "guard_killed")


def test_what_was_never_activated_is_no_failure_that_runs(host: Host) -> None:
    ended = host.ended(start(host, host.toplevel("new", first="exit 100")).activation_id)
    assert (ended.phase, ended.reason, ended.left_running) == ("rolled-back", "reboot_required", False)


@EVERY_SHELL
def test_failed_commit_restores_what_boots_but_not_what_runs(host: Host) -> None:
    new, old = host.toplevel("new", boot="exit 1"), host.current
    started = start(host, new)
    host.awaited(started.activation_id)
    ended = host.confirm(started.activation_id)
    assert (ended.phase, ended.reason, ended.left_running) == ("failed", "commit_failed", True)
    assert (host.current, host.boots, host.profile_target) == (new, old, old)
    assert host.actions == ["test new", "boot new", "boot old"]


def test_failed_action_boot_leaves_nothing_running(host: Host) -> None:
    ended = host.ended(start(host, host.toplevel("new", boot="exit 1"), action="boot").activation_id)
    assert (ended.phase, ended.left_running) == ("rolled-back", False)


def test_power_cut_brings_the_old_system_back_all_the_same(host: Host) -> None:
    old = host.current
    started = start(host, host.toplevel("new"))
    host.awaited(started.activation_id)
    host.power_cut()
    recovered = host.recover(started.activation_id)
    assert (recovered.phase, recovered.left_running, host.current) == ("rolled-back", False, old)


def test_profile_that_the_activation_has_set_is_left_and_named(host: Host) -> None:
    kind = replace(profile_kind("exit 1"), profile=str(host.profile))
    new = host.toplevel("new")
    ended = host.ended(start(host, new, kind=kind).activation_id)
    assert (ended.phase, host.profile_target) == ("failed", new)
    assert f"the profile {host.profile} points to the new system" in ended.message
    assert "a reboot" not in ended.remedy


def test_failed_system_is_activated_again_by_the_next_deploy(host: Host) -> None:
    """The profile points to it and nothing else tells what runs, but that is not a success."""
    new = host.toplevel("new")
    kind = replace(profile_kind('[ -e "$HOST/mended" ]'), profile=str(host.profile))
    host.ended(start(host, new, kind=kind).activation_id)
    assert not host.probe(kind=kind, toplevel=new).unchanged
    Path(host.directory / "mended").touch()
    assert host.deploy(new, kind=kind).phase == "committed"
    assert host.start(new, kind=kind).unchanged
