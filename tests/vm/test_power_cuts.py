# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Power cuts while boot entries are written to FAT, the file system of EFI partitions: what is on the disk then.

A kernel writes and QEMU is killed, without firmware: each case takes 6 seconds of a processor.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from machine import image, machine
from processes import run, wait_until

TURNS = 5
WRITE_DEADLINE = 300  # seconds until a guest must have come to where the power goes
STEPS = ("kernel", "entry-tmp", "entry", "loader-tmp", "loader", "all")
DAMAGE = "cluster chain length is 0 bytes"

# Tell what fsck says, then the entry that boots by default.
LOOK = """
dd if=/machine/disk.raw of=/tmp/esp bs=1M skip=2 count=300 conv=sparse status=none
fsck.vfat -n /tmp/esp || true
fsck.vfat -a /tmp/esp >/dev/null || true
default=$(mtype -i /tmp/esp ::/loader/loader.conf | sed -n 's/^default //p')
mtype -i /tmp/esp "::/loader/entries/$default" | sed -n 's/^options /boots /p'
"""


def disk_after_power_cut(directory: Path, *settings: str) -> str:
    """Let a guest write entries with these settings until the power goes; return what LOOK tells of its disk."""
    name = f"nixferry-lab-vm-{os.getpid()}-{secrets.token_hex(3)}"
    with machine(name, "/boot", "writing", directory, settings, directly=True) as guest:
        guest.start()
        try:
            wait_until(
                lambda: bool(guest.story().without_power()),
                deadline=WRITE_DEADLINE,
                what="a guest that writes",
            )
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{guest.story().serial[-4000:]}") from error
        guest.lose_power()
        assert "FAILED" not in guest.story().told[1], guest.story().serial
    look = [
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--label=nixferry.lab=vm",
        f"--volume={directory}:/machine",
    ]
    return run([*look, image(), "sh", "-eu", "-c", LOOK]).stdout


@pytest.mark.takes_turns(TURNS, among="power cuts")
@pytest.mark.parametrize("names", ["generation", "hash"])
@pytest.mark.parametrize("step", STEPS)
def test_entries_are_whole_at_any_moment(step: str, names: str, tmp_path: Path) -> None:
    """As the guard lets them be written."""
    told = disk_after_power_cut(tmp_path, "guard yes", f"step {step}", f"names {names}")
    assert DAMAGE not in told
    system = "sys4" if step in ("loader", "all") else "sys1"
    assert f"boots init=/lab/{system}/init " in told, told


@pytest.mark.takes_turns(TURNS, among="power cuts")
def test_entries_are_damaged_without_the_guard(tmp_path: Path) -> None:
    """The old system's entry, which has been written anew: this is what the guard is there for."""
    told = disk_after_power_cut(tmp_path, "step loader-tmp", "names generation")
    assert DAMAGE in told, told
    assert "boots" not in told
