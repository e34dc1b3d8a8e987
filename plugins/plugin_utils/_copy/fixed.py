# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Compare fixed outputs with the hash in their derivations.

The derivation of a source that is fetched says what its only output hashes to. Nix compares when it builds, but takes
what another store gives by its name. So what a build host gives is compared here.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import query

from .explain import CopyError
from .export import Exported

# The beginning of a derivation whose only output is fixed: path, hash algorithm and hash (src/libstore/derivations.cc).
_FIXED = re.compile(r'Derive\(\[\("out","([^"]+)","([^"]+)","([0-9a-f]+)"\)\],')
_RECURSIVE = "r:"
_ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
_HASH_AND_DASH = 33
_CHUNK_BYTES = 1024 * 1024
# What is before the contents in the NAR of a file, without and with the mark of a program (src/libutil/archive.cc).
_WORDS = (b"nix-archive-1", b"(", b"type", b"regular")
_PROGRAM = (*_WORDS, b"executable", b"")


@dataclass(frozen=True)
class Fixed:
    """What an output hashes to."""

    algorithm: str
    """In the words of the derivation: with ``r:`` in front if the whole NAR is hashed, not the contents of a file."""
    digest: str
    """In hexadecimal."""


def fixed_outputs(
    nix: Nix, paths: Sequence[str], requisites: Collection[str], *, step: Step, timeout: float | None
) -> dict[str, Fixed]:
    """Return the ``paths`` that are fixed outputs of the derivations in ``requisites``, all in the controller's store.

    The only output of a derivation has its name, so only a few derivations have to be read.
    """
    named: dict[str, list[str]] = {}
    for derivation in requisites:
        if derivation.endswith(".drv"):
            named.setdefault(_name(derivation).removesuffix(".drv"), []).append(derivation)
    found = {}
    for path in paths:
        for derivation in named.get(_name(path), ()):
            text = query(nix, ["nix", "store", "cat", derivation], step=step, timeout=timeout)
            match = _FIXED.match(text)
            if match is not None and match[1] == path:
                found[path] = Fixed(match[2], match[3])
    return found


def _name(path: str) -> str:
    return path.rpartition("/")[2][_HASH_AND_DASH:]


def expect_content(file: IO[bytes], each: Exported, fixed: Fixed, *, step: Step) -> None:
    """Raise ``CopyError`` unless the path in the export ``file`` has the content that its derivation names."""
    algorithm = fixed.algorithm.removeprefix(_RECURSIVE)
    if algorithm not in _ALGORITHMS:
        raise _refused(
            f"{each.path} has a hash of the kind {fixed.algorithm}, which cannot be compared here", step
        )
    if each.references:
        raise _refused(f"{each.path} is a fixed output, and refers to {each.references[0]}", step)
    start, size = each.offset, each.size
    if algorithm == fixed.algorithm:
        contents = _contents(file, each)
        if contents is None:
            raise _refused(f"{each.path} is not a file, as its derivation says", step)
        start, size = contents
    # What Nix accepts as a hash of a source, however weak the algorithm is.
    digest = hashlib.new(algorithm, usedforsecurity=False)
    file.seek(start)
    while size:
        data = file.read(min(size, _CHUNK_BYTES))
        if not data:
            break
        digest.update(data)
        size -= len(data)
    if digest.hexdigest() != fixed.digest:
        raise _refused(
            f"the content of {each.path} has the hash {digest.hexdigest()} ({fixed.algorithm}), and its derivation "
            f"says {fixed.digest}",
            step,
        )


def _contents(file: IO[bytes], each: Exported) -> tuple[int, int] | None:
    """Return where the contents begin in the NAR of a file, and their length; ``None`` if it is of something else."""
    for words in (_WORDS, _PROGRAM):
        begin = b"".join(map(_text, (*words, b"contents")))
        file.seek(each.offset)
        if file.read(len(begin)) == begin:
            (length,) = struct.unpack("<Q", file.read(8))
            # Nothing but the end of the NAR is behind them.
            if len(begin) + 8 + length + -length % 8 + len(_text(b")")) == each.size:
                return each.offset + len(begin) + 8, length
    return None


def _text(word: bytes) -> bytes:
    return struct.pack("<Q", len(word)) + word + b"\0" * (-len(word) % 8)


def _refused(cause: str, step: Step) -> CopyError:
    return CopyError(
        f"the build host gave something else than was to be fetched: {cause}",
        remedy="It was not taken. Look whether the build host is in order, or build elsewhere (`build_on`).",
    ).with_(step=step)
