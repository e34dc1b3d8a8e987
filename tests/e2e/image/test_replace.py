# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine is replaced by its image, or runs from the disk before: healthy, unhealthy, killed, without power.

The machine that a hypervisor of the lab runs is a unit. What Ansible logs in to, to prove it, is another host.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from lab import LabHost
from processes import wait_until
from project import PlaybookRun, Project

DISK = "/srv/machines/web1.qcow2"
HYPERVISOR = "web2"
BACK_DEADLINE = 120  # seconds until the guard has gone back by itself
PROOF_DEADLINE = 120  # seconds until a deploy waits for the machine's proof
UNIT = "lab-machine-web1"


def replace_play(**variables: Any) -> list[Any]:
    return [
        {
            "hosts": "web1",
            "gather_facts": False,
            "vars": {
                "nixos_file": "systems/default.nix",
                "nixos_attr": "{host}",
                "image_format": "qcow2",
                "image_esp_size": 64,
                "image_free_space": 0,
                "image_boot_loader": "systemd-boot",
                "image_hypervisor": HYPERVISOR,
                "image_machine_disk": DISK,
                "image_machine_prepare": 'cp "$IMAGE" "$DISK"',
                "image_machine_stop": f"systemctl stop {UNIT} 2>/dev/null || :",
                "image_machine_start": f"systemd-run --quiet --collect --unit={UNIT} sleep infinity; "
                f"readlink {DISK} >>/run/machine-boots",
                "image_timeout_login": 30,
                "image_health_checks": [{"name": "well", "command": "test -e /run/well", "retries": 0}],
                **variables,
            },
            "tasks": [
                {"ansible.builtin.include_role": {"name": "nixferry.deploy.image", "tasks_from": "replace"}}
            ],
        }
    ]


class Machine:
    """The machine on its hypervisor, and the host that it is proved by."""

    def __init__(self, hypervisor: LabHost, proof: LabHost) -> None:
        self.hypervisor, self.proof = hypervisor, proof

    def disk(self) -> str:
        """The disk that the machine has, by its name."""
        return self.hypervisor.ask(f"basename $(readlink {DISK})")

    def running_from(self) -> str:
        """The disk that it was last started with, empty if it does not run."""
        script = f"systemctl is-active --quiet {UNIT} && basename $(tail -n 1 /run/machine-boots) || :"
        return self.hypervisor.ask(script)

    def is_well(self, well: bool) -> None:
        self.proof.execute("touch /run/well" if well else "rm -f /run/well")


@pytest.fixture
def machine(clean_host: Callable[[str], LabHost]) -> Machine:
    hypervisor, proof = clean_host(HYPERVISOR), clean_host("web1")
    hypervisor.execute(
        f"mkdir -p /srv/machines; echo first >{DISK}; readlink -f {DISK} >/run/machine-boots; "
        f"systemd-run --quiet --collect --unit={UNIT} sleep infinity"
    )
    return Machine(hypervisor, proof)


def describe(project: Project, version: str) -> None:
    loader = project.systems / "boot/systemd/lib/systemd/boot/efi/systemd-bootx64.efi"
    loader.parent.mkdir(parents=True, exist_ok=True)
    loader.write_text("stands for systemd-boot\n")
    project.describe_hosts({"web1": {"version": version, "bootFiles": {"systemd": "boot/systemd"}}})


def started(project: Project, play: list[Any]) -> subprocess.Popen[bytes]:
    argv, settings = project.prepare(play)
    return subprocess.Popen(
        argv,
        cwd=project.directory,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.takes_turns(3, among="images")
def test_a_machine_ends_with_its_new_disk_or_with_the_one_before(project: Project, machine: Machine) -> None:
    def run(**variables: Any) -> PlaybookRun:
        return project.run_playbook(replace_play(**variables))

    # Not well: the disk that it had before any image.
    describe(project, "1")
    machine.is_well(False)
    failed = run()
    assert failed.return_code == 2, str(failed)
    assert "the machine runs from the one before" in str(failed), str(failed)
    assert machine.disk() == machine.running_from() == "before"
    assert machine.hypervisor.ask(f"cat {DISK}") == "first"

    # Well: the new disk.
    machine.is_well(True)
    run().assert_ok()
    first = machine.disk()
    assert first.endswith(".qcow2")
    assert machine.running_from() == first
    # The same image again is nothing to do, and no restart of the machine.
    boots = machine.hypervisor.ask("wc -l </run/machine-boots")
    again = run().assert_ok()
    assert not again.changed("web1"), str(again)
    assert machine.hypervisor.ask("wc -l </run/machine-boots") == boots

    # What the machine has written to its disk is there when it goes back to it.
    machine.hypervisor.execute(f"echo written by the machine >>{DISK}")
    describe(project, "2")
    machine.is_well(False)
    assert run().return_code == 2
    assert machine.disk() == machine.running_from() == first
    assert "written by the machine" in machine.hypervisor.ask(f"tail -n 1 {DISK}")

    # The controller is killed while the machine is proved: the hypervisor goes back by itself.
    endless = [{"name": "endless", "command": "touch /run/asked; sleep 600", "timeout": 600}]
    for end in ("the controller is killed", "the power goes"):
        machine.proof.execute("rm -f /run/asked")
        hold = 10 if end == "the controller is killed" else 900
        running = started(project, replace_play(image_health_checks=endless, image_timeout_proof=hold))
        try:
            wait_until(
                lambda: machine.proof.execute("test -e /run/asked", check=False).returncode == 0,
                deadline=PROOF_DEADLINE,
                what="a machine that is being proved",
            )
            assert machine.running_from() == machine.disk() != first
            if end == "the power goes":
                machine.hypervisor.power_cut()
                machine.hypervisor.power_on()
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        wait_until(
            lambda: machine.running_from() == machine.disk() == first,
            deadline=BACK_DEADLINE,
            what=f"a machine with the disk before, after {end}",
        )
