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

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    STORE_DIRECTORY,
    is_store_path,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import batches

from .explain import STEP
from .export import Exported

HASH_LENGTH = 32
CACHE_INFO = f"StoreDir: {STORE_DIRECTORY}"
_MARKS = ("ultimate",)
_CONTENT_ADDRESS = "ca:"


@dataclass(frozen=True)
class Proof:
    """The proof for a path: signatures, or a content address."""

    signatures: tuple[str, ...] = ()
    content_address: str = ""


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
        path, *words = line.split() or [""]
        if not is_store_path(path) or not line.isascii():
            continue
        addresses = [word for word in words if word.startswith(_CONTENT_ADDRESS)]
        signatures = [word for word in words if word not in (*_MARKS, *addresses)]
        address = addresses[0].removeprefix(_CONTENT_ADDRESS) if addresses else ""
        found[path] = Proof(tuple(signatures), address)
    return found


def description(each: Exported, url: str, proof: Proof) -> str:
    """Return a binary cache's description of a path (``NarInfo`` in src/libstore/nar-info.cc)."""

    def name(path: str) -> str:
        return path.rpartition("/")[2]

    lines = [
        f"StorePath: {each.path}",
        f"URL: {url}",
        "Compression: none",
        f"NarHash: {each.nar_hash}",
        f"NarSize: {each.size}",
        f"References: {' '.join(map(name, each.references))}",
        *([f"Deriver: {name(each.deriver)}"] if each.deriver else []),
        *(f"Sig: {signature}" for signature in proof.signatures),
    ]
    if proof.content_address:
        lines.append(f"CA: {proof.content_address}")
    return "\n".join([*lines, ""])


def unpack_commands(exported: Sequence[Exported], known: dict[str, Proof]) -> list[str]:
    """Return sh commands that make a binary cache of the file ``$directory/export``."""
    commands = [cache_command()]
    for each in exported:
        name = hash_part(each.path)
        text = description(each, f"{name}.nar", known[each.path])
        commands += [
            f'tail -c +{each.offset + 1} "$directory/export" | head -c {each.size} >"$directory/{name}.nar"',
            describe_command(each.path, text),
        ]
    return [*commands, 'rm -f "$directory/export"']


def cache_command() -> str:
    """Return the sh command that makes a binary cache of ``$directory``."""
    return f"printf '{CACHE_INFO}\n' >\"$directory/nix-cache-info\""


def describe_command(path: str, text: str) -> str:
    """Return the sh command that adds the description of ``path`` to the binary cache in ``$directory``."""
    return f'printf %s {shlex.quote(text)} >"$directory/{hash_part(path)}.narinfo"'


def hash_part(path: str) -> str:
    """Return the part of a store path that names it in a binary cache."""
    return path.rpartition("/")[2][:HASH_LENGTH]
