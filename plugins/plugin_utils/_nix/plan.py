# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Parse the output of ``nix-store --realise --dry-run``.

The wording is that of ``printMissing`` in src/libmain/shared.cc of Nix; it is the same from 2.8 to 2.34.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_SIZE = r"(?P<{name}>\d+(?:\.\d+)?) (?P<{name}_unit>" + "|".join(_UNITS) + ")"
_BUILT = re.compile(r"^(?:this|these(?: \d+)?) derivations? will be built:$")
_FETCHED = re.compile(
    r"^(?:this|these(?: \d+)?) paths? will be fetched(?: \("
    + _SIZE.format(name="download")
    + " download, "
    + _SIZE.format(name="unpacked")
    + r" unpacked\))?:$"
)
_UNKNOWN = re.compile(r"^don't know how to build (?:this path|these paths)")
_PATH = re.compile(r"^ +(/nix/store/\S+)$")


@dataclass(frozen=True)
class Plan:
    """What a build would do. Sizes are in bytes, as rounded by Nix.

    ``unknown`` are paths that can neither be built nor fetched.
    """

    would_build: tuple[str, ...] = ()
    would_fetch: tuple[str, ...] = ()
    download_size: int = 0
    unpacked_size: int = 0
    unknown: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Return True if there is nothing to do."""
        return not (self.would_build or self.would_fetch or self.unknown)


def parse_plan(messages: Iterable[str]) -> Plan:
    """Parse a plan from the messages of a dry run; ignore other messages."""
    paths: dict[re.Pattern[str], list[str]] = {_BUILT: [], _FETCHED: [], _UNKNOWN: []}
    download = unpacked = 0
    current: list[str] | None = None
    for line in (line.rstrip() for message in messages for line in message.splitlines()):
        heading = next((each for each in paths if each.match(line)), None)
        if heading is not None:
            current = paths[heading]
            match = _FETCHED.match(line)
            if match is not None and match["download"]:
                download += _bytes(match["download"], match["download_unit"])
                unpacked += _bytes(match["unpacked"], match["unpacked_unit"])
            continue
        path = _PATH.match(line)
        if path is None:
            current = None
        elif current is not None:
            current.append(path[1])
    return Plan(
        would_build=tuple(paths[_BUILT]),
        would_fetch=tuple(paths[_FETCHED]),
        download_size=download,
        unpacked_size=unpacked,
        unknown=tuple(paths[_UNKNOWN]),
    )


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])
