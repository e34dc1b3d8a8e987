# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is to be installed: files below a directory stand for sysfs, devices and the new system's disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, cast

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.look import Disk, Look, look

MIB = 1024 * 1024


class Machine:
    """A machine below a directory, as root sees it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.turn_seconds = "240"
        self.programs = root / "programs"
        for name in ("programs", "proc/self", "sys/class/block", "dev/disk/by-id", "etc", "run", "var/lib"):
            (root / name).mkdir(parents=True)
        self.program("id", "echo 0")
        self.program("blkid", "exit 2")
        (root / "proc/meminfo").write_text("MemTotal:        2048000 kB\n")
        (root / "etc/os-release").write_text('ID=nixos\nVARIANT_ID="installer"\nPRETTY_NAME="Installer"\n')
        self.mounts("")

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def mounts(self, text: str) -> None:
        (self.root / "proc/self/mountinfo").write_text(text)

    def block(self, name: str, number: str) -> Path:
        directory = self.root / "sys/class/block" / name
        (directory / "holders").mkdir(parents=True)
        (directory / "dev").write_text(f"{number}\n")
        return directory

    def disk(self, name: str, number: str, *, size: int = 4 * MIB, link: str = "") -> Path:
        directory = self.block(name, number)
        (directory / "device").mkdir()
        (directory / "device/model").write_text("A  disk\n")
        (directory / "size").write_text(f"{size // 512}\n")
        with (self.root / "dev" / name).open("wb") as device:
            device.truncate(size)
        if link:
            (self.root / "dev/disk/by-id" / link).symlink_to(f"../../{name}")
        return directory

    def partition(self, disk: str, name: str, number: str) -> Path:
        directory = self.block(name, number)
        (directory / "partition").write_text("1\n")
        (self.root / "sys/class/block" / disk / name).symlink_to(directory)
        (self.root / "dev" / name).write_bytes(b"")
        return directory

    def run(self, text: str, **_options: Any) -> RemoteResult:
        """Run a script, as a remote shell does."""
        return self.run_command("/bin/sh", data=text.encode())

    def run_command(self, command: str, *, data: bytes, **_options: Any) -> RemoteResult:
        """Run a command with data, as a remote shell does."""
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=data,
            capture_output=True,
            check=False,
            timeout=60,
            env={
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "NIXFERRY_ROOT": str(self.root),
                "NIXFERRY_PROC": str(self.root / "proc"),
                "NIXFERRY_TURN_SECONDS": self.turn_seconds,
            },
        )
        return RemoteResult(done.returncode, done.stdout.decode(), done.stderr.decode())

    @property
    def shell(self) -> RemoteShell:
        """The machine for what wants a remote shell."""
        return cast(RemoteShell, self)

    def look(self, **options: Any) -> Look:
        return look(self.shell, mount_point="/mnt", **options)

    def seen(self, name: str) -> Disk:
        return next(disk for disk in self.look().disks if disk.name == name)
