# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an installation sees of a machine and its disks: files below a directory stand for sysfs and devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from install_machine import MIB, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_disks_are_what_is_not_made_of_others(machine: Machine) -> None:
    machine.disk("sda", "8:0", link="ata-A_1")
    machine.partition("sda", "sda1", "8:1")
    machine.disk("sr0", "11:0")
    machine.disk("mmcblk0boot0", "179:8")
    machine.block("loop0", "7:0")
    machine.block("dm-0", "253:0")
    machine.disk("nvme0n1", "259:0")
    seen = machine.look()
    assert [disk.name for disk in seen.disks] == ["nvme0n1", "sda"]
    assert machine.seen("sda").ids == ("/dev/disk/by-id/ata-A_1",)
    assert machine.seen("sda").model == "A disk"
    assert machine.seen("sda").size == 4 * MIB
    assert (seen.state, seen.name, seen.memory_mib) == ("installer", "Installer", 2000)


@pytest.mark.parametrize("place", [0, MIB - 1, 3 * MIB, 4 * MIB - 1])
def test_any_byte_at_either_end_is_data(machine: Machine, place: int) -> None:
    machine.disk("sda", "8:0")
    assert machine.seen("sda").content == ""
    with (machine.root / "dev/sda").open("r+b") as device:
        device.seek(place)
        device.write(b"\1")
    assert machine.seen("sda").content == "data of an unknown kind"


def test_a_disk_that_cannot_be_read_is_not_empty(machine: Machine) -> None:
    machine.disk("sda", "8:0")
    machine.program("head", "exit 1")
    assert machine.seen("sda").content == "something that cannot be read"


def test_content_is_named(machine: Machine) -> None:
    machine.disk("sda", "8:0")
    machine.program("blkid", r'printf "DEVNAME=x\nTYPE=crypto_LUKS\nUSAGE=crypto\n"')
    assert machine.seen("sda").content == "crypto_LUKS"
    machine.program("blkid", r'printf "PTTYPE=gpt\n"')
    machine.partition("sda", "sda1", "8:1")
    machine.partition("sda", "sda2", "8:2")
    assert machine.seen("sda").content == "partition table gpt, 2 partitions"
    # Without blkid, sysfs still tells.
    machine.program("blkid", "exit 127")
    assert machine.seen("sda").content == "2 partitions"


def test_what_is_made_of_a_disk_uses_it(machine: Machine) -> None:
    machine.disk("sda", "8:0")
    machine.disk("sdb", "8:16")
    part = machine.partition("sda", "sda2", "8:2")
    machine.block("dm-0", "253:0")
    machine.block("dm-1", "253:1")
    (part / "holders/dm-0").mkdir()
    (machine.root / "sys/class/block/dm-0/holders/dm-1").mkdir()
    machine.mounts("20 1 253:1 / /srv/data rw - ext4 /dev/mapper/x rw\n21 1 0:5 / /proc rw - proc proc rw\n")
    assert machine.seen("sda").uses == ("mounted on /srv/data",)
    assert machine.seen("sdb").uses == ()
    # btrfs has a number of its own.
    machine.mounts("20 1 0:40 / / rw,x shared:1 - btrfs /dev/sdb rw\n")
    assert machine.seen("sdb").uses == ("mounted on /",)
    (machine.root / "proc/swaps").write_text("Filename Type\n/dev/sda2 partition 1 0 -2\n")
    assert machine.seen("sda").uses == ("swap",)


def test_devices_of_the_script_lead_to_disks(machine: Machine) -> None:
    machine.disk("sda", "8:0", link="ata-A_1")
    machine.disk("sdb", "8:16", link="ata-B_2")
    machine.partition("sdb", "sdb1", "8:17")
    (machine.root / "dev/disk/by-partlabel").mkdir()
    (machine.root / "dev/disk/by-partlabel/disk-main-root").symlink_to("../../sdb1")
    devices = ("/dev/disk/by-id/ata-A_1", "/dev/null", "/dev/disk/by-partlabel/disk-main-root", "/dev/gone")
    assert set(machine.look(devices=devices).script_disk) == {
        "sda /dev/disk/by-id/ata-A_1",
        "sdb /dev/disk/by-partlabel/disk-main-root",
    }
    # The script on the machine counts more than what the controller has read.
    script = machine.root / "nix/store/x-disko"
    script.parent.mkdir(parents=True)
    script.write_text("wipefs --all '/dev/sdb' && mkfs.ext4 /dev/sdb1\n")
    seen = machine.look(script="/nix/store/x-disko", devices=devices)
    assert set(seen.script_disk) == {"sdb /dev/sdb", "sdb /dev/sdb1"}


