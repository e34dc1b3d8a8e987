# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's way from a request to the new system, confirmed, in each shell it has to run under."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from guard_grub import INSTALL_GRUB, grub_boots, with_grub
from guard_host import SHELLS, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, profile_kind

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


@EVERY_SHELL
def test_confirmed_deploy_becomes_the_boot_default(host: Host) -> None:
    new, old = host.toplevel("new"), host.current
    started = host.start(new)
    assert started.phase in ("prepared", "activating", "awaiting-confirmation")

    waiting = host.awaited(started.activation_id)
    assert waiting.phase == "awaiting-confirmation"
    assert host.current == new
    assert (host.boots, host.profile_target, waiting.boot_default) == (old, old, "old")
    assert waiting.seconds_left is not None
    assert 0 < waiting.seconds_left <= 100
    assert "this is new doing test" in waiting.log

    done = host.confirm(started.activation_id)
    assert (done.phase, done.boot_default, done.reason) == ("committed", "new", "")
    assert (done.old_system, done.old_generation, done.new_generation) == (old, 1, 2)
    assert [phase for phase, _time in done.phase_times] == [
        "prepared",
        "activating",
        "awaiting-confirmation",
        "committing",
        "committed",
    ]
    assert host.actions == ["test new", "boot new"]
    assert (host.current, host.boots, host.profile_target) == (new, new, new)
    assert not (host.directory / "run/nixferry/lock").exists()
    assert not list((host.directory / "nix/var/nix/gcroots/nixferry").iterdir())


@EVERY_SHELL
def test_a_start_that_is_sent_twice_starts_once(host: Host) -> None:
    """ssh_retries sends a command again when the connection breaks before the answer has come."""
    new = host.toplevel("new")
    request = host.request(new)
    first, second = (host.guard.start(request) for _attempt in ("first", "second"))
    assert first.activation_id == second.activation_id == request.activation_id
    assert second.phase in ("prepared", "activating", "awaiting-confirmation")
    assert host.confirm(host.awaited(request.activation_id).activation_id).phase == "committed"
    assert host.actions == ["test new", "boot new"]
    with pytest.raises(NixferryError, match="exists already"):
        host.start(host.toplevel("other"), activation_id=request.activation_id)


@EVERY_SHELL
def test_who_may_not_change_the_profile_starts_nothing(host: Host) -> None:
    """A play that forgot `become` activated nothing, and had no way to put the old system back either."""
    old = host.current
    # What not even root can write to, since it is not a directory.
    place = host.directory / "profiles" / "file"
    place.write_text("")
    forbidden = replace(host.kind, profile=str(place / "system"))
    with pytest.raises(NixferryError, match="may not change the profile") as caught:
        host.start(host.toplevel("new"), kind=forbidden)
    assert "become: true" in caught.value.remedy
    assert (host.actions, host.current) == ([], old)
    # The host is free for the next.
    assert host.confirm(host.awaited(host.start(host.toplevel("next")).activation_id).activation_id).final


@EVERY_SHELL
def test_the_answer_begins_a_line_of_its_own(host: Host) -> None:
    """A login script may print something without an end of line."""
    greeting = host.programs / "greeting-shell"
    greeting.write_text(f'#!/bin/sh\nprintf "Welcome! "\nexec {host.programs}/guard-shell "$@"\n')
    greeting.chmod(0o755)
    host.login_shell = "greeting-shell"
    started = host.start(host.toplevel("new"))
    assert host.abort(started.activation_id).phase == "rolled-back"


@EVERY_SHELL
def test_a_deploy_without_a_confirmation_is_rolled_back(host: Host) -> None:
    old = host.current
    started = host.start(host.toplevel("new"), timeout_confirm=1)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.message) == (
        "rolled-back",
        "not_confirmed",
        "no confirmation came within 1 s",
    )
    assert host.actions == ["test new", "test old"]
    assert (host.current, host.boots, host.profile_target) == (old, old, old)
    assert ended.remedy


def test_same_toplevel_twice_changes_nothing(host: Host) -> None:
    new = host.toplevel("new")
    assert host.deploy(new).phase == "committed"
    again = host.start(new)
    assert (again.phase, again.unchanged, again.toplevel, again.old_toplevel) == ("none", True, new, new)
    assert host.actions == ["test new", "boot new"]
    forced = host.start(new, force=True)
    host.awaited(forced.activation_id)
    done = host.confirm(forced.activation_id)
    assert (done.phase, done.old_generation, done.new_generation) == ("committed", 2, 2)


