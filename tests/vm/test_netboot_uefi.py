# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine with UEFI boots from the network, by iPXE's driver for UEFI, and a deploy to it is a trial as with BIOS."""

from __future__ import annotations

from pathlib import Path

import pytest
from netboot_machine import MAC, QEMU, NetbootLab, netboot_lab
from processes import run

# Some 60 seconds of a processor.
TURNS = 4
FIRMWARE = (
    "cp /usr/share/OVMF/OVMF_VARS_4M.fd /machine/variables.fd && "
    + QEMU.replace("-m 384", "-m 512").replace("-boot n ", "").replace(f"mac={MAC}", f"mac={MAC},bootindex=1")
    + " -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
    " -drive if=pflash,format=raw,file=/machine/variables.fd"
)


class UefiLab(NetbootLab):
    """The same machine with OVMF."""

    def power_on(self) -> None:
        run(["docker", "exec", "--detach", self.container, "sh", "-c", FIRMWARE])


@pytest.mark.takes_turns(TURNS, among="netboot")
def test_a_machine_with_uefi(tmp_path: Path) -> None:
    with netboot_lab(tmp_path) as made:
        lab = UefiLab(made.directory, made.container)
        lab.deploy(nixos_store_path=lab.system("1")).assert_ok()
        lab.power_on()
        lab.wait_for_boots(1)
        lab.wait_until_up()
        lab.deploy(nixos_store_path=lab.system("2")).assert_ok()
        failed = lab.deploy(nixos_store_path=lab.system("3", "panic"))
        assert failed.status != 0
        assert "came back with the release" in failed.output
        told = [f"{boot.version}{' once' if boot.is_trial else ''}" for boot in lab.boots()]
        assert told == ["1", "2 once", "3 once", "2"]
        assert lab.state()["trial"] is None
