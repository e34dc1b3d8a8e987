# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run the programs that write disk images: as any user, without a mount, a device or a virtual machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import Ended, run_one
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import search_directories

STEP = Step.MAKE_IMAGE
# The time of everything in an image, in seconds since the epoch: 1 as in the Nix store, and the first that FAT knows.
STORE_TIME = 1
FAT_TIME = 315532800
# Seconds that one program may take; mke2fs copies the closure.
PROGRAM_SECONDS = 3600.0
# The program of each package by which it is missed, and what the package is called in nixpkgs.
PACKAGES: Mapping[str, str] = {
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "sfdisk": "util-linux",
    "mformat": "mtools",
    "mmd": "mtools",
    "mcopy": "mtools",
    "qemu-img": "qemu-utils",
}
ROOM = "Make room there for twice the size of the closure, or name another `directory`."
DISK_PROGRAMS = ("mke2fs", "debugfs", "dumpe2fs", "sfdisk", "mformat", "mmd", "mcopy")


class Tools:
    """The programs, with an environment that makes equal input equal output."""

    def __init__(self, programs: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Find ``programs``. Raises ``NixferryError`` that names the missing ones and their packages."""
        given = os.environ if environment is None else environment
        # Debian's users have no sbin in PATH, where some of the programs are.
        path = os.pathsep.join([search_directories(given), "/usr/sbin", "/sbin"])
        found = {program: shutil.which(program, path=path) for program in programs}
        missing = [program for program, place in found.items() if place is None]
        if missing:
            packages = dict.fromkeys(PACKAGES.get(program, program) for program in missing)
            raise NixferryError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed on the controller",
                step=STEP,
                remedy=f"Install {', '.join(packages)}; sfdisk is in the package fdisk of Debian. Or run "
                f"ansible-playbook in `nix shell {' '.join(f'nixpkgs#{name}' for name in packages)}`.",
            )
        self._programs = {program: str(place) for program, place in found.items()}
        self._environment = {
            **given,
            "PATH": path,
            "LC_ALL": "C",
            "TZ": "UTC",
            # Settings of the user would change the image.
            "MTOOLSRC": os.devnull,
            "MTOOLS_SKIP_CHECK": "1",
            "E2FSPROGS_FAKE_TIME": str(STORE_TIME),
            "SOURCE_DATE_EPOCH": str(STORE_TIME),
        }

    def run(
        self,
        arguments: Sequence[str],
        *,
        doing: str,
        input: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
    ) -> Ended:
        """Run a program to its end. ``doing`` says in an error what failed. Raises ``NixferryError``."""
        program, *rest = arguments
        try:
            ended = run_one(
                [self._programs[program], *rest],
                timeout=PROGRAM_SECONDS,
                environment={**self._environment, **(environment or {})},
                input=input,
                working_directory=str(working_directory) if working_directory else None,
            )
        except OSError as error:
            raise NixferryError(f"{program} cannot be started: {error.strerror}", step=STEP) from None
        if not ended.succeeded:
            raise _failed(program, doing, ended)
        return ended


def _failed(program: str, doing: str, ended: Ended) -> NixferryError:
    said = [line.strip() for line in (*ended.text.splitlines()[-20:], *ended.errors) if line.strip()]
    if ended.timed_out:
        return NixferryError(
            f"{doing}: {program} did not end within {PROGRAM_SECONDS:.0f} seconds", step=STEP, output=said
        )
    full = any("No space left" in line or "Could not allocate block" in line for line in said)
    return NixferryError(
        f"{doing}: {program} ended with exit code {ended.return_code}{f': {said[-1]}' if said else ''}",
        step=STEP,
        remedy="Make room on the controller for twice the size of the closure, or raise `free_space`."
        if full
        else "",
        output=said,
    )
