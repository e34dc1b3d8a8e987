# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image of the role ``image`` boots: real firmware, real systemd-boot, a real kernel, and a mini NixOS in it.

With the pull agent in it, the machine becomes a host of its own.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, cast

import pytest
from image_files import PARAMETERS, boot_files, image_play
from image_lab import GENERIC, image_lab
from machine import Story, emulated, go_through, image
from processes import run
from project import Project

TURNS = 4
AGENT = "/var/lib/nixferry-pull/agent"

# What the guest does instead of starting systemd, which this fixture does not have: it tells what it is.
TELL = r"""
tell() { printf '@@ 1 %s %s\n' "$1" "$2"; }
tell system "$systemConfig"
tell profile "$(readlink -f /nix/var/nix/profiles/system)"
tell owners "$(find / -xdev ! -user 0 -o -xdev ! -group 0 | head -n 3 | tr '\n' ' ')"
tell machine_id "$(wc -c </etc/machine-id)"
tell host_keys "$(ls /etc/ssh 2>/dev/null | tr '\n' ' ')"
tell version "$(cat /etc/mini-nixos-version)"
tell entry "$(sed -n 's/.*\(root=[^ ]*\).*/\1/p' /proc/cmdline)"
tell end reached
sync
busybox poweroff -f
"""


def boot(directory: Path, tag: str, disk: Path, variables: Path) -> Story:
    """Boot a disk in a machine of its own; return what it has told."""
    directory.mkdir()
    run(["cp", "--sparse=always", str(disk), str(directory / "disk.raw")])
    run(["cp", str(variables), str(directory / "variables.fd")])
    with emulated(f"nixferry-lab-vm-{os.getpid()}-{secrets.token_hex(3)}", directory, tag) as guest:
        return go_through(guest)


@pytest.mark.takes_turns(TURNS, among="images")
def test_an_image_boots_the_system_that_it_was_made_of(tmp_path: Path) -> None:
    tag = image()
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.systems.mkdir(parents=True)
    files = boot_files(project.systems / "boot", tag)
    host = {"bootFiles": files, "kernelParams": PARAMETERS, "postBootCommands": TELL, "version": "7"}
    project.describe_hosts({"web1": host})
    project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    play = image_play(image_free_space=16)
    first = project.run_playbook(play).assert_ok()
    made = first.result("nix_image", "web1")
    assert made["changed"]
    assert not project.run_playbook(play).assert_ok().result("nix_image", "web1")["changed"]

    story = boot(tmp_path / "machine", tag, Path(made["image"]), project.systems / "boot/variables.fd")
    assert story.told[1] == {
        "system": made["toplevel"],
        "profile": made["toplevel"],
        "owners": "",
        "machine_id": "0",
        "host_keys": "",
        "version": "7",
        "entry": "root=/dev/vda2",
        "end": "reached",
    }, story.serial


@pytest.mark.takes_turns(TURNS, among="images")
def test_a_machine_of_an_image_for_many_hosts_becomes_one_of_them(tmp_path: Path) -> None:
    """It pulls what was published for its name, then the next system, which a power cut does not take back."""
    with image_lab(tmp_path, "web7") as lab:
        lab.describe(GENERIC, "1", "@hostname")
        made = lab.project.run_playbook(image_play()).assert_ok().result("nix_image", GENERIC)
        second = lab.publish("2")
        with lab.machine(Path(made["image"])) as host:
            lab.wait_for_commit(host, second)
            assert host.ask("uname -n") == "web7"
            assert host.current_system() == host.profile() == host.boot_default() == second
            assert host.booted_system() == made["toplevel"]
            # Its agent asks for its own name now.
            assert "PULL_HOST=web7\n" in host.ask(f"cat {AGENT}")

            third = lab.publish("3")
            lab.wait_for_commit(host, third)
            host.power_cut()
            host.power_on()
            assert host.booted_system() == host.current_system() == host.profile() == third
            assert host.boot_default() == third
