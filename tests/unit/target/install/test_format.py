# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops the disko script at the last moment: it was looked at before, and others may have been at work since."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from install_machine import Machine

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.look import Disk, identity
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.programs import (
    format_disks,
    install_system,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

DISK = "/dev/disk/by-id/ata-A"
SCRIPT = "/nix/store/x-disko"
TOPLEVEL = "/nix/store/y-nixos"


class Silent:
    verbosity = 0

    def display(self, *_words: object, **_options: object) -> None:
        """Show nothing."""


PROGRESS = Progress(Silent(), prefix="web1", muted=True, mode="none")


class Formatted(Machine):
    """A machine with an empty disk and a script that must not run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.disk("sda", "8:0", link="ata-A")
        script = root / SCRIPT[1:]
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\necho /dev/disk/by-id/ata-A\ntouch {root}/ran\n")
        script.chmod(0o755)
        self.work = root / "run/nixferry/install"
        # The clock and the processes of a Linux.
        (root / "proc/uptime").symlink_to("/proc/uptime")
        (root / "proc" / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")

    def under_way(self, name: str, begun: str) -> None:
        """Let a program run that was begun for something: this very process stands for it."""
        place = self.work / f"{name}.program"
        place.mkdir(parents=True)
        start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        (place / "process").write_text(f"{os.getpid()} {start}\n")
        (self.work / f"{name}.begun").write_text(f"{begun}\n")

    def refused(self, disk: Disk | None = None) -> str:
        with pytest.raises(NixferryError) as caught:
            format_disks(
                self.shell,
                SCRIPT,
                [(DISK, disk or self.seen("sda"))],
                [DISK],
                mount_point="/mnt",
                seconds=5,
                progress=PROGRESS,
            )
        assert not (self.root / "ran").exists()
        return caught.value.cause


@pytest.fixture
def machine(tmp_path: Path) -> Formatted:
    return Formatted(tmp_path)


def test_the_disk_that_was_seen_is_another_one_now(machine: Formatted) -> None:
    seen = machine.seen("sda")
    assert "is not sdb any more" in machine.refused(replace(seen, name="sdb"))
    link = machine.root / DISK[1:]
    link.unlink()
    assert "is not sda any more" in machine.refused(seen)


def test_data_that_has_come_since_is_not_destroyed(machine: Formatted) -> None:
    seen = machine.seen("sda")
    (machine.root / "dev/sda").write_bytes(b"x" * 4096)
    assert "now has data of an unknown kind on it, and had nothing" in machine.refused(seen)


def test_a_disk_that_was_mounted_since_is_not_touched(machine: Formatted) -> None:
    seen = machine.seen("sda")
    machine.mounts("20 1 8:0 / /srv rw - ext4 /dev/sda rw\n")
    assert "is in use: mounted on /srv" in machine.refused(seen)


def test_what_an_earlier_run_has_mounted_is_no_use_of_others(machine: Formatted) -> None:
    machine.work.mkdir(parents=True)
    (machine.work / "disks.begun").write_text("/nix/store/other x\n")
    seen = machine.seen("sda")
    machine.mounts("20 1 8:0 / /mnt/boot rw - ext4 /dev/sda rw\n21 1 8:0 / /mnt2 rw - ext4 /dev/sda rw\n")
    assert machine.refused(seen).endswith("is in use: mounted on /mnt2")


def test_another_installation_is_not_taken_for_this_one(machine: Formatted) -> None:
    machine.under_way("disks", identity("/nix/store/other", [DISK]))
    assert "another installation is at work on this machine: /nix/store/other" in machine.refused()
    assert not (machine.work / "disks.done").exists()


def test_another_system_is_not_taken_for_this_one(machine: Formatted) -> None:
    machine.mounts("20 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n")
    (machine.root / f"mnt{TOPLEVEL}").mkdir(parents=True)
    (machine.root / f"mnt{TOPLEVEL}/init").write_text("")
    machine.under_way("system", "/nix/store/other")
    with pytest.raises(NixferryError, match="another installation is at work"):
        install_system(machine.shell, TOPLEVEL, mount_point="/mnt", seconds=5, progress=PROGRESS)
    assert not (machine.root / "mnt/var").exists()


def test_what_is_not_mounted_is_not_installed(machine: Formatted) -> None:
    with pytest.raises(NixferryError, match="nothing is mounted on /mnt"):
        install_system(machine.shell, TOPLEVEL, mount_point="/mnt", seconds=5, progress=PROGRESS)
