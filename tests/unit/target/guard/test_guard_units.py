# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard where systemd runs: its units, and what becomes of the processes in them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from guard_host import SHELLS, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind, profile_kind

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


def systems(host: Host) -> tuple[str, str, str]:
    """The names of what runs, what boots and what the profile points to."""
    return Path(host.current).name, Path(host.boots).name, Path(host.profile_target).name


def test_rescue_that_comes_just_as_the_guard_ends_changes_nothing(host: Host) -> None:
    """The rescue has read an unfinished phase; when it looks for the guard, that has done its work and is gone."""
    host.with_service_manager()
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    waits = 'touch "$HOST/rescue-waits"; until [ -e "$HOST/go" ]; do sleep 0.05; done; echo running'
    host.program("systemctl", f'#!/bin/sh\ncase "$*" in *is-system-running*) {waits} ;; esac\n')
    rescue = subprocess.Popen(
        [host.programs / "guard-shell", host.record(started.activation_id) / "guard.sh", "rescue"],
        env=host.env(),
    )
    try:
        wait_for((host.directory / "rescue-waits").exists, "the rescue to have read the phase")
        worker = host.worker(started.activation_id)
        assert host.confirm(started.activation_id).phase == "committed"
        wait_for(lambda: not host.is_alive(worker), "the guard to end")
        (host.directory / "go").touch()
        assert rescue.wait(timeout=20) == 0
    finally:
        rescue.kill()
        rescue.wait()
    assert host.status(started.activation_id).phase == "committed"
    assert host.actions == ["test new", "boot new"]


def test_guard_that_has_not_reported_yet_is_not_taken_for_dead(host: Host) -> None:
    """The dead-man looks every ten seconds; on a busy host the guard may report later than that."""
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    record = host.record(started.activation_id)
    shutil.rmtree(host.directory / "run/nixferry/copies")
    (record / "reports_by").write_text(f"{2**40}\n")
    (record / "worker").rename(record / "worker-not-yet")
    rescue = [host.programs / "guard-shell", record / "guard.sh", "rescue"]
    subprocess.run(rescue, env=host.env(), check=True, timeout=20)
    assert host.actions == ["test new"]
    # Past the deadline it counts as dead, whether or not it ever came up.
    (record / "reports_by").write_text("0\n")
    subprocess.run(rescue, env=host.env(), check=True, timeout=20)
    # The host's own dead-man may have come first.
    assert host.ended(started.activation_id).phase == "rolled-back"
    assert systems(host) == ("old", "old", "old")


@EVERY_SHELL
def test_units_of_the_service_manager(host: Host) -> None:
    host.with_service_manager()
    started = host.start(host.toplevel("new"))
    name = f"nixferry-{started.activation_id}"
    host.awaited(started.activation_id)
    os.kill(host.worker(started.activation_id), signal.SIGKILL)
    ended = host.ended(started.activation_id)
    wait_for(lambda: host.status(started.activation_id).final, "the rescue")
    assert host.status(started.activation_id).reason == "guard_killed", ended
    units = (host.directory / "units").read_text().split()
    assert units[:2] == [f"{name}-deadman", name], (
        "the dead-man is armed before there is anything to look after"
    )
    assert set(units[2:]) <= {f"{name}-rescue"}
    assert systems(host) == ("old", "old", "old")
    wait_for((host.directory / f"stopped-{name}-deadman.timer").exists, "the timer to be stopped")


def test_host_that_is_going_down_is_left_to_boot_the_old_system(host: Host) -> None:
    host.with_service_manager()
    (host.directory / "system-state").write_text("stopping\n")
    started = host.start(host.toplevel("new"))
    host.awaited(started.activation_id)
    os.kill(host.worker(started.activation_id), signal.SIGKILL)
    subprocess.run(
        [host.programs / "guard-shell", host.record(started.activation_id) / "guard.sh", "rescue"],
        env=host.env(),
        check=True,
        timeout=20,
    )
    assert host.actions == ["test new"]
    host.power_cut()
    assert host.recover(started.activation_id).phase == "rolled-back"


