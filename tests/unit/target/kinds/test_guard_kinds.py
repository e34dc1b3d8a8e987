# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard does for kinds other than NixOS: silent failures of units, first deploys, links to what runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from guard_host import SHELLS, Driver, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, Kind, profile_kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


STARTS = 'mkdir -p "$HOST/services/InvocationID"; cat /proc/uptime >"$HOST/services/InvocationID/web.service"'


def kind(activate: str = ":") -> Kind:
    """A kind whose program exits with 0 whatever its units do; each activation starts web.service."""
    return profile_kind(f"{STARTS}\n{activate}")


def driver(activate: str = ":", *, properties: Mapping[str, str] | None = None, **functions: str) -> Driver:
    """The same with some of the driver's functions and properties changed."""
    return Driver(kind(activate), functions, properties or {})


STATES = '"$HOST/restarting" "$HOST/starting" "$HOST/flapping" "$HOST/tested"'
ONLY_NEW = f"case $SYSTEM in */new) {{}} ;; *) rm -rf {STATES} ;; esac"


@EVERY_SHELL
def test_unit_that_has_failed_silently_is_found(host: Host) -> None:
    host.with_service_manager(failed_before="other.service", failed_after="web.service")
    deployed = kind(ONLY_NEW.format('touch "$HOST/tested"'))
    ended = host.ended(host.start(host.toplevel("new"), kind=deployed).activation_id)
    assert (ended.phase, ended.reason, ended.failed_units) == (
        "rolled-back",
        "failed_units",
        ("web.service",),
    )
    assert Path(host.profile_target).name == "old"
    # A unit that has failed too often would not start for the old system either.
    calls = (host.directory / "systemctl").read_text().splitlines()
    assert calls.count("--system reset-failed -- web.service") == 2


@EVERY_SHELL
def test_unit_that_fails_a_moment_later_is_found(host: Host) -> None:
    host.with_service_manager(failed_after="web.service")
    late = 'setsid sh -c "sleep 0.2; touch $HOST/tested" >/dev/null 2>&1 &'
    deployed = kind(ONLY_NEW.format(late))
    ended = host.ended(host.start(host.toplevel("new"), kind=deployed).activation_id)
    assert (ended.reason, ended.failed_units) == ("failed_units", ("web.service",))


@EVERY_SHELL
def test_unit_that_is_restarted_again_and_again_is_found(host: Host) -> None:
    """At any moment of looking it may be running; only the number of its restarts tells."""
    host.with_service_manager()
    restarts = host.directory / "services/NRestarts/web.service"
    restarts.parent.mkdir(parents=True)
    restarts.write_text("0")
    deployed = kind(ONLY_NEW.format('touch "$HOST/flapping"'))
    ended = host.ended(host.start(host.toplevel("new"), kind=deployed).activation_id)
    assert (ended.reason, ended.failed_units) == ("failed_units", ("web.service",))


@EVERY_SHELL
def test_unit_that_waits_for_its_next_attempt_is_found_at_the_deadline(host: Host) -> None:
    host.with_service_manager()
    waits = 'mkdir -p "$HOST/restarting"; touch "$HOST/restarting/web.service"'
    ended = host.ended(host.start(host.toplevel("new"), kind=kind(ONLY_NEW.format(waits))).activation_id)
    assert (ended.reason, ended.failed_units) == ("failed_units", ("web.service",))


def test_unit_that_recovers_is_no_failure(host: Host) -> None:
    host.with_service_manager()
    (host.directory / "restarting").mkdir()
    recovers = 'touch "$HOST/restarting/web.service"; setsid sh -c "sleep 0.3; rm $HOST/restarting/*" >/dev/null 2>&1 &'
    awaited = host.awaited(host.start(host.toplevel("new"), kind=kind(recovers)).activation_id)
    assert (awaited.phase, awaited.failed_units) == ("awaiting-confirmation", ())


def test_unit_that_takes_long_to_start_is_not_waited_for_and_named(host: Host) -> None:
    host.with_service_manager()
    slow = 'mkdir -p "$HOST/starting"; touch "$HOST/starting/slow.service"'
    identifier = host.start(host.toplevel("new"), kind=kind(slow)).activation_id
    host.awaited(identifier)
    done = host.confirm(identifier)
    assert done.phase == "committed"
    assert "still starting or stopping after the activation: slow.service" in done.notes


def test_units_are_not_watched_when_none_was_started(host: Host) -> None:
    host.with_service_manager()
    quiet = profile_kind("true")
    started = host.start(host.toplevel("new"), kind=quiet)
    host.awaited(started.activation_id)
    # The list of units says that no service runs, so none is asked about, and nothing is looked at once more.
    questions = (host.directory / "systemctl").read_text()
    assert "NRestarts" not in questions
    # Before the activation, and to judge it, which also tells what to watch
    assert questions.count("list-units") == 2


def test_environment_of_the_task_reaches_the_programs(host: Host) -> None:
    deployed = kind('printf %s "$SETTING" >"$HOST/setting"')
    host.deploy(host.toplevel("new"), kind=deployed, environment=(("SETTING", "it's $HOME"),))
    assert (host.directory / "setting").read_text() == "it's $HOME"


