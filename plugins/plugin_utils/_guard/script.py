# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The form of what the guard is sent: its own text with the arguments of one verb."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path

# The parts of the guard in the order in which they are joined.
GUARD_PARTS = (
    "lib/base.sh",
    "lib/answer.sh",
    "lib/time.sh",
    "lib/files.sh",
    "lib/process.sh",
    "lib/claim.sh",
    "lib/systemd.sh",
    "lib/system.sh",
    "lib/record.sh",
    "lib/lock.sh",
    "guard/gcroots.sh",
    "guard/deployed.sh",
    "guard/look.sh",
    "guard/program.sh",
    "secrets/sets.sh",
    "secrets/activation.sh",
    "guard/judge.sh",
    "boot/common.sh",
    "boot/systemd-boot.sh",
    "boot/grub.sh",
    "boot/loader.sh",
    "guard/units.sh",
    "guard/end.sh",
    "guard/reboot.sh",
    "guard/roll_back.sh",
    "guard/commit.sh",
    "guard/boot_once.sh",
    "guard/engine.sh",
    "guard/status.sh",
    "guard/start.sh",
    "guard/probe.sh",
    "guard/verbs.sh",
)


@functools.cache
def guard_text() -> str:
    """The guard, as it runs on the host."""
    directory = Path(__file__).parent.parent / "target"
    return "\n".join((directory / part).read_text(encoding="utf-8") for part in GUARD_PARTS)


class GuardScript(str):
    """A script for ``/bin/sh`` that asks the guard for something, and what it asks for.

    An installed guard (``_guard/installed.py``) is asked with the fields alone.
    """

    verb: str
    fields: Mapping[str, str]

    def __new__(cls, verb: str, fields: Mapping[str, str]) -> GuardScript:
        """The arguments, the guard's text as a string, and its evaluation."""
        for key, value in fields.items():
            if "\0" in value:
                raise ValueError(f"{key} holds a NUL character")
        arguments = [verb, *(f"{key}={value}" for key, value in fields.items())]
        lines = (
            f"set -- {' '.join(map(shlex.quote, arguments))}",
            f"NIXFERRY_GUARD={shlex.quote(guard_text())}",
            'eval "$NIXFERRY_GUARD"',
            "",
        )
        script = super().__new__(cls, "\n".join(lines))
        script.verb = verb
        script.fields = fields
        return script


def guard_script(verb: str, **fields: str | int | bool) -> GuardScript:
    """The script for a verb; numbers and truth values are written as the guard reads them."""
    return GuardScript(
        verb,
        {key: str(int(value)) if isinstance(value, bool) else str(value) for key, value in fields.items()},
    )
