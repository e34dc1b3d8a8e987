# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host of the lab in a virtual machine: real firmware, a real boot loader and a real kernel, and ssh to it.

Its root is that of the stock container: Debian with systemd, Nix and a mini NixOS, whose boot entries are those that
NixOS writes. A boot takes some 20 seconds of a processor until sshd answers.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import Lab, LabHost
from machine import FIRMWARE, LAB, image, make_disk
from processes import COMMAND_DEADLINE, run, wait_until
from project import Project, make_project

FILES = Path(__file__).parent / "host"
NAME = "vm1"
BOOT_DEADLINE = 240  # seconds until a host that got power must let ssh in

QEMU = (
    "qemu-system-x86_64",
    # The clock goes on while the guest sleeps: it is talked to from outside.
    *("-machine", "q35,smm=off", "-accel", "tcg,thread=single,tb-size=128", "-icount", "shift=2"),
    *("-cpu", "qemu64", "-smp", "1", "-m", "384", "-nodefaults", "-display", "none", "-monitor", "none"),
    *("-chardev", "file,id=serial,path=/machine/serial.log,append=on", "-serial", "chardev:serial"),
    *("-drive", "if=none,id=disk,file=/machine/disk.raw,format=raw,cache=writeback"),
    *("-device", "virtio-blk-pci,drive=disk,bootindex=1"),
    *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
    # It counts only once the guest has opened it.
    *("-device", "i6300esb", "-action", "watchdog=reset"),
)
NETWORK = "user,id=net,hostfwd=tcp::22-:22"
NOWHERE_ELSE = ",restrict=on"


@dataclass(frozen=True)
class VmHost(LabHost):
    """A host in a virtual machine. All is asked by ssh; the boot default is read from the loader's own files."""

    esp: str = "/boot"
    boot_partition: str = "/boot"
    is_grub: bool = False

    def execute(
        self, script: str, *, check: bool = True, user: str = "root", timeout: float = COMMAND_DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the host by a new ssh connection."""
        return self.ssh(script, user=user, check=check, timeout=timeout)

    def boot(self) -> str:
        """The kernel's id of this boot, empty while the host is down."""
        return self.execute("cat /proc/sys/kernel/random/boot_id", check=False).stdout.strip()

    def boot_default(self) -> str:
        """Return the system that the boot loader starts by itself, from its files; empty for a pattern."""
        if self.is_grub:
            text = self.ask("cat /boot/grub/grub.cfg")
            return text.partition(" init=")[2].partition("/init ")[0]
        script = f"""
            name=$(sed -n 's/^default //p' {self.esp}/loader/loader.conf)
            sed -n 's|^options init=\\(.*\\)/init .*|\\1|p' "{self.boot_partition}/loader/entries/$name" """
        return self.ask(script)

    def serial(self) -> str:
        """All that the machine has printed on its serial console."""
        written = self.machine_directory / "serial.log"
        return written.read_text(errors="replace") if written.exists() else ""

    def know(self, key: str) -> None:
        """Let ssh expect this public key of the host."""
        line = " ".join([f"[127.0.0.1]:{self.ssh_port}", *key.split()[:2]])
        (self.directory / "known_hosts").write_text(f"{line}\n")

    @property
    def machine_directory(self) -> Path:
        return self.directory / "machine"

    def wait_ready(self, deadline: float = BOOT_DEADLINE) -> None:
        """Wait until ssh lets root in; raises AssertionError with the end of the serial console after ``deadline``."""
        try:
            wait_until(lambda: bool(self.boot()), deadline=deadline, what=f"{self.name} lets ssh in")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.serial()[-4000:]}") from error

    def make_anew(self) -> None:
        raise NotImplementedError("a machine serves one test")


@contextmanager
def vm_host(layout: str, directory: Path, *, on_demand: bool = False) -> Iterator[tuple[VmHost, Project]]:
    """Start a host with a disk of that layout; give it and a user's project for it.

    With ``on_demand``, its EFI system partition is mounted only while something looks at it.
    """
    tag, stock = image(), image("stock")
    run([str(LAB / "scripts/make-keys"), str(directory), NAME])
    machine = directory / "machine"
    shutil.copytree(FILES, machine / "guest")
    shutil.copy(directory / "ssh_key.pub", machine / "guest/authorized_key")
    shutil.copy(directory / f"host_keys/{NAME}", machine / "guest/host_key")
    if on_demand:
        (machine / "guest/on-demand").touch()
    make_disk(tag, layout, machine, host=stock)
    firmware = () if layout == "grub-bios" else FIRMWARE
    with created(directory, NAME, layout, "-netdev", NETWORK + NOWHERE_ELSE, *firmware) as host:
        host.know((directory / f"host_keys/{NAME}.pub").read_text())
        host.power_on()
        yield host, make_project(directory / "project", _Inventory(NAME, {NAME: host}, directory))


@contextmanager
def created(directory: Path, name: str, layout: str, *options: str) -> Iterator[VmHost]:
    """Make a host, without power, of the disk and the variables in ``machine``; ``options`` are QEMU's."""
    ssh_port = int(run([str(LAB / "scripts/free-ports"), "1"]).stdout)
    container = f"nixferry-lab-vm-{os.getpid()}-{secrets.token_hex(3)}"
    command = ["docker", "create", "--init", f"--name={container}", "--label=nixferry.lab=vm"]
    command += [f"--volume={directory / 'machine'}:/machine", f"--publish=127.0.0.1:{ssh_port}:22"]
    run([*command, image(), *QEMU, *options])
    try:
        yield VmHost(
            name=name,
            release="trixie",
            container=container,
            ssh_port=ssh_port,
            http_port=0,
            start_command=(),
            directory=directory,
            esp=layout.partition("+")[0],
            boot_partition=layout.rpartition("+")[2],
            is_grub=layout.startswith("grub"),
        )
    finally:
        run(["docker", "rm", "--force", container])


@dataclass(frozen=True)
class _Inventory(Lab):
    """The lab of one machine."""

    where: Path

    def __post_init__(self) -> None:
        """Write its inventory."""
        host = self.hosts[NAME]
        common = f"-o 'UserKnownHostsFile=\"{self.where / 'known_hosts'}\"' -o IdentitiesOnly=yes"
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": host.ssh_port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.where / "ssh_key"),
            "ansible_ssh_common_args": common,
        }
        (self.where / "inventory.yml").write_text(json.dumps({"lab": {"hosts": {NAME: variables}}}))

    @property
    def directory(self) -> Path:
        return self.where