def test_action_test_leaves_the_boot_default_alone(host: Host) -> None:
    new, old = host.toplevel("new"), host.current
    done = host.deploy(new, action="test")
    assert (done.phase, done.boot_default) == ("committed", "old")
    assert (host.current, host.boots, host.profile_target) == (new, old, old)
    assert host.start(new, action="test").unchanged
    # The same system is a change still for an action that makes it permanent.
    assert host.deploy(new).boot_default == "new"


def test_action_boot_activates_nothing_and_asks_for_no_confirmation(host: Host) -> None:
    new, old = host.toplevel("new"), host.current
    started = host.start(new, action="boot")
    done = host.ended(started.activation_id)
    assert (done.phase, done.boot_default) == ("committed", "new")
    assert host.actions == ["boot new"]
    assert (host.current, host.boots) == (old, new)
    assert host.start(new, action="boot").unchanged


@EVERY_SHELL
def test_dry_activation_leaves_no_trace(host: Host) -> None:
    new, old = host.toplevel("new"), host.current
    forecast = host.start(new, action="dry-activate")
    assert (forecast.phase, forecast.exit_code) == ("none", 0)
    assert "would restart web.service" in forecast.log
    assert host.actions == ["dry-activate new"]
    assert (host.current, host.boots, host.profile_target) == (old, old, old)
    assert not host.state.exists()
    assert not (host.directory / "run/nixferry").exists()


def test_specialisation_is_activated_and_the_profile_points_to_its_parent(host: Host) -> None:
    new, blue = host.toplevel("new"), host.toplevel("new-blue")
    (Path(new) / "specialisation").mkdir()
    (Path(new) / "specialisation/blue").symlink_to(blue)
    done = host.deploy(new, specialisation="blue")
    assert (done.phase, done.system, done.toplevel) == ("committed", blue, new)
    # A boot loader program that does not know the specialisation's path must not leave the old default.
    assert host.actions == ["test new-blue", "boot new", "boot new-blue"]
    assert (host.current, host.profile_target) == (blue, new)
    assert host.start(new, specialisation="blue").unchanged
    # The way back from the next deploy leads to the specialisation, not to its parent.
    ended = host.ended(host.start(host.toplevel("newer"), timeout_confirm=1).activation_id)
    assert (ended.phase, ended.old_system, host.current) == ("rolled-back", blue, blue)


@pytest.mark.parametrize("default", ["parent", "night"])
def test_failed_commit_restores_what_booted_by_default_before(host: Host, default: str) -> None:
    """The running specialisation may have been tried only."""
    with_grub(host)
    boot_fails = f"{INSTALL_GRUB} exit 1"
    parent, night = host.toplevel("parent", boot=INSTALL_GRUB), host.toplevel("night", boot=INSTALL_GRUB)
    (Path(parent) / "specialisation").mkdir()
    (Path(parent) / "specialisation/night").symlink_to(night)
    host.run_system(parent)
    host.switch_to(night)
    before = {"parent": parent, "night": night}[default]
    subprocess.run([f"{before}/bin/switch-to-configuration", "boot"], env=host.env(), check=True)
    assert grub_boots(host) == before
    started = host.start(host.toplevel("new", boot=boot_fails))
    host.awaited(started.activation_id)
    assert host.confirm(started.activation_id).phase == "rolled-back"
    assert "boot new" in host.actions
    assert (host.current, os.path.realpath(grub_boots(host)), host.boots) == (night, before, before)


def test_unknown_specialisation_is_refused(host: Host) -> None:
    with pytest.raises(NixferryError, match="has no specialisation green") as caught:
        host.start(host.toplevel("new"), specialisation="green")
    assert caught.value.remedy


def test_confirmation_can_be_repeated_after_a_lost_connection(host: Host) -> None:
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    assert host.confirm(started.activation_id).phase == "committed"
    assert host.confirm(started.activation_id).phase == "committed"


def test_confirmation_before_the_activation_has_ended_is_refused(host: Host) -> None:
    started = host.start(host.toplevel("new", test="until [ -e $HOST/go ]; do sleep 0.03; done"))
    wait_for(lambda: host.actions == ["test new"], "the activation to begin")
    with pytest.raises(NixferryError, match="the activation is activating"):
        host.confirm(started.activation_id)
    (host.directory / "go").touch()
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"


