# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives and exports in Nix's formats (src/libutil/archive.cc, src/libstore/export-import.cc)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

DERIVER = f"/nix/store/{'d' * 32}-some.drv"
_BEGIN = "nix-archive-1"


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return number(len(data)) + data + b"\0" * (-len(data) % 8)


def _texts(*values: str | bytes) -> bytes:
    return b"".join(map(text, values))


def nar_of_file(content: bytes) -> bytes:
    return _texts(_BEGIN, "(", "type", "regular", "contents", content, ")")


def nar_of_link(target: str) -> bytes:
    return _texts(_BEGIN, "(", "type", "symlink", "target", target, ")")


def nar_of_directory(entries: Mapping[str, bytes]) -> bytes:
    """A directory with NARs by name."""
    parts = [_texts(_BEGIN, "(", "type", "directory")]
    for name, nar in sorted(entries.items()):
        parts += [_texts("entry", "(", "name", name, "node"), nar.removeprefix(text(_BEGIN)), text(")")]
    return b"".join([*parts, text(")")])


def export_of(
    nars: Mapping[str, bytes] | Sequence[tuple[str, bytes]], references: Sequence[str] = ()
) -> bytes:
    """What ``nix-store --export`` writes for paths and their NARs."""
    parts = []
    for path, nar in nars.items() if isinstance(nars, Mapping) else nars:
        parts += [
            number(1),
            nar,
            number(0x4558494E),
            text(path),
            number(len(references)),
            *map(text, references),
        ]
        parts += [text(DERIVER), number(0)]
    return b"".join([*parts, number(0)])
