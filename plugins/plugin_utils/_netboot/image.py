# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Make the store of a release: a closure as a squashfs, wrapped so that the kernel unpacks it as an initial RAM disk.

The squashfs has what that of nixos/lib/make-squashfs.nix has: the store paths, and ``nix-path-registration``, which the
system loads into its Nix database when it boots. The wrapping is that of the kernel's documentation
(Documentation/driver-api/early-userspace/buffer-format.rst), whose headers have 32 bits for the size of a file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import closure_names

STEP = Step.MAKE_RELEASE
STORE_FILE = "nix-store.squashfs"
REGISTRATION = "nix-path-registration"
# A header of the archive has eight hexadecimal digits for the size of a file.
MOST_BYTES = 0xFFFFFFFF
CHUNK_BYTES = 4 * 1024 * 1024
COMPRESSIONS = {
    "zstd": ("-comp", "zstd", "-Xcompression-level", "6"),
    "xz": ("-comp", "xz", "-Xdict-size", "100%"),
    "gzip": ("-comp", "gzip"),
    "lz4": ("-comp", "lz4"),
}
HOW_TO_GET_MKSQUASHFS = (
    "Install it on the controller: the package squashfs-tools of Debian and Fedora, squashfsTools of nixpkgs."
)


def make_store(
    nix: Nix, toplevel: str, target: Path, *, compression: str, timeout: float, on_line: Callable[[str], None]
) -> int:
    """Write the closure of ``toplevel`` to ``target``, and return the number of its paths.

    ``target`` lies in a directory of its own, in which a second file of the same size needs room for a moment.
    Raises ``NixferryError``.
    """
    paths = sorted(closure_names(nix, [toplevel], step=STEP))
    registration = target.with_name(REGISTRATION)
    squashfs = target.with_name(STORE_FILE)
    try:
        with registration.open("wb") as file:
            nix.run(
                ["nix-store", "--dump-db", *paths],
                step=STEP,
                timeout=timeout,
                deadline_name="timeout",
                output=file,
            )
        on_line(f"packing {len(paths)} store paths")
        _pack([str(registration), *paths], squashfs, compression=compression, timeout=timeout)
        _wrap(squashfs, target)
    except OSError as error:
        raise NixferryError(
            f"{error.filename or target} cannot be written: {error.strerror}",
            step=STEP,
            remedy="Look at the space and the owner of the directory in `work`.",
        ) from None
    finally:
        registration.unlink(missing_ok=True)
        squashfs.unlink(missing_ok=True)
    return len(paths)


def _pack(sources: Sequence[str], squashfs: Path, *, compression: str, timeout: float) -> None:
    program = shutil.which("mksquashfs", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        raise NixferryError("mksquashfs is not on the PATH", step=STEP, remedy=HOW_TO_GET_MKSQUASHFS)
    # Nothing in the image depends on when and by whom it is made.
    fixed = (
        "-all-root",
        "-all-time",
        "1",
        "-mkfs-time",
        "1",
        "-no-xattrs",
        "-no-hardlinks",
        "-keep-as-directory",
    )
    options = ("-noappend", "-quiet", "-no-progress", "-b", "1048576", *fixed, *COMPRESSIONS[compression])
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = run_one([program, *sources, str(squashfs), *options], timeout=timeout, environment=environment)
    if not done.succeeded:
        cause = f"mksquashfs had not ended after {timeout:.0f} s" if done.timed_out else "mksquashfs failed"
        raise NixferryError(
            f"{cause}: {done.errors[-1] if done.errors else done.return_code}",
            step=STEP,
            remedy="`output` has what it said. Look at the space below `work`, and raise `timeout` if it is short.",
            output=done.errors,
        )


def _wrap(squashfs: Path, target: Path) -> None:
    size = squashfs.stat().st_size
    if size > MOST_BYTES:
        raise NixferryError(
            f"the store of the system has {size} bytes packed, and an initial RAM disk takes {MOST_BYTES}",
            step=STEP,
            remedy="Make the system smaller: documentation.enable = false, fewer packages, compression xz.",
        )
    with target.open("wb") as whole, squashfs.open("rb") as content:
        whole.write(_header(STORE_FILE, size, mode=0o100444, number=1))
        shutil.copyfileobj(content, whole, CHUNK_BYTES)
        whole.write(b"\0" * (-size % 4))
        whole.write(_header("TRAILER!!!", 0, mode=0, number=0))


def _header(name: str, size: int, *, mode: int, number: int) -> bytes:
    words = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % word for word in words) + name.encode() + b"\0"
    return header + b"\0" * (-len(header) % 4)
