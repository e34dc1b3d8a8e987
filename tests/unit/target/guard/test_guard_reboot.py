# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reboot inside the activation: the new system is booted once, and the old one is the default until the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from guard_grub import (
    INSTALL_GRUB,
    grub_boots,
    grub_cfg,
    grub_environment,
    grub_takes_over,
    next_entry,
    with_grub,
)
from guard_host import SHELLS, Host, wait_for

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)

# A program that refuses leaves running what runs.
STAYS = "ln -sfn $HOST/store/first $HOST/run/current-system"


class Machine:
    """A host that reboots: `boots()` is what the boot loader, the kernel and systemd do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.with_service_manager()
        with_grub(host)
        (host.directory / "etc/systemd").mkdir(parents=True)
        host.run_system(self.system("first", kernel="1"))
        subprocess.run([f"{host.current}/bin/switch-to-configuration", "boot"], env=host.env(), check=True)
        (host.directory / "actions").unlink()

    def system(
        self, name: str, kernel: str = "2", inhibitor: str = "", boot: str = "", test: str = ":"
    ) -> str:
        path = self.host.toplevel(name, boot=boot + INSTALL_GRUB, test=test)
        (Path(path) / "kernel-params").write_text(kernel)
        (Path(path) / "switch-inhibitors").write_text(f'{{\n  "dbus": "{inhibitor}",\n  "x": ""\n}}\n')
        return path

    def start(self, toplevel: str, **options: object) -> GuardStatus:
        settings = {"reboot": "if-required", "timeout_reboot": 20, **options}
        return self.host.start(toplevel, reboot_command="touch $HOST/goes-down", **settings)

    @property
    def goes_down(self) -> Path:
        return self.host.directory / "goes-down"

    def wait_until_down(self) -> None:
        wait_for(self.goes_down.exists, "the order to reboot")

    def boots(self, *, with_unit: bool = True) -> str:
        """The power goes off and on; returns what was booted."""
        host = self.host
        # What looks after a killed guard leaves a host alone that goes down.
        (host.directory / "system-state").write_text("stopping\n")
        host.kill_everything()
        (host.directory / "system-state").unlink()
        self.goes_down.unlink(missing_ok=True)
        shutil.rmtree(host.directory / "run/nixferry", ignore_errors=True)
        for path in host.directory.glob("stopped-*"):
            path.unlink()
        system = grub_takes_over(host)
        for name in ("current-system", "booted-system"):
            link = host.directory / "run" / name
            link.unlink()
            link.symlink_to(system)
        host.next_boot()
        if with_unit:
            self.run_unit()
        return Path(system).name

    def run_unit(self) -> None:
        wants = self.host.directory / "etc/systemd/system.control/multi-user.target.wants"
        for link in wants.iterdir() if wants.exists() else ():
            assert "guard.sh boot" in link.read_text()
            record = self.host.record(link.name.removeprefix("nixferry-").removesuffix("-recover.service"))
            argv = [str(self.host.programs / "guard-shell"), str(record / "guard.sh"), "boot"]
            subprocess.run(argv, env=self.host.env(), check=True, timeout=60)

    @property
    def default(self) -> str:
        return grub_boots(self.host)

    def systems(self) -> tuple[str, str, str]:
        """What runs, what boots and what the profile holds."""
        return Path(self.host.current).name, Path(self.default).name, Path(self.host.profile_target).name

    def left(self) -> list[str]:
        control = self.host.directory / "etc/systemd/system.control"
        units = [path.name for path in control.rglob("*.service")]
        return [*units, "next_entry"] if next_entry(self.host) else units

    def wait_until_tidy(self) -> None:
        """The guard tidies up after it has told how the activation ended."""
        wait_for(lambda: self.left() == [], "the end of the guard")


@pytest.fixture
def machine(host: Host) -> Machine:
    return Machine(host)


@EVERY_SHELL
def test_new_system_is_booted_once_and_then_committed(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"))
    assert started.reboot in ("planned", "under-way")
    machine.wait_until_down()
    down = host.status(started.activation_id)
    assert (down.phase, down.reboot, down.interrupted, down.boot_default) == (
        "activating",
        "under-way",
        False,
        "old",
    )
    assert machine.systems() == ("first", "first", "new")

    assert machine.boots() == "new"
    back = host.awaited(started.activation_id)
    assert (back.phase, back.reboot, back.boot_default) == ("awaiting-confirmation", "done", "old")
    assert machine.systems() == ("new", "first", "new")
    done = host.confirm(started.activation_id)
    assert (done.phase, done.boot_default, done.reboot_required) == ("committed", "new", False), host.story()
    assert machine.systems() == ("new", "new", "new")
    machine.wait_until_tidy()
    assert host.actions == ["boot first", "boot new"]
    assert host.start(host.current, reboot="always").unchanged


@EVERY_SHELL
@pytest.mark.parametrize("healthy", [True, False])
def test_what_runs_is_booted_again_without_a_deploy(machine: Machine, healthy: bool) -> None:
    """Even if the profile does not lead to its newest generation, no other one is made."""
    host = machine.host
    first, link = host.current, host.profile.readlink()
    host.set_profile(machine.system("second"))
    host.profile.unlink()
    host.profile.symlink_to(link)
    generations = sorted(path.name for path in host.profile.parent.iterdir())
    options: dict[str, object] = {"reboot": "always", "force": True, "is_rollback": True}
    foretold = host.probe(toplevel=first, reboot="always", force=True)
    assert (foretold.reboot, foretold.reboot_problem, foretold.unchanged) == (True, "", False)
    started = machine.start(first, **options)
    machine.wait_until_down()
    assert machine.boots() == "first"
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation", host.story()
    done = host.confirm(started.activation_id) if healthy else host.abort(started.activation_id)
    assert done.phase == ("committed" if healthy else "rolled-back"), host.story()
    assert not machine.goes_down.exists(), "another reboot would not help"
    assert machine.systems() == ("first", "first", "first")
    assert sorted(path.name for path in host.profile.parent.iterdir()) == generations
    machine.wait_until_tidy()


@EVERY_SHELL
def test_host_that_comes_back_with_the_old_system_says_so(machine: Machine) -> None:
    host = machine.host
    new = machine.system("new")
    started = machine.start(new)
    machine.wait_until_down()
    assert f"init={new}/init" in grub_cfg(host).read_text()
    # The new one crashed: the entry was forgotten before it was tried.
    grub_environment(host).unlink()
    assert machine.boots() == "first"
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.reboot) == ("rolled-back", "boot_failed", "done"), host.story()
    assert "came back with the old system by itself" in ended.message
    assert machine.systems() == ("first", "first", "first")
    assert not Path(f"{host.profile}-3-link").is_symlink()
    assert f"init={new}/init" not in grub_cfg(host).read_text()
    machine.wait_until_tidy()


@EVERY_SHELL
@pytest.mark.parametrize("reason", ["not_confirmed", "aborted"])
def test_what_is_not_confirmed_is_left_by_another_reboot(machine: Machine, reason: str) -> None:
    host = machine.host
    started = machine.start(machine.system("new"), timeout_confirm=5 if reason == "not_confirmed" else 100)
    machine.wait_until_down()
    machine.boots()
    if reason == "aborted":
        host.awaited(started.activation_id)
        (host.record(started.activation_id) / "abort").write_text("unhealthy")
    machine.wait_until_down()
    assert host.status(started.activation_id).phase == "rolling-back"
    assert machine.systems() == ("new", "first", "first")
    assert machine.boots() == "first"
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", reason), host.story()
    assert machine.systems() == ("first", "first", "first")
    machine.wait_until_tidy()


def test_power_cut_while_the_new_system_awaits_confirmation(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"))
    machine.wait_until_down()
    machine.boots()
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    assert machine.boots() == "first"
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "interrupted"), host.story()
    assert machine.systems() == ("first", "first", "first")


def test_power_cut_before_the_reboot(machine: Machine) -> None:
    """Where the new entry has just been written, and nothing says that it is to be booted."""
    host = machine.host
    slow = Path(host.current) / "bin/switch-to-configuration"
    slow.write_text(slow.read_text() + "\n[ -e $HOST/reached ] || { touch $HOST/reached; sleep 60; }\n")
    started = machine.start(machine.system("new"))
    wait_for((host.directory / "reached").exists, "the boot loader")
    assert machine.systems() == ("first", "first", "new")
    assert machine.boots() == "first"
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "interrupted"), host.story()
    assert machine.systems() == ("first", "first", "first")


@EVERY_SHELL
def test_controller_goes_on_where_the_unit_never_ran(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"))
    machine.wait_until_down()
    machine.boots(with_unit=False)
    assert host.status(started.activation_id).interrupted
    assert host.recover(started.activation_id).phase in ("activating", "awaiting-confirmation")
    host.awaited(started.activation_id)
    # It comes late, and does no harm.
    machine.run_unit()
    assert host.confirm(started.activation_id).phase == "committed", host.story()


def test_second_deployer_finds_the_host_locked(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"))
    machine.wait_until_down()
    other = machine.system("other")
    with pytest.raises(NixferryError, match="another deploy to this host is running"):
        machine.start(other)
    machine.boots(with_unit=False)
    with pytest.raises(NixferryError, match=f"activation {started.activation_id}"):
        machine.start(other)
    assert host.awaited(started.activation_id).phase == "awaiting-confirmation"
    assert host.confirm(started.activation_id).phase == "committed"


def test_guard_killed_after_the_reboot(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"))
    machine.wait_until_down()
    machine.boots()
    host.awaited(started.activation_id)
    os.kill(host.worker(started.activation_id), signal.SIGKILL)
    machine.wait_until_down()
    machine.boots()
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "guard_killed"), host.story()
    assert machine.systems() == ("first", "first", "first")


def test_host_that_does_not_go_down(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"), timeout_reboot=3)
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "reboot_failed"), host.story()
    assert machine.systems() == ("first", "first", "first")
    machine.wait_until_tidy()


def test_without_a_roll_back_the_new_system_runs_on(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"), roll_back_on_failure=False, timeout_confirm=3)
    machine.wait_until_down()
    machine.boots()
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.left_running) == ("failed", True), host.story()
    assert machine.systems() == ("new", "first", "first")


def test_commit_that_fails_after_the_reboot(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new", boot="exit 1\n"))
    machine.wait_until_down()
    machine.boots()
    host.awaited(started.activation_id)
    (host.record(started.activation_id) / "confirm").touch()
    machine.wait_until_down()
    machine.boots()
    assert host.ended(started.activation_id).reason == "commit_failed"
    assert machine.systems() == ("first", "first", "first")


def test_reboot_is_not_required(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new", kernel="1"))
    assert host.awaited(started.activation_id).reboot == ""
    assert host.confirm(started.activation_id).phase == "committed"
    assert host.actions == ["test new", "boot new"]
    machine.wait_until_tidy()


def test_reboot_that_is_still_due_comes_back_with_what_was_booted(machine: Machine) -> None:
    host = machine.host
    new = machine.system("new")
    assert host.deploy(new).reboot_required
    assert machine.systems() == ("new", "new", "new")
    started = machine.start(new)
    machine.wait_until_down()
    assert machine.systems() == ("new", "first", "new")
    grub_environment(host).unlink()
    machine.boots()
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, Path(ended.old_system).name) == ("rolled-back", "boot_failed", "first")
    assert machine.systems() == ("first", "first", "first")


def test_inhibitor_is_a_reason_for_a_reboot(machine: Machine) -> None:
    host = machine.host
    refuses = "echo \"Pre-switch check 'switchInhibitors' failed\"; exit 1"
    new = machine.system("new", kernel="1", inhibitor="broker", test=f"{STAYS}; {refuses}")
    ended = host.ended(machine.start(new, reboot="never").activation_id)
    assert (ended.phase, ended.reason, ended.reboot_required) == ("rolled-back", "reboot_required", True)
    assert ended.reboot_reasons == ("switch-inhibitors",)
    assert "reboot: if-required" in ended.remedy
    assert host.actions == ["test new"]
    assert machine.start(new).reboot in ("planned", "under-way")


def test_program_that_asks_for_a_reboot_gets_it(machine: Machine) -> None:
    host = machine.host
    new = machine.system("new", kernel="1", test=f"{STAYS}; exit 100")
    started = machine.start(new, roll_back_on_failure=False)
    machine.wait_until_down()
    assert machine.boots() == "new"
    host.awaited(started.activation_id)
    # What was refused before the reboot has been activated by it.
    ended = host.abort(started.activation_id)
    assert (ended.phase, ended.left_running) == ("failed", True), host.story()
    assert machine.systems() == ("new", "first", "first")


def test_abort_before_the_reboot_leaves_the_host_up(machine: Machine) -> None:
    host = machine.host
    slow = Path(host.current) / "bin/switch-to-configuration"
    slow.write_text(slow.read_text() + "\n[ -e $HOST/reached ] || { touch $HOST/reached; sleep 60; }\n")
    started = machine.start(machine.system("new"))
    wait_for((host.directory / "reached").exists, "the boot loader")
    ended = host.abort(started.activation_id)
    assert (ended.phase, ended.reason) == ("rolled-back", "aborted"), host.story()
    assert not machine.goes_down.exists()
    assert machine.systems() == ("first", "first", "first")


@pytest.mark.parametrize("trouble", ["loader", "memory", "units", "old"])
def test_host_that_cannot_is_refused_before_anything_changes(machine: Machine, trouble: str) -> None:
    host = machine.host
    new = machine.system("new")
    if trouble == "loader":
        shutil.rmtree(host.directory / "boot")
    elif trouble == "memory":
        host.program("findmnt", "#!/bin/sh\ncase $5 in */boot/grub) echo ext4 ;; *) echo tmpfs ;; esac\n")
    elif trouble == "units":
        (host.directory / "etc/systemd/system.control").write_text("not a directory")
    elif trouble == "old":
        host.profile.unlink()
    words = {
        "loader": "neither systemd-boot nor GRUB",
        "memory": "main memory",
        "units": "cannot be written to",
        "old": "no old system",
    }
    if trouble in ("loader", "old"):
        assert words[trouble] in host.probe(toplevel=new, reboot="always").reboot_problem
    with pytest.raises(NixferryError, match=words[trouble]) as caught:
        machine.start(new)
    assert "Nothing was changed" in caught.value.remedy
    assert host.actions == []
    assert host.probe().lock_holder is None
    assert not list((host.state / "activations").iterdir())


def test_probe_says_whether_the_host_would_reboot(machine: Machine) -> None:
    host = machine.host
    new, same = machine.system("new"), machine.system("same", kernel="1")
    assert host.probe(toplevel=new, reboot="if-required").reboot
    assert not host.probe(toplevel=same, reboot="if-required").reboot
    assert host.probe(toplevel=same, reboot="always").reboot
    assert not host.probe(toplevel=new, reboot="never").reboot
    assert host.probe(toplevel=new, reboot="always").reboot_problem == ""


@pytest.mark.parametrize("confirmed", [True, False])
def test_third_system_after_the_reboot_is_left_alone(machine: Machine, confirmed: bool) -> None:
    """It runs without having been booted: no reboot takes it away, and only the generation of the deploy goes."""
    host = machine.host
    started = machine.start(machine.system("new"))
    machine.wait_until_down()
    assert machine.boots() == "new"
    host.awaited(started.activation_id)
    third = machine.system("third")
    host.switch_to(third)
    ended = host.confirm(started.activation_id) if confirmed else host.abort(started.activation_id)
    assert (ended.phase, ended.other_system) == ("failed", third), host.story()
    assert machine.systems() == ("third", "first", "first")
    assert not machine.goes_down.exists()
    machine.wait_until_tidy()


def test_third_system_that_was_booted_is_told(machine: Machine) -> None:
    host = machine.host
    started = machine.start(machine.system("new"))
    machine.wait_until_down()
    third = machine.system("third")
    grub_environment(host).unlink()
    subprocess.run([f"{third}/bin/switch-to-configuration", "boot"], env=host.env(), check=True)
    assert machine.boots() == "third"
    ended = host.ended(started.activation_id)
    assert (ended.phase, ended.reason, ended.other_system) == ("failed", "boot_failed", third), host.story()
    assert host.current == third


def test_boot_that_cannot_be_asked_about_is_not_confirmed(machine: Machine) -> None:
    """The new system may still be starting, or be stuck: no word from systemd is not the word that it runs."""
    host = machine.host
    started = machine.start(machine.system("new"), timeout_activation=20)
    machine.wait_until_down()
    host.program("systemctl", "#!/bin/sh\nexit 1\n")
    assert machine.boots() == "new"
    machine.wait_until_down()
    back = host.status(started.activation_id)
    assert (back.phase, back.reason) == ("rolling-back", "activation_timeout")
