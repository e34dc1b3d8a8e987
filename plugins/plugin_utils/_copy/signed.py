# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Send signed paths on the standard input of commands, as a small binary cache that the host then reads.

An export of ``nix-store --export`` has no signatures, so ``nix-store --import`` accepts it from trusted users only
(src/libstore/export-import.cc). A binary cache has a description of every path with its signatures, and every user
may ``nix copy`` from it. The NARs travel in the order of the export.
"""

from __future__ import annotations

import hashlib
import shlex
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import STORE_DIRECTORY
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import Item, batches

from .explain import STEP, CopyError

HASH_LENGTH = 32
_CHUNK_BYTES = 1024 * 1024
_EXPORT_MAGIC = 0x4558494E
_MARKS = ("ultimate",)
_CONTENT_ADDRESS = "ca:"


@dataclass(frozen=True)
class Proof:
    """The proof for a path: signatures, or a content address."""

    signatures: tuple[str, ...] = ()
    content_address: str = ""


@dataclass(frozen=True)
class Exported:
    """One path within an export: start and end of its NAR, in bytes."""

    path: str
    offset: int
    size: int
    nar_hash: str
    references: tuple[str, ...]


def proofs(nix: Nix, paths: Sequence[str], *, timeout: float | None = None) -> dict[str, Proof]:
    """Return the proofs of ``paths`` in the controller's store. Raises ``NixferryError``."""
    found: dict[str, Proof] = {}
    for batch in batches(paths):
        listing = nix.run(["nix", "path-info", "--sigs", *batch], step=STEP, timeout=timeout)
        found.update(parse_proofs(listing.stdout))
    return found


def parse_proofs(listing: str) -> dict[str, Proof]:
    """Parse ``nix path-info --sigs``: on each line a path, marks, and signatures as ``name:base64``."""
    found = {}
    for line in listing.splitlines():
        path, *words = line.split()
        if not path.startswith("/"):
            continue
        addresses = [word for word in words if word.startswith(_CONTENT_ADDRESS)]
        signatures = [word for word in words if word not in (*_MARKS, *addresses)]
        address = addresses[0].removeprefix(_CONTENT_ADDRESS) if addresses else ""
        found[path] = Proof(tuple(signatures), address)
    return found


def description(
    path: str, url: str, nar_hash: str, nar_size: int, references: Iterable[str], proof: Proof
) -> str:
    """Return a binary cache's description of a path (``NarInfo`` in src/libstore/nar-info.cc)."""
    names = " ".join(reference.rpartition("/")[2] for reference in references)
    lines = [
        f"StorePath: {path}",
        f"URL: {url}",
        "Compression: none",
        f"NarHash: {nar_hash}",
        f"NarSize: {nar_size}",
        f"References: {names}",
        *(f"Sig: {signature}" for signature in proof.signatures),
    ]
    if proof.content_address:
        lines.append(f"CA: {proof.content_address}")
    return "\n".join([*lines, ""])


def read_export(file: IO[bytes], items: Sequence[Item]) -> list[Exported]:
    """Find the paths in the output of ``nix-store --export`` for ``items``.

    Raises ``CopyError`` if it is not in Nix's format: per path the number 1, the NAR, a magic number, the path, its
    references and its deriver; numbers have eight bytes, and texts are padded to a multiple of that.
    """
    exported = []
    sizes = {item.path: item.nar_size for item in items}
    for item in items:
        _expect(file, 1)
        offset = file.tell()
        digest = hashlib.sha256()
        left = item.nar_size
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise _broken()
            digest.update(chunk)
            left -= len(chunk)
        _expect(file, _EXPORT_MAGIC)
        path = _text(file)
        references = tuple(_text(file) for _number in range(_number_of(file)))
        _text(file)  # the deriver
        _expect(file, 0)  # no signature in the old form
        if sizes.get(path) != item.nar_size:
            raise _broken()
        exported.append(Exported(path, offset, item.nar_size, f"sha256:{digest.hexdigest()}", references))
    return exported


def unpack_commands(exported: Sequence[Exported], known: dict[str, Proof]) -> list[str]:
    """Return sh commands that make a binary cache of the file ``$directory/export``."""
    commands = [cache_command()]
    for each in exported:
        name = each.path.rpartition("/")[2][:HASH_LENGTH]
        text = description(
            each.path, f"{name}.nar", each.nar_hash, each.size, each.references, known[each.path]
        )
        commands += [
            f'tail -c +{each.offset + 1} "$directory/export" | head -c {each.size} >"$directory/{name}.nar"',
            describe_command(each.path, text),
        ]
    return [*commands, 'rm -f "$directory/export"']


def cache_command() -> str:
    """Return the sh command that makes a binary cache of ``$directory``."""
    return f"printf 'StoreDir: {STORE_DIRECTORY}\n' >\"$directory/nix-cache-info\""


def describe_command(path: str, text: str) -> str:
    """Return the sh command that adds the description of ``path`` to the binary cache in ``$directory``."""
    name = path.rpartition("/")[2][:HASH_LENGTH]
    return f'printf %s {shlex.quote(text)} >"$directory/{name}.narinfo"'


def _number_of(file: IO[bytes]) -> int:
    data = file.read(8)
    if len(data) != 8:
        raise _broken()
    return int(struct.unpack("<Q", data)[0])


def _expect(file: IO[bytes], number: int) -> None:
    if _number_of(file) != number:
        raise _broken()


def _text(file: IO[bytes]) -> str:
    length = _number_of(file)
    if length > _CHUNK_BYTES:
        raise _broken()
    data = file.read(length + -length % 8)
    return data[:length].decode("utf-8", errors="replace")


def _broken() -> CopyError:
    return CopyError("the output of nix-store --export cannot be read")
