# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read what ``nix-store --export`` writes, whose form ``nix-store --import`` believes (src/libstore/export-import.cc).

Per path: the number 1, the path as a NAR, a magic number, the name of the path, its references, its deriver, the
number 0. At the end: the number 0. Numbers have eight bytes, and texts are padded to a multiple of that.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path

from .explain import STEP, CopyError

NUMBER_BYTES = 8
_CHUNK_BYTES = 1024 * 1024
# The longest text in an export is a name of a store path, in a NAR the target of a link (PATH_MAX of Linux).
_TEXT_BYTES = 4096
_MAGIC = 0x4558494E
_BEGINS = b"nix-archive-1"
# In a NAR, what follows these words is not one itself.
_NAMES = (b"name", b"target")
_CONTENTS = b"contents"


@dataclass(frozen=True)
class Exported:
    """One path within an export: start and length of its NAR, in bytes."""

    path: str
    offset: int
    size: int
    nar_hash: str
    references: tuple[str, ...]
    deriver: str = ""


def read_export(file: IO[bytes], wanted: Collection[str], *, step: Step = STEP) -> list[Exported]:
    """Find the paths in an export, which has to contain exactly ``wanted``, in any order.

    The export may come from a hostile host. Raises ``CopyError`` if it is not in Nix's format, if it contains another
    path or one twice, or if it lacks one.
    """
    reader = _Reader(file, step)
    found: dict[str, Exported] = {}
    while reader.number():
        exported = reader.exported()
        if exported.path not in wanted or exported.path in found:
            raise _not_asked(exported.path, step)
        found[exported.path] = exported
    if file.read(1):
        raise _broken(step)
    lacking = [path for path in wanted if path not in found]
    if lacking:
        raise CopyError(f"{lacking[0]} is not in the export that should contain it").with_(step=step)
    return list(found.values())


class _Reader:
    """Reads an export part by part, and hashes what belongs to a NAR."""

    def __init__(self, file: IO[bytes], step: Step) -> None:
        self._file = file
        self._step = step
        self._digest = hashlib.sha256()

    def number(self) -> int:
        return int(struct.unpack("<Q", self._bytes(NUMBER_BYTES))[0])

    def exported(self) -> Exported:
        offset = self._file.tell()
        self._digest = hashlib.sha256()
        self._skip_nar()
        size, digest = self._file.tell() - offset, self._digest.hexdigest()
        if self.number() != _MAGIC:
            raise _broken(self._step)
        path = self._path()
        # Every reference takes more than a byte of the file, so a false number ends with it.
        references = tuple(self._path() for _number in range(self.number()))
        deriver = self._text().decode("ascii", "replace")
        # Not 0: a signature in a form that Nix does not write any more.
        if (deriver and not is_store_path(deriver)) or self.number() != 0:
            raise _broken(self._step)
        return Exported(path, offset, size, f"sha256:{digest}", references, deriver)

    def _skip_nar(self) -> None:
        """Go to the end of a NAR: its parentheses tell where that is."""
        if self._text() != _BEGINS:
            raise _broken(self._step)
        depth = 0
        while True:
            word = self._text()
            if word == b"(":
                depth += 1
            elif word == b")":
                depth -= 1
                if depth <= 0:
                    return
            elif word in _NAMES:
                self._text()
            elif word == _CONTENTS:
                self._skip(self.number())

    def _path(self) -> str:
        path = self._text().decode("ascii", "replace")
        if not is_store_path(path):
            raise _broken(self._step)
        return path

    def _text(self) -> bytes:
        length = self.number()
        if length > _TEXT_BYTES:
            raise _broken(self._step)
        return self._bytes(length + -length % NUMBER_BYTES)[:length]

    def _skip(self, length: int) -> None:
        left = length + -length % NUMBER_BYTES
        while left:
            left -= len(self._bytes(min(left, _CHUNK_BYTES)))

    def _bytes(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise _broken(self._step)
        self._digest.update(data)
        return data


def _broken(step: Step) -> CopyError:
    return CopyError("the output of nix-store --export cannot be read").with_(step=step)


def _not_asked(path: str, step: Step) -> CopyError:
    return CopyError(f"the export contains {path}, which was not asked for").with_(step=step)
