# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which disks may be destroyed, which machines can be installed, and what is left to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample_machines import EMPTY, INSTALLER, A, B

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.judge import (
    Needs,
    check_machine,
    steps_left,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.look import (
    Look,
    chosen_disks,
    devices_in,
    identity,
)

SCRIPT = "/nix/store/0123-disko"
NEEDS = Needs("x86_64-linux", can_kexec=False, kexec_memory_mib=1400, secure_boot=False)


def chosen(seen: Look, disks: list[str], confirm: list[str], *, known: bool = True) -> list[str]:
    found = chosen_disks(seen, disks, confirm, script=SCRIPT, script_known=known, mount_point="/mnt")
    return [name for name, _disk in found]


def test_an_empty_disk_needs_its_name_only() -> None:
    assert chosen(INSTALLER, [A], []) == [A]
    # Two names of one disk are one disk.
    assert len(chosen(INSTALLER, [A, "/dev/disk/by-id/wwn-A"], [])) == 1


@pytest.mark.parametrize(
    ("disks", "confirm", "words"),
    [
        ([], [], "no disk is named"),
        (["/dev/sda"], [], "does not name a disk by its id"),
        (["/dev/disk/by-uuid/1"], [], "does not name a disk by its id"),
        (["/dev/disk/by-id/../../sda"], [], "does not name a disk by its id"),
        ([A], ["/dev/disk/by-id/x y"], "does not name a disk by its id"),
        (["/dev/disk/by-id/ata-C"], [], "the machine has no disk"),
        ([A], [B], "is in `confirm` and not in `disks`"),
        ([A, B], [], "does not work on the named disk sdb"),
    ],
)
def test_refused(disks: list[str], confirm: list[str], words: str) -> None:
    with pytest.raises(NixferryError, match=words) as caught:
        chosen(INSTALLER, disks, confirm)
    assert "Nothing was changed" in caught.value.remedy


def test_data_is_confirmed_disk_by_disk() -> None:
    seen = replace(INSTALLER, script_disk=(f"sda {A}", f"sdb {B}"))
    with pytest.raises(NixferryError, match="is not empty: it has ext4"):
        chosen(seen, [A, B], [A])
    assert chosen(seen, [A, B], [B]) == [A, B]


def test_a_disk_in_use_is_refused_on_an_installer_and_confirmed_before_kexec() -> None:
    used = replace(EMPTY, uses=("mounted on /",))
    seen = replace(INSTALLER, disks=(used,))
    with pytest.raises(NixferryError, match="is in use: mounted on /"):
        chosen(seen, [A], [A])
    with pytest.raises(NixferryError, match="is not empty: it has mounted on /"):
        chosen(replace(seen, state="linux"), [A], [])
    assert chosen(replace(seen, state="linux"), [A], [A]) == [A]


def test_the_script_must_work_on_the_named_disks_alone() -> None:
    with pytest.raises(NixferryError, match=r"works on /dev/sdb1, which is on the disk sdb"):
        chosen(replace(INSTALLER, script_disk=(f"sda {A}", "sdb /dev/sdb1")), [A], [])
    with pytest.raises(NixferryError, match="does not work on the named disk sda"):
        chosen(replace(INSTALLER, script_disk=()), [A], [])
    assert chosen(replace(INSTALLER, script_disk=()), [A], [], known=False) == [A]


def test_what_the_script_has_begun_with_may_be_formatted_again_until_it_has_ended() -> None:
    begun = replace(INSTALLER, disks=(replace(EMPTY, content="ext4"),), disks_begun=identity(SCRIPT, [A]))
    assert chosen(begun, [A], []) == [A]
    for other in (
        replace(begun, disks_begun=identity("/nix/store/other", [A])),
        replace(begun, disks_begun=identity(SCRIPT, [A, B])),
        replace(begun, disks_done=identity(SCRIPT, [A])),
    ):
        with pytest.raises(NixferryError, match="is not empty"):
            chosen(other, [A], [])


def test_what_an_earlier_run_has_mounted_is_no_use_of_others() -> None:
    mounted = replace(
        EMPTY,
        content="ext4",
        uses=("mounted on /mnt", "mounted on /mnt/boot", "swap", "part of a mounted btrfs"),
    )
    other_script = identity("/nix/store/other", [A])
    seen = replace(
        INSTALLER, disks=(mounted,), disks_begun=other_script, disks_done=other_script, mounted=True
    )
    # It is data all the same.
    with pytest.raises(NixferryError, match="is not empty"):
        chosen(seen, [A], [])
    assert chosen(seen, [A], [A]) == [A]
    # The same script has not ended.
    begun = replace(seen, disks_begun=identity(SCRIPT, [A]), disks_done="")
    assert chosen(begun, [A], []) == [A]
    for use in ("mounted on /", "mounted on /mnt2"):
        with pytest.raises(NixferryError, match=f"is in use: {use}"):
            chosen(replace(begun, disks=(replace(mounted, uses=(*mounted.uses, use)),)), [A], [A])
    # Without such a record it may be anything.
    with pytest.raises(
        NixferryError, match="is in use: mounted on /mnt, mounted on /mnt/boot, swap, part of"
    ):
        chosen(replace(seen, disks_begun="", disks_done=""), [A], [A])


@pytest.mark.parametrize(
    ("seen", "needs", "words"),
    [
        ({"system": "aarch64-linux"}, {}, "is for x86_64-linux, and the machine is aarch64-linux"),
        ({"secure_boot": True}, {}, "Secure Boot is on"),
        ({"install_problem": ("nixos-install is missing",)}, {}, "nixos-install is missing"),
        ({"state": "linux", "name": "Debian"}, {}, "runs Debian, not an installer"),
        ({"state": "linux", "memory_mib": 990}, {"can_kexec": True}, "990 MiB of RAM"),
        ({"state": "linux", "container": "lxc"}, {"can_kexec": True}, r"a container \(lxc\)"),
        ({"state": "linux", "kexec_problem": ("cpio is missing",)}, {"can_kexec": True}, "cpio is missing"),
        (
            {"state": "linux", "secure_boot": True},
            {"can_kexec": True, "secure_boot": True},
            "forbids kexec",
        ),
    ],
)
def test_unfit_machines(seen: dict[str, Any], needs: dict[str, Any], words: str) -> None:
    with pytest.raises(NixferryError, match=words):
        check_machine(replace(INSTALLER, **seen), replace(NEEDS, **needs))


def test_fit_machines() -> None:
    check_machine(INSTALLER, NEEDS)
    check_machine(replace(INSTALLER, secure_boot=True), replace(NEEDS, secure_boot=True))
    check_machine(INSTALLER, replace(NEEDS, system="i686-linux"))
    check_machine(replace(INSTALLER, state="linux", container="none"), replace(NEEDS, can_kexec=True))
    # What is a host already is left alone, whatever it is.
    check_machine(replace(INSTALLER, state="managed", system="riscv64-linux"), NEEDS)


def test_steps_left() -> None:
    formatted = identity(SCRIPT, [A])

    def left(**changes: Any) -> list[str]:
        return steps_left(replace(INSTALLER, **changes), formatted=formatted, toplevel="/nix/store/t")

    assert left(state="managed") == []
    assert left(state="installed") == ["reboot"]
    assert left(state="linux") == ["kexec", "disks", "system", "reboot"]
    assert left() == ["disks", "system", "reboot"]
    assert left(disks_done=formatted, mounted=True) == ["system", "reboot"]
    # Another disk, or another script, is another installation.
    assert left(disks_done=identity(SCRIPT, [B]), mounted=True) == ["disks", "system", "reboot"]
    assert left(disks_done=formatted) == ["disks", "system", "reboot"]
    # The reboot has unmounted it and did not happen.
    assert left(disks_done=formatted, system_done="/nix/store/t") == ["reboot"]


def test_a_disko_script_is_not_a_file_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("format /dev/sda")
    script = tmp_path / "store/0-disko"
    script.parent.mkdir()
    script.symlink_to(tmp_path / "notes")
    with pytest.raises(NixferryError, match="leads out of the Nix store"):
        devices_in(str(script))
    script.unlink()
    script.write_text("format /dev/sdb")
    assert devices_in(str(script)) == ("/dev/sdb",)
