# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A binary cache made of an export, by the very commands that the host runs."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.signed import (
    Proof,
    parse_proofs,
    read_export,
    unpack_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import Item

LIBC, WEB = (f"/nix/store/{letter * 32}-{name}" for letter, name in (("a", "libc"), ("b", "web")))
NARS = {LIBC: os.urandom(3_000_000), WEB: b"n" * 17}
SIGNATURE = f"deploy-1:{'A' * 86}=="


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data + b"\0" * (-len(data) % 8)


def export(paths: Sequence[str], references: Sequence[str] = (LIBC,)) -> bytes:
    """What ``nix-store --export`` writes (src/libstore/export-import.cc)."""
    parts = []
    for path in paths:
        parts += [struct.pack("<Q", 1), NARS[path], struct.pack("<Q", 0x4558494E), text(path)]
        parts += [struct.pack("<Q", len(references)), *map(text, references), text(""), struct.pack("<Q", 0)]
    return b"".join([*parts, struct.pack("<Q", 0)])


def items(*paths: str) -> list[Item]:
    return [Item(path, len(NARS[path])) for path in paths]


@pytest.mark.parametrize(
    "shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda word: word[0]
)
def test_the_host_makes_a_cache_of_an_export(tmp_path: Path, shell: list[str]) -> None:
    data = export([LIBC, WEB])
    exported = read_export(io.BytesIO(data), items(LIBC, WEB))
    (tmp_path / "export").write_bytes(data)
    known = {LIBC: Proof(content_address="fixed:r:sha256:0"), WEB: Proof((SIGNATURE, "other:B"))}
    script = "\n".join([f"directory='{tmp_path}'", "set -e", *unpack_commands(exported, known)])
    subprocess.run([*shell, "-c", script], check=True, timeout=30)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{'a' * 32}.nar", f"{'a' * 32}.narinfo", f"{'b' * 32}.nar", f"{'b' * 32}.narinfo", "nix-cache-info"]
    )
    assert (tmp_path / f"{'a' * 32}.nar").read_bytes() == NARS[LIBC]
    assert (tmp_path / f"{'b' * 32}.nar").read_bytes() == NARS[WEB]
    assert (tmp_path / f"{'b' * 32}.narinfo").read_text().splitlines() == [
        f"StorePath: {WEB}",
        f"URL: {'b' * 32}.nar",
        "Compression: none",
        f"NarHash: sha256:{hashlib.sha256(NARS[WEB]).hexdigest()}",
        "NarSize: 17",
        f"References: {'a' * 32}-libc",
        f"Sig: {SIGNATURE}",
        "Sig: other:B",
    ]
    assert "CA: fixed:r:sha256:0" in (tmp_path / f"{'a' * 32}.narinfo").read_text()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        export([LIBC])[:-60],
        export([LIBC])[: len(NARS[LIBC]) // 2],
        export([WEB]),
        b"/nix/store/something else",
    ],
)
def test_half_an_export_is_an_error(data: bytes) -> None:
    with pytest.raises(NixferryError, match="output of nix-store --export cannot be read"):
        read_export(io.BytesIO(data), items(LIBC))


def test_path_info_tells_signatures() -> None:
    # Nix 2.8 writes a tab, 2.26 and 2.34 two spaces; a warning may stand between.
    listing = (
        f"{LIBC}\tultimate ca:fixed:r:sha256:04zw {SIGNATURE}\nwarning: something\n{WEB}  {SIGNATURE} b:C\n"
    )
    assert parse_proofs(listing) == {
        LIBC: Proof((SIGNATURE,), "fixed:r:sha256:04zw"),
        WEB: Proof((SIGNATURE, "b:C")),
    }