def test_service_manager_that_refuses_is_reported_and_nothing_is_left(host: Host) -> None:
    host.with_service_manager()
    host.program("systemd-run", "#!/bin/sh\necho 'Failed to start transient unit: no' >&2\nexit 1\n")
    with pytest.raises(NixferryError, match="Failed to start transient unit: no"):
        host.start(host.toplevel("new"))
    assert host.actions == []
    assert not list((host.state / "activations").iterdir())
    assert not list((host.directory / "nix/var/nix/gcroots/nixferry").iterdir())
    assert host.probe().lock_holder is None


def control_group(host: Host, unit: str) -> Path:
    """The file that lists the processes of a unit, beside process 1 as the kernel names its group."""
    lines = [line.split(":", 2) for line in Path("/proc/1/cgroup").read_text().splitlines()]
    manager = next(group for _number, kind, group in lines if kind == "").removesuffix("/init.scope")
    path = (
        host.directory / "sys/fs/cgroup/unified" / manager.strip("/") / "system.slice" / unit / "cgroup.procs"
    )
    path.parent.mkdir(parents=True)
    return path


DAEMON = "setsid sleep 987 >/dev/null 2>&1 & echo $! >$HOST/daemon.new; mv $HOST/daemon.new $HOST/daemon"


@EVERY_SHELL
def test_what_an_activation_has_started_outlives_the_guard(host: Host) -> None:
    host.with_service_manager()
    done = host.deploy(host.toplevel("new", test=DAEMON))
    daemon = int((host.directory / "daemon").read_text())
    control_group(host, f"nixferry-{done.activation_id}.service").write_text(f"{daemon}\n")
    wait_for(lambda: not host.is_alive(host.worker(done.activation_id)), "the guard to end")
    started = (host.directory / "systemd-run").read_text().splitlines()
    assert len(started) == 2
    assert all(" -p KillMode=process " in line for line in started)
    assert all(" -p IgnoreOnIsolate=yes " in line for line in started)
    assert [
        line for line in started if "--on-active" in line and "--timer-property=IgnoreOnIsolate=yes" in line
    ]
    assert host.is_alive(daemon)


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_hanging_activation_has_started_is_ended(host: Host, killed: bool) -> None:
    """Also when the guard itself was killed: the rescue runs in another unit."""
    host.with_service_manager()
    new = host.toplevel("new", test=f"{DAEMON}\nuntil [ -e $HOST/go ]; do sleep 0.03; done; sleep 60")
    started = host.start(new, timeout_activation=20)
    wait_for((host.directory / "daemon").exists, "the daemon")
    daemon = int((host.directory / "daemon").read_text())
    control_group(host, f"nixferry-{started.activation_id}.service").write_text(f"{daemon}\n")
    (host.directory / "go").touch()
    if killed:
        os.kill(host.worker(started.activation_id), signal.SIGKILL)
    else:
        host.abort(started.activation_id)
    wait_for(lambda: host.status(started.activation_id).phase == "rolled-back", "the roll back")
    assert not host.is_alive(daemon)
    assert systems(host) == ("old", "old", "old")


def commanded(host: Host, command: str = "true") -> Kind:
    """Kind profile with a command that records what it was called for."""
    kind = profile_kind(f'echo "$(basename "$TOPLEVEL")" >>"$HOST/commands"\n{command}')
    return replace(kind, profile=str(host.profile))


def boot_units(host: Host) -> Path:
    """Where units lie that the next boot starts; only hosts of some tests have it."""
    return host.directory / "etc/systemd/system"