def test_a_host_is_told_from_an_installer(machine: Machine) -> None:
    release = machine.root / "etc/os-release"
    release.write_text("ID=nixos\n")
    machine.program("stat", "echo ext2/ext3")
    assert machine.look().state == "linux"
    record = machine.root / "var/lib/nixferry/installed"
    record.parent.mkdir()
    record.write_text("toplevel=/nix/store/x\nboot=b:1\n")
    seen = machine.look()
    assert (seen.state, seen.recorded("boot"), seen.recorded("other")) == ("installed", "b:1", "")
    record.write_text("toplevel=/nix/store/x\nconfirmed=1\n")
    assert machine.look().state == "managed"
    record.unlink()
    (machine.root / "run/current-system").mkdir()
    (record.parent / "activations").mkdir()
    assert machine.look().state == "managed"


def test_a_host_may_have_its_root_in_memory(machine: Machine) -> None:
    """It has nixos-install, as all NixOS hosts, and its store on a disk."""
    (machine.root / "etc/os-release").write_text("ID=nixos\n")
    machine.program("nixos-install", "true")
    machine.program("stat", "case $4 in */nix/store) echo zfs ;; *) echo tmpfs ;; esac")
    assert machine.look().state == "linux"
    # An installer without a name has both in memory.
    machine.program("stat", "case $4 in */nix/store) echo overlayfs ;; *) echo tmpfs ;; esac")
    assert machine.look().state == "installer"
    # So has a host that boots from the network, which is left alone, as is one that was deployed to.
    (machine.root / "proc/cmdline").write_text("init=/nix/store/x/init nixferry.release=0123 quiet\n")
    assert machine.look().state == "managed"
    (machine.root / "proc/cmdline").write_text("init=/nix/store/x/init not-nixferry.release=0123\n")
    assert machine.look().state == "installer"
    (machine.root / "var/lib/nixferry/activations").mkdir(parents=True)
    (machine.root / "run/current-system").mkdir()
    assert machine.look().state == "managed"


def test_file_systems_on_several_disks_use_all_of_them(machine: Machine) -> None:
    for number, name in enumerate(("sda", "sdb", "sdc", "sdd")):
        machine.disk(name, f"8:{number * 16}")
    machine.partition("sdb", "sdb1", "8:17")
    machine.partition("sdc", "sdc3", "8:35")
    devices = machine.root / "sys/fs/btrfs/0a1b/devices"
    devices.mkdir(parents=True)
    for name in ("sda", "sdb1"):
        (devices / name).symlink_to(machine.root / "sys/class/block" / name)
    machine.mounts("20 1 0:40 / /srv rw - btrfs /dev/sda rw\n")
    machine.program(
        "zpool", r'printf "  pool: tank\n\tNAME STATE\n\ttank ONLINE 0 0 0\n\t  /dev/sdc3  ONLINE 0 0 0\n"'
    )
    seen = {disk.name: disk.uses for disk in machine.look().disks}
    assert seen == {
        "sda": ("mounted on /srv", "part of a mounted btrfs"),
        "sdb": ("part of a mounted btrfs",),
        "sdc": ("part of an imported ZFS pool",),
        "sdd": (),
    }


def test_secure_boot_is_the_last_byte_of_its_variable(machine: Machine) -> None:
    variables = machine.root / "sys/firmware/efi/efivars"
    assert not machine.look().efi
    variables.mkdir(parents=True)
    variable = variables / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    for byte, on in ((b"\0", False), (b"\1", True)):
        variable.write_bytes(b"\6\0\0\0" + byte)
        seen = machine.look()
        assert (seen.efi, seen.secure_boot) == (True, on)


def test_what_kexec_lacks_is_named(machine: Machine) -> None:
    machine.program("setsid", '[ "$1" != --wait ]')
    directory = machine.root / "proc/sys/kernel"
    directory.mkdir(parents=True)
    (directory / "kexec_load_disabled").write_text("1\n")
    problems = machine.look().kexec_problem
    assert "setsid knows no --wait" in problems
    assert any("kexec_load_disabled" in problem for problem in problems)


def test_look_changes_nothing(machine: Machine) -> None:
    machine.disk("sda", "8:0", link="ata-A_1")
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in machine.root.rglob("*"))
    machine.look()
    assert before == sorted((str(path), path.lstat().st_mtime_ns) for path in machine.root.rglob("*"))
