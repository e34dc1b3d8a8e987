# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk that answers with errors (EIO) when a test says so.

It is a block device of the kernel with a file system of its own, so programs see what they would see on a disk that
dies: what is in main memory can still be read, a write may seem to succeed and fails later, the journal aborts. Few
kernels have device mapper's `error` target without modules. So the block device is a loop device, and its file is the
only one of a file system that this process serves (FUSE, by the protocol of `linux/fuse.h`): when it refuses a read or
a write, the loop device has an I/O error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import LabHost, run

DISK_BYTES = 32 << 20
MAX_WRITE = 128 << 10
ROOT_NODE, DISK_NODE = 1, 2
DISK_NAME = b"disk"

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS = 1, 2, 3, 4, 14, 15, 16, 17
RELEASE, FSYNC, FLUSH, INIT, ACCESS, INTERRUPT, BATCH_FORGET = 18, 20, 25, 26, 34, 36, 42
UNANSWERED = (FORGET, INTERRUPT, BATCH_FORGET)
FUSE_BIG_WRITES = 1 << 5
FOPEN_DIRECT_IO = 1 << 0
HEADER = struct.Struct("<IIQQIIII")


class Disk(threading.Thread):
    """The contents of the disk, and the server of its file."""

    def __init__(self, directory: Path) -> None:
        super().__init__(name="bad disk", daemon=True)
        self.directory = directory
        self.contents = bytearray(DISK_BYTES)
        self.refused: frozenset[int] = frozenset()
        """The requests that fail: READ, WRITE and FSYNC."""
        self.failures = 0
        """How many requests have failed."""
        self._channel = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._channel},rootmode=40000,user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"bad-disk", os.fsencode(directory), b"fuse.bad-disk", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "cannot mount", str(directory))

    def breaks(self, *requests: int) -> None:
        """From now on these requests fail; without any the disk is well again."""
        self.refused = frozenset(requests)

    def run(self) -> None:
        while True:
            try:
                request = os.read(self._channel, MAX_WRITE + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return  # unmounted
            _length, opcode, unique, node, *_rest = HEADER.unpack_from(request)
            if opcode in UNANSWERED:
                continue
            try:
                answer, code = self._answer(opcode, node, request[HEADER.size :]), 0
            except OSError as error:
                answer, code = b"", -(error.errno or errno.EIO)
            os.write(self._channel, struct.pack("<IiQ", 16 + len(answer), code, unique) + answer)

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode in self.refused:
            self.failures += 1
            raise OSError(errno.EIO, "refused")
        if opcode == INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, FUSE_BIG_WRITES, 0, 0, MAX_WRITE, 1, 0, 0, 0)
        if opcode == LOOKUP:
            if body.rstrip(b"\0") != DISK_NAME:
                raise OSError(errno.ENOENT, "no such file")
            return struct.pack("<QQQQII", DISK_NODE, 0, 3600, 3600, 0, 0) + self._attributes(DISK_NODE)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
        if opcode == OPEN:
            return struct.pack("<QII", 1, FOPEN_DIRECT_IO, 0)
        if opcode == READ:
            _handle, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.contents[offset : offset + size])
        if opcode == WRITE:
            _handle, offset, size = struct.unpack_from("<QQI", body)
            self.contents[offset : offset + size] = body[40 : 40 + size]
            return struct.pack("<II", size, 0)
        if opcode == STATFS:
            return struct.pack("<QQQQQIIII24x", DISK_BYTES >> 12, 0, 0, 1, 0, 4096, 255, 4096, 0)
        if opcode in (RELEASE, FSYNC, FLUSH, ACCESS):
            return b""
        raise OSError(errno.ENOSYS, "not served")

    @staticmethod
    def _attributes(node: int) -> bytes:
        is_disk = node == DISK_NODE
        mode = stat.S_IFREG | 0o600 if is_disk else stat.S_IFDIR | 0o700
        size = DISK_BYTES if is_disk else 0
        return struct.pack("<6Q10I", node, size, size >> 9, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


@contextmanager
def bad_disk(host: LabHost, *places: str) -> Iterator[Disk]:
    """Put directories of the host onto a disk that the block can break. The host has to be made anew afterwards."""
    directory = host.directory / f"disk-{host.name}"
    directory.mkdir()
    disk = Disk(directory)
    device = ""
    try:
        disk.start()
        file = str(directory / DISK_NAME.decode())
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "nodiscard", file])
        device = run(["losetup", "--find", "--show", file]).stdout.strip()
        _mount(host, device, places)
        yield disk
    finally:
        disk.breaks()
        host.execute(f"umount --lazy {' '.join(places)} /run/disk", check=False)
        if device:
            run(["losetup", "--detach", device])
        run(["umount", "--lazy", str(directory)])
        disk.join(10)
        directory.rmdir()


def _mount(host: LabHost, device: str, places: tuple[str, ...]) -> None:
    """Copy the directories to the disk, and mount them from there. The container itself may not use devices."""
    number = Path(device).stat().st_rdev
    lines = [
        "set -e",
        f"mknod /root/disk.device b {os.major(number)} {os.minor(number)}",
        "mkdir -p /run/disk",
        # Writes that fail show within a second.
        "mount -t ext4 -o commit=1 /root/disk.device /run/disk",
        "rm /root/disk.device",
    ]
    for place in places:
        copy = shlex.quote(f"/run/disk/{place.replace('/', '_')}")
        lines += [f"mkdir -p {place}", f"cp -a {place} {copy}", f"mount --bind {copy} {place}"]
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", host.container]
    enter = ["nsenter", f"--target={run(inspect).stdout.strip()}", "--mount", "/bin/sh"]
    run(enter, input="\n".join([*lines, "sync -f /run/disk"]))


def forget_what_was_read() -> None:
    """Let the kernel read everything from the disks again. What is open stays in main memory."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