def boot(host: Host) -> None:
    """What systemd does with these units when the host comes up."""
    for link in (boot_units(host) / "multi-user.target.wants").iterdir():
        settings = [line.partition("=")[::2] for line in link.read_text().splitlines()]
        environment = [value.strip('"') for key, value in settings if key == "Environment"]
        (command,) = [value for key, value in settings if key == "ExecStart"]
        clean = ["env", "-i", *environment, f"HOST={host.directory}", f"FAULTS={host.directory}/faults"]
        subprocess.run([*clean, *command.split()], check=True, timeout=60)


def units_left(host: Host) -> list[str]:
    return [path.name for path in boot_units(host).rglob("*") if path.suffix == ".service"]


@EVERY_SHELL
def test_power_cut_of_a_profile_is_undone_by_the_next_boot_itself(host: Host) -> None:
    host.with_service_manager()
    boot_units(host).mkdir(parents=True)
    started = host.start(host.toplevel("new"), kind=commanded(host))
    host.awaited(started.activation_id)
    unit = f"nixferry-{started.activation_id}-recover.service"
    assert units_left(host) == [unit, unit]
    assert "\nType=simple\nKillMode=process\n" in (boot_units(host) / unit).read_text()
    boot(host)
    assert host.status(started.activation_id).phase == "awaiting-confirmation", "it is the same boot"

    host.power_cut()
    assert Path(host.profile_target).name == "new"
    boot(host)
    ended = host.status(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "interrupted")
    assert Path(host.profile_target).name == "old"
    assert (host.directory / "commands").read_text().split() == ["new", "old"]
    assert units_left(host) == []
    assert host.probe().lock_holder is None


@pytest.mark.parametrize("confirmed", [True, False])
def test_unit_for_the_next_boot_goes_with_the_activation(host: Host, confirmed: bool) -> None:
    host.with_service_manager()
    boot_units(host).mkdir(parents=True)
    started = host.start(host.toplevel("new"), kind=commanded(host))
    host.awaited(started.activation_id)
    if confirmed:
        host.confirm(started.activation_id)
    else:
        host.abort(started.activation_id)
    wait_for(lambda: units_left(host) == [], "the end of the unit")


def test_next_deploy_that_comes_before_the_unit_is_not_disturbed(host: Host) -> None:
    host.with_service_manager()
    boot_units(host).mkdir(parents=True)
    first = host.start(host.toplevel("new"), kind=commanded(host))
    host.awaited(first.activation_id)
    host.power_cut()
    record = boot_units(host) / "multi-user.target.wants" / f"nixferry-{first.activation_id}-recover.service"
    text = record.read_text()
    second = host.start(host.toplevel("newer"), kind=commanded(host))
    host.awaited(second.activation_id)
    # The boot comes to it late.
    record.write_text(text)
    boot(host)
    assert host.confirm(second.activation_id).phase == "committed"
    assert Path(host.profile_target).name == "newer"


def test_no_unit_where_a_boot_loader_knows_the_old_system(host: Host) -> None:
    host.with_service_manager()
    boot_units(host).mkdir(parents=True)
    host.awaited(host.start(host.toplevel("new")).activation_id)
    assert units_left(host) == []


def test_no_unit_on_nixos(host: Host) -> None:
    """There, the directory is a link into the store."""
    host.with_service_manager()
    (host.directory / "etc/static").mkdir(parents=True)
    boot_units(host).parent.mkdir(parents=True)
    boot_units(host).symlink_to(host.directory / "etc/static")
    started = host.start(host.toplevel("new"), kind=commanded(host))
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    assert not list((host.directory / "etc/static").iterdir())
    assert started.notes == ()


def test_unit_that_cannot_be_installed_is_noted(host: Host) -> None:
    host.with_service_manager()
    boot_units(host).mkdir(parents=True)
    (boot_units(host) / "multi-user.target.wants").write_text("not a directory")
    started = host.start(host.toplevel("new"), kind=commanded(host))
    assert any("only the next deploy can undo this one" in note for note in started.notes)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
