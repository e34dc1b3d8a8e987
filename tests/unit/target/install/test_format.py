# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops the disko script at the last moment: it was looked at before, and others may have been at work since."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
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
NAP_DEADLINE = 60  # seconds, on a busy machine
FORMATTED = identity(SCRIPT, [DISK])


def own_start() -> str:
    """When this process has started, as the kernel says it."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


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
        (place / "process").write_text(f"{os.getpid()} {own_start()}\n")
        (self.work / f"{name}.begun").write_text(f"{begun}\n")

    def take_turn(self) -> Path:
        """Let this very process look at the disks, as an installation that has not begun yet."""
        (self.root / "proc/sys/kernel/random").mkdir(parents=True)
        (self.root / "proc/sys/kernel/random/boot_id").write_text("a-boot\n")
        self.work.mkdir(parents=True)
        turn = self.work / "turn"
        turn.write_text(f"install {os.getpid()} {own_start()} a-boot: 1700000000\n")
        return turn

    def note_naps(self) -> None:
        """Let a script that waits leave a file."""
        self.program("sleep", f'touch {self.root}/napped; PATH=${{PATH#*:}} exec sleep "$@"')

    def wait_until_it_naps(self) -> None:
        deadline = time.monotonic() + NAP_DEADLINE
        while not (self.root / "napped").exists():
            assert time.monotonic() < deadline, "no script waits for its turn"
            time.sleep(0.02)

    def with_system(self) -> None:
        """Mount a disk with a system that is not installed yet, and was formatted for it."""
        self.mounts("20 1 8:1 / /mnt rw - ext4 /dev/sda1 rw\n")
        (self.root / f"mnt{TOPLEVEL}").mkdir(parents=True)
        (self.root / f"mnt{TOPLEVEL}/init").write_text("")
        self.program("nixos-install", f"touch {self.root}/installed")
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "disks.done").write_text(f"{FORMATTED}\n")

    def install(self) -> bool:
        return install_system(
            self.shell, TOPLEVEL, formatted=FORMATTED, mount_point="/mnt", seconds=5, progress=PROGRESS
        )

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
    (machine.root / "sys/fs/btrfs/0a1b/devices/sda").mkdir(parents=True)
    assert machine.refused(seen).endswith("is in use: mounted on /mnt2")


def test_another_installation_is_not_taken_for_this_one(machine: Formatted) -> None:
    machine.under_way("disks", identity("/nix/store/other", [DISK]))
    assert "another installation is at work on this machine (disks): /nix/store/other" in machine.refused()
    assert not (machine.work / "disks.done").exists()


def test_another_system_is_not_taken_for_this_one(machine: Formatted) -> None:
    machine.with_system()
    machine.under_way("system", "/nix/store/other")
    with pytest.raises(NixferryError, match="another installation is at work"):
        machine.install()
    assert not (machine.root / "mnt/var").exists()


def test_disks_are_not_formatted_while_a_system_is_installed(machine: Formatted) -> None:
    """Neither for another installation nor for this one, whose record of the disks is gone."""
    machine.under_way("system", TOPLEVEL)
    assert "another installation is at work on this machine (system)" in machine.refused()
    assert not (machine.work / "disks.begun").exists()


def test_a_system_is_not_installed_while_disks_are_formatted(machine: Formatted) -> None:
    machine.with_system()
    machine.under_way("disks", FORMATTED)
    with pytest.raises(NixferryError, match=r"at work on this machine \(disks\): "):
        machine.install()


def test_a_system_goes_to_the_disks_that_were_formatted_for_it(machine: Formatted) -> None:
    machine.with_system()
    (machine.work / "disks.done").write_text("/nix/store/other-disko /dev/disk/by-id/ata-B\n")
    with pytest.raises(NixferryError, match="disks are now formatted for /nix/store/other-disko"):
        machine.install()
    (machine.work / "disks.done").unlink()
    with pytest.raises(NixferryError, match="disks are now formatted for nothing"):
        machine.install()
    assert not (machine.root / "installed").exists()


def test_of_two_installations_one_looks_at_a_time(machine: Formatted) -> None:
    """The other one waits, and then finds what the first has begun."""
    seen = machine.seen("sda")
    turn = machine.take_turn()
    machine.turn_seconds = "1"
    assert "another installation has looked at the disks of this machine for 1 s" in machine.refused(seen)
    machine.turn_seconds = "60"
    machine.note_naps()
    with ThreadPoolExecutor() as pool:
        refused = pool.submit(machine.refused, seen)
        machine.wait_until_it_naps()
        machine.under_way("disks", identity("/nix/store/other", [DISK]))
        turn.unlink()
        assert "another installation is at work on this machine (disks): /nix/store/other" in refused.result()


def test_the_turn_of_a_process_that_has_gone_is_taken_over(machine: Formatted) -> None:
    seen = replace(machine.seen("sda"), content="something else")
    turn = machine.take_turn()
    turn.write_text(turn.read_text().replace(f" {os.getpid()} ", " 4194303 "))
    assert "now has nothing on it, and had something else" in machine.refused(seen)


def test_what_is_not_mounted_is_not_installed(machine: Formatted) -> None:
    with pytest.raises(NixferryError, match="nothing is mounted on /mnt"):
        machine.install()
