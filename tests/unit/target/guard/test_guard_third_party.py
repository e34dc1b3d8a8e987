# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A third party switches the host or its profile while the guard waits: what it chose is left alone, and told."""

from __future__ import annotations

import os
import signal

import pytest
from guard_host import SHELLS, Driver, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def waiting(host: Host, **options: object) -> str:
    """The id of an activation of `new` that waits for its confirmation."""
    started = host.start(host.toplevel("new"), **options)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    return started.activation_id


def switched_by_hand(host: Host) -> str:
    """A third party has switched to another system and made it the boot default."""
    third = host.toplevel("third")
    host.set_profile(third)
    host.switch_to(third)
    host.boot_default.write_text(third + "\n")
    return third


def systems(host: Host) -> tuple[str, str, str]:
    return host.current, host.boots, host.profile_target


def assert_left_alone(ended: GuardStatus, third: str) -> None:
    assert (ended.phase, ended.other_system) == ("failed", third)
    assert f"{third} runs, which is neither the old nor the new system" in ended.message
    assert "could not be restored" not in ended.remedy


@EVERY_SHELL
def test_what_does_not_run_is_not_committed(host: Host) -> None:
    activation = waiting(host)
    third = switched_by_hand(host)
    ended = host.confirm(activation)
    assert_left_alone(ended, third)
    assert ended.reason == "other_system"
    assert f"a third party has changed the profile {host.profile}" in ended.message
    assert systems(host) == (third, third, third)
    assert host.actions == ["test new"]


@EVERY_SHELL
def test_third_system_that_was_only_tested_keeps_running(host: Host) -> None:
    activation, old = waiting(host), host.boots
    third = host.toplevel("third")
    host.switch_to(third)
    assert_left_alone(host.confirm(activation), third)
    assert systems(host) == (third, old, old)


@EVERY_SHELL
def test_third_system_is_not_rolled_back(host: Host) -> None:
    activation = waiting(host)
    third = switched_by_hand(host)
    ended = host.abort(activation, "not healthy")
    assert_left_alone(ended, third)
    assert ended.reason == "aborted"
    assert systems(host) == (third, third, third)
    assert host.actions == ["test new"]


def test_third_system_is_not_called_the_failed_one_that_was_left_running(host: Host) -> None:
    activation = waiting(host, roll_back_on_failure=False)
    third = switched_by_hand(host)
    ended = host.abort(activation)
    assert_left_alone(ended, third)
    assert not ended.left_running


def test_test_is_not_reported_when_another_system_runs(host: Host) -> None:
    activation = waiting(host, action="test")
    third = switched_by_hand(host)
    assert_left_alone(host.confirm(activation), third)


def test_third_system_is_left_alone_by_the_rescue_of_a_killed_guard(host: Host) -> None:
    activation = waiting(host)
    third = switched_by_hand(host)
    os.kill(host.worker(activation), signal.SIGKILL)
    wait_for(lambda: host.status(activation).final, "the dead-man")
    assert_left_alone(host.status(activation), third)
    assert systems(host) == (third, third, third)


@EVERY_SHELL
def test_old_system_that_a_third_party_has_brought_back_is_not_replaced(host: Host) -> None:
    old = host.current
    activation = waiting(host)
    host.switch_to(old)
    ended = host.confirm(activation)
    assert (ended.phase, ended.reason, ended.other_system) == ("rolled-back", "other_system", "")
    assert f"{old} runs and not {host.directory}/store/new" in ended.message
    assert systems(host) == (old, old, old)


@EVERY_SHELL
def test_profile_of_a_third_party_is_neither_replaced_nor_kept_quiet_about(host: Host) -> None:
    """As `nixos-rebuild boot` does: what boots next was chosen by another, what runs is the deploy's."""
    old = host.current
    activation = waiting(host)
    third = host.toplevel("third")
    host.set_profile(third)
    ended = host.confirm(activation)
    assert (ended.phase, ended.reason) == ("rolled-back", "other_system")
    assert f"a third party has changed the profile {host.profile}, which is left alone" in ended.message
    assert (host.current, host.profile_target) == (old, third)


def test_activation_that_failed_early_is_no_third_party(host: Host) -> None:
    """Its script ended before the link moved."""
    ended = host.ended(host.start(host.toplevel("new", first="exit 2")).activation_id)
    assert (ended.phase, ended.reason, ended.other_system) == ("rolled-back", "activation_failed", "")
    assert host.actions == ["test new", "test old"]


@EVERY_SHELL
def test_other_activation_that_held_the_lock_is_not_switched_away(host: Host) -> None:
    third = host.toplevel("third")
    switches = f'ln -sfn {third} "$HOST/run/current-system"; echo Could not acquire lock >&2; exit 11'
    ended = host.ended(host.start(host.toplevel("new", first=switches), timeout_activation=60).activation_id)
    assert_left_alone(ended, third)
    assert ended.reason == "locked"
    assert host.actions == ["test new"]
    assert host.current == third


def test_next_deploy_begins_from_the_third_system(host: Host) -> None:
    activation = waiting(host)
    third = switched_by_hand(host)
    host.confirm(activation)
    started = host.start(host.toplevel("newer"))
    host.awaited(started.activation_id)
    ended = host.abort(started.activation_id)
    assert (ended.phase, ended.old_system) == ("rolled-back", third)
    assert systems(host) == (third, third, third)


def test_interrupted_activation_is_no_hindrance_when_a_third_system_runs(host: Host) -> None:
    waiting(host)
    host.power_cut()
    host.run_system(host.toplevel("third"))
    assert host.deploy(host.toplevel("newer")).phase == "committed"


# --- kinds without a boot default ------------------------------------------------------------------------------------


# The kind whose profile is what runs, and one whose activation only the commit shows.
KINDS = {
    "profile": Driver(profile_kind("true")),
    "system-manager": Driver(profile_kind("true"), {"activate": ":", "commit": "set_profile"}),
}


@EVERY_SHELL
@pytest.mark.parametrize("kind", ["profile", "system-manager"])
@pytest.mark.parametrize("confirmed", [True, False])
def test_profile_that_is_what_runs_is_left_to_a_third_party(host: Host, kind: str, confirmed: bool) -> None:
    activation = waiting(host, kind=KINDS[kind])
    third = host.toplevel("third")
    host.set_profile(third)
    ended = host.confirm(activation) if confirmed else host.abort(activation)
    assert_left_alone(ended, third)
    assert host.profile_target == third


@pytest.mark.parametrize("kind", ["profile", "system-manager"])
def test_what_only_the_commit_shows_is_committed(host: Host, kind: str) -> None:
    assert host.deploy(host.toplevel("new"), kind=KINDS[kind]).phase == "committed"


def test_profile_that_a_third_party_has_put_back_is_not_committed(host: Host) -> None:
    activation, old = waiting(host, kind=KINDS["profile"]), str(host.directory / "store/old")
    host.set_profile(old)
    ended = host.confirm(activation)
    assert (ended.phase, ended.reason) == ("rolled-back", "other_system")
    assert host.profile_target == old
