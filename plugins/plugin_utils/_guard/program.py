# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The guard as a program on the host, and the short script that runs it there."""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The parts of the guard in the order in which they are joined.
GUARD_PARTS = (
    "lib/base.sh",
    "lib/answer.sh",
    "lib/request.sh",
    "lib/own.sh",
    "lib/reach.sh",
    "lib/time.sh",
    "lib/files.sh",
    "lib/process.sh",
    "lib/rest.sh",
    "lib/claim.sh",
    "lib/systemd.sh",
    "lib/system.sh",
    "lib/record.sh",
    "lib/lock.sh",
    "kinds/kind.sh",
    "kinds/nixos.sh",
    "kinds/darwin.sh",
    "kinds/home-manager.sh",
    "kinds/system-manager.sh",
    "kinds/profile.sh",
    "guard/driver.sh",
    "guard/place.sh",
    "guard/gcroots.sh",
    "guard/deployed.sh",
    "guard/look.sh",
    "guard/program.sh",
    "secrets/sets.sh",
    "secrets/activation.sh",
    "guard/settle.sh",
    "guard/judge.sh",
    "boot/common.sh",
    "boot/systemd-boot.sh",
    "boot/grub.sh",
    "boot/loader.sh",
    "guard/units.sh",
    "guard/metrics.sh",
    "guard/end.sh",
    "guard/reboot.sh",
    "guard/roll_back.sh",
    "guard/commit.sh",
    "guard/boot_once.sh",
    "guard/engine.sh",
    "guard/status.sh",
    "guard/pulled.sh",
    "guard/refuse.sh",
    "guard/start.sh",
    "guard/probe.sh",
    "guard/installed.sh",
    "guard/verbs.sh",
)
# The scripts that find the guard on the host: the one that began an activation, or the one of this collection.
LOADER_OF_RECORD = ("lib/own.sh", "guard/loader.sh", "guard/loader_record.sh", "guard/loader_run.sh")
LOADER_OF_PROGRAM = ("lib/own.sh", "guard/loader.sh", "guard/loader_program.sh", "guard/loader_run.sh")
NAME_DIGITS = 32


def target_text(part: str) -> str:
    """Read a file of ``target/``."""
    return (Path(__file__).parent.parent / "target" / part).read_text(encoding="utf-8")


@dataclass(frozen=True)
class GuardProgram:
    """A version of the guard."""

    text: str
    """The text of the file on the host. It keeps the comments, for administrators who read it there."""

    @functools.cached_property
    def name(self) -> str:
        """The name of the file on the host: the first digits of its SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:NAME_DIGITS]

    @property
    def assignments(self) -> str:
        """Shell text that assigns the program to variables, from which the shell runs it."""
        return f"NIXFERRY_PROGRAM_NAME={self.name}\nNIXFERRY_PROGRAM={shlex.quote(self.text.removesuffix(chr(10)))}"


@functools.cache
def guard_program() -> GuardProgram:
    """Return the version of the guard that this collection has."""
    return GuardProgram("\n".join(map(target_text, GUARD_PARTS)))


@functools.cache
def loader(parts: Sequence[str]) -> str:
    """Return the script that is sent with every request, without comments and indentation."""
    return re.sub(r"^ *#.*\n|^\n|^ +", "", "".join(map(target_text, parts)), flags=re.M)


def guard_script(
    program: GuardProgram, verb: str, lines: Sequence[str], *, activation_id: str = "", whole: bool = False
) -> str:
    """Return the script for ``/bin/sh`` that hands the request ``lines`` to the guard on the host.

    ``activation_id`` names the verb's activation, if any; ``whole`` adds the program's text.
    """
    words = " ".join(f"'{line}'" for line in lines)
    return "\n".join(
        [
            f"verb={verb} id={activation_id}" if activation_id else f"verb={verb} id= name={program.name}",
            f"request() {{ printf '%s\\n' {words}; }}",
            program.assignments if whole else "NIXFERRY_PROGRAM=",
            loader(LOADER_OF_RECORD if activation_id else LOADER_OF_PROGRAM),
        ]
    )


# The main process of Ansible imports this file before it makes a process for each host, which then has all of it.
guard_program()
loader(LOADER_OF_PROGRAM)
loader(LOADER_OF_RECORD)