# Busybox asks no program who the user is.
@pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
def test_boot_unit_of_a_user_whose_service_manager_lingers(host: Host) -> None:
    host.with_service_manager()
    host.program("id", "#!/bin/sh\ncase $1 in -[ug]) echo 4321 ;; *) echo ann ;; esac\n")
    linger = host.directory / "var/lib/systemd/linger/ann"
    linger.parent.mkdir(parents=True)
    units = host.directory / "home/.config/systemd/user"
    quiet = profile_kind("true")
    # Without lingering it would not be started.
    host.ended(host.start(host.toplevel("first"), kind=quiet, timeout_confirm=1).activation_id)
    assert not units.exists()
    linger.touch()
    started = host.start(host.toplevel("new"), kind=quiet)
    name = f"nixferry-{started.activation_id}-recover.service"
    host.awaited(started.activation_id)
    assert (units / "default.target.wants" / name).resolve() == units / name
    assert f"ExecStart={host.programs}/guard-shell" in (units / name).read_text()
    host.confirm(started.activation_id)
    wait_for(lambda: not (units / name).exists(), "the unit to go")


def without_a_system(host: Host) -> None:
    host.profile.unlink()
    for link in host.profile.parent.glob("system-*-link"):
        link.unlink()


@EVERY_SHELL
def test_first_system_that_fails_is_removed_where_the_kind_can_do_that(host: Host) -> None:
    without_a_system(host)
    deployed = driver("exit 3", deactivate='echo "$SYSTEM" >"$HOST/deactivated"')
    new = host.toplevel("new")
    ended = host.ended(host.start(new, kind=deployed).activation_id)
    assert (ended.phase, ended.reason, host.profile.is_symlink()) == (
        "rolled-back",
        "activation_failed",
        False,
    )
    assert (host.directory / "deactivated").read_text().strip() == new
    assert any("the changes of the activation were removed" in note for note in ended.notes)


@EVERY_SHELL
def test_first_system_that_cannot_be_removed_is_named(host: Host) -> None:
    without_a_system(host)
    new = host.toplevel("new")
    ended = host.ended(
        host.start(new, kind=driver("exit 3", properties={"REMAINS": "some links"})).activation_id
    )
    assert ended.phase == "failed"
    assert "the changes of the activation remain (some links)" in ended.message
    deployed = driver("exit 3", deactivate="exit 5")
    ended = host.ended(host.start(new, kind=deployed).activation_id)
    assert ended.phase == "failed"
    assert "removing the new one failed with exit code 5" in ended.message


@EVERY_SHELL
def test_first_of_the_current_links_that_leads_anywhere_tells_what_runs(host: Host) -> None:
    current = Driver(host.kind, properties={"CURRENT": "~/.local/state/some-manager/current profile"})
    assert host.probe(kind=current).current == host.profile_target
    other = host.toplevel("other")
    for variable, directory in (("", "home/.local/state"), ("XDG_STATE_HOME", "state")):
        link = host.directory / directory / "some-manager/current"
        link.parent.mkdir(parents=True)
        link.symlink_to(other)
        host.environment = {variable: str(host.directory / directory)} if variable else {}
        assert host.probe(kind=current).current == other
        link.unlink()


@EVERY_SHELL
def test_host_finds_the_profile_where_the_kind_says_how(host: Host) -> None:
    finding = Driver(host.kind, {"find_profile": f"echo '{host.profile}'"}, {"PROFILE": "/nonexistent"})
    assert host.probe(kind=finding, profile="").profile == str(host.profile)
    assert host.deploy(host.toplevel("new"), kind=finding, profile="").phase == "committed"
    assert Path(host.profile_target).name == "new"
    assert host.probe(kind=finding, profile="/given").profile == "/given"


def test_what_was_tested_and_has_no_link_of_its_own_is_kept_from_garbage_collection(host: Host) -> None:
    tested = kind("true")
    new = host.toplevel("new")
    ended = host.deploy(new, kind=tested, action="test")
    assert ended.phase == "committed"
    roots = host.directory / "nix/var/nix/gcroots/nixferry"
    wait_for(lambda: not (roots / f"{ended.activation_id}-old").exists(), "the end")
    assert str((roots / f"{ended.activation_id}-new").readlink()) == new


def test_profile_that_the_program_has_set_to_a_specialisation_is_put_back(host: Host) -> None:
    """Programs that set the profile themselves set it to what they belong to."""
    new, old = host.toplevel("new"), host.profile_target
    child = Path(new) / "specialisation/blue"
    child.parent.mkdir()
    child.symlink_to(host.toplevel("new-blue"))
    sets = Driver(
        host.kind,
        {"activate": "TOPLEVEL=$SYSTEM\nset_profile\nexit 1"},
        {"REQUIRED": "", "HAS_BOOT_DEFAULT": ""},
    )
    ended = host.ended(host.start(new, kind=sets, specialisation="blue").activation_id)
    assert (ended.phase, host.profile_target) == ("rolled-back", old)


def test_action_boot_sets_a_profile_without_its_command(host: Host) -> None:
    new = host.toplevel("new")
    ended = host.ended(host.start(new, kind=kind("exit 1"), action="boot").activation_id)
    assert (ended.phase, host.profile_target) == ("committed", new)


@pytest.mark.parametrize("name", ["nixos", "darwin", "home-manager", "system-manager", "profile"])
def test_controller_and_driver_agree_on_the_default_profile(name: str) -> None:
    found = re.findall(r"(?m)^ +KIND_PROFILE='?([^'\n]*)'?$", target_text(f"kinds/{name}.sh"))
    assert found == ([KINDS[name].profile] if KINDS[name].profile else [])
    boots = "KIND_HAS_BOOT_DEFAULT=1" in target_text(f"kinds/{name}.sh")
    assert boots == KINDS[name].has_boot_default == ("prepare_boot()" in target_text(f"kinds/{name}.sh"))