def test_confirmation_of_an_earlier_activation_does_not_count(host: Host) -> None:
    new = host.toplevel("new")
    first = host.start(new)
    host.awaited(first.activation_id)
    host.abort(first.activation_id)
    second = host.start(new, timeout_confirm=1)
    host.awaited(second.activation_id)
    with pytest.raises(NixferryError, match="the activation is rolled-back"):
        host.confirm(first.activation_id)
    assert host.ended(second.activation_id).phase == "rolled-back"


def test_confirmation_that_comes_too_late_is_refused(host: Host) -> None:
    started = host.start(host.toplevel("new"), timeout_confirm=1)
    assert host.ended(started.activation_id).phase == "rolled-back"
    with pytest.raises(NixferryError, match="rolled-back: no confirmation came within 1 s") as caught:
        host.confirm(started.activation_id)
    assert caught.value.step == "confirm"


def test_unknown_activation_is_named(host: Host) -> None:
    with pytest.raises(NixferryError, match="knows no activation 20990101T000000-00000000"):
        host.status("20990101T000000-00000000")


def test_environment_reaches_the_program(host: Host) -> None:
    new = host.toplevel("new", test='echo "backup is <$BACKUP>, locale is <${LC_ALL-unset}>"')
    started = host.start(new, environment=(("BACKUP", "it's\n$HOME"),))
    assert "backup is <it's\n$HOME>, locale is <unset>" in host.awaited(started.activation_id).log


def test_kind_profile_sets_the_profile_first_and_restores_it_exactly(host: Host) -> None:
    new, old = host.toplevel("new"), host.profile_target
    kind = replace(
        profile_kind('echo "$PROFILE $(readlink -f "$PROFILE") $TOPLEVEL" >>"$HOST/seen"'),
        profile=str(host.profile),
    )
    started = host.start(new, kind=kind, timeout_confirm=1)
    ended = host.ended(started.activation_id)
    assert (ended.phase, host.profile_target, ended.new_generation) == ("rolled-back", old, 1)
    seen = [line.split()[1:] for line in (host.directory / "seen").read_text().splitlines()]
    assert seen == [[new, new], [old, old]]
    assert not Path(f"{host.profile}-2-link").exists()
    assert host.deploy(new, kind=kind).phase == "committed"
    assert host.profile_target == new
    assert host.start(new, kind=kind).unchanged


def test_first_deploy_of_a_profile_without_a_command(host: Host) -> None:
    profile = host.directory / "profiles/app"
    kind = replace(KINDS["profile"], profile=str(profile))
    ended = host.ended(host.start(host.toplevel("app"), kind=kind, timeout_confirm=1).activation_id)
    assert (ended.phase, ended.old_toplevel, ended.old_generation) == ("rolled-back", "", None)
    assert not profile.is_symlink()
    assert not Path(f"{profile}-1-link").is_symlink()
    assert host.deploy(host.toplevel("app2"), kind=kind).new_generation == 1


def test_first_deploy_without_an_old_system_says_honestly_that_there_is_no_way_back(host: Host) -> None:
    (host.directory / "run/current-system").unlink()
    ended = host.ended(host.start(host.toplevel("new"), timeout_confirm=1).activation_id)
    assert ended.phase == "failed"
    assert "there was no old system to go back to" in ended.message
    assert ended.boot_default == "old"


def test_first_generation_that_fails_does_not_promise_an_old_one(host: Host) -> None:
    (host.directory / "run/current-system").unlink()
    for link in host.profile.parent.iterdir():
        link.unlink()
    ended = host.ended(host.start(host.toplevel("new"), timeout_confirm=1).activation_id)
    assert (ended.phase, ended.old_toplevel, ended.boot_default) == ("failed", "", "")
    assert "no reboot brings an old system back" in ended.remedy
    assert "boot default is still" not in ended.remedy


def test_old_system_may_differ_from_the_profile(host: Host) -> None:
    """`test` was run before: what ran comes back, and what boots stays."""
    tested, old = host.toplevel("tested"), host.current
    assert host.deploy(tested, action="test").phase == "committed"
    ended = host.ended(host.start(host.toplevel("new"), timeout_confirm=1).activation_id)
    assert (ended.phase, ended.old_system, ended.old_toplevel) == ("rolled-back", tested, old)
    assert (host.current, host.boots, host.profile_target) == (tested, old, old)
