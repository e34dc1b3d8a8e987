# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image of the role ``image`` boots: real firmware, real systemd-boot, a real kernel, and a mini NixOS in it."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, cast

import pytest
from machine import Story, emulated, go_through, image
from processes import run
from project import Project

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
PARAMETERS = "root=/dev/vda2 console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check"


def boot_files(directory: Path, tag: str) -> dict[str, str]:
    """Take a kernel, an initrd and systemd-boot from the lab's image; return them as ``bootFiles``."""
    loaders = "systemd/lib/systemd/boot/efi"
    (directory / loaders).mkdir(parents=True)
    script = (
        "cp /parts/kernel /parts/initrd /out/; cp /usr/share/OVMF/OVMF_VARS_4M.fd /out/variables.fd; "
        f"for file in /usr/lib/systemd/boot/efi/systemd-bootx64.efi*; do "
        f"cp $file /out/{loaders}/systemd-bootx64.efi; break; done; "
        f"chown -R {os.getuid()}:{os.getgid()} /out"
    )
    run(["docker", "run", "--rm", "--network=none", f"--volume={directory}:/out", tag, "sh", "-c", script])
    return {name: f"boot/{name}" for name in ("kernel", "initrd", "systemd")}


def boot(directory: Path, tag: str, disk: Path, variables: Path) -> Story:
    """Boot a disk in a machine of its own; return what it has told."""
    directory.mkdir()
    run(["cp", "--sparse=always", str(disk), str(directory / "disk.raw")])
    run(["cp", str(variables), str(directory / "variables.fd")])
    with emulated(f"nixferry-lab-vm-{os.getpid()}-{secrets.token_hex(3)}", directory, tag) as guest:
        return go_through(guest)


@pytest.mark.takes_turns(2, among="images")
def test_an_image_boots_the_system_that_it_was_made_of(tmp_path: Path) -> None:
    tag = image()
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.systems.mkdir(parents=True)
    files = boot_files(project.systems / "boot", tag)
    host = {"bootFiles": files, "kernelParams": PARAMETERS, "postBootCommands": TELL, "version": "7"}
    project.describe_hosts({"web1": host})
    project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    variables = {
        "nixos_file": "systems/default.nix",
        "nixos_attr": "{host}",
        "image_esp_size": 64,
        "image_free_space": 16,
        "image_boot_loader": "systemd-boot",
    }
    play = [
        {
            "hosts": "all",
            "gather_facts": False,
            "roles": [{"role": "nixferry.deploy.image", "vars": variables}],
        }
    ]
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
