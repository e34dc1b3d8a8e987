# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A binary cache made of an export, by the very commands that the host runs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from archives import DERIVER, export_of, nar_of_directory, nar_of_file, nar_of_link, text
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.export import read_export
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.signed import (
    Proof,
    parse_proofs,
    unpack_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

LIBC, WEB = (f"/nix/store/{letter * 32}-{name}" for letter, name in (("a", "libc"), ("b", "web")))
SIGNATURE = f"deploy-1:{'A' * 86}=="


NARS = {
    LIBC: nar_of_file(os.urandom(3_000_000)),
    # Names and contents that look like the end of an archive.
    WEB: nar_of_directory({")": nar_of_link("contents"), "name": nar_of_file(text(")"))}),
}


def export(paths: Sequence[str], references: Sequence[str] = (LIBC,)) -> bytes:
    return export_of([(path, NARS[path]) for path in paths], references)


@pytest.mark.parametrize(
    "shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda word: word[0]
)
def test_the_host_makes_a_cache_of_an_export(tmp_path: Path, shell: list[str]) -> None:
    data = export([LIBC, WEB])
    exported = read_export(io.BytesIO(data), [LIBC, WEB])
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
        f"NarSize: {len(NARS[WEB])}",
        f"References: {'a' * 32}-libc",
        f"Deriver: {DERIVER.rpartition('/')[2]}",
        f"Sig: {SIGNATURE}",
        "Sig: other:B",
    ]
    assert "CA: fixed:r:sha256:0" in (tmp_path / f"{'a' * 32}.narinfo").read_text()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        export([LIBC]) + b"more",
        export([LIBC])[:-60],
        export([LIBC])[: len(NARS[LIBC]) // 2],
        export([LIBC], ["/nix/store/../etc"]),
        b"\0" * 7,
        b"\xff" * 4096,
        b"/nix/store/something else",
    ],
)
def test_half_an_export_is_an_error(data: bytes) -> None:
    with pytest.raises(NixferryError, match="output of nix-store --export cannot be read"):
        read_export(io.BytesIO(data), [LIBC])


def test_an_export_contains_what_was_asked_for_in_any_order() -> None:
    found = read_export(io.BytesIO(export([WEB, LIBC])), [LIBC, WEB])
    assert [(each.path, each.references, each.deriver) for each in found] == [
        (WEB, (LIBC,), DERIVER),
        (LIBC, (LIBC,), DERIVER),
    ]


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (export([LIBC, WEB]), f"contains {WEB}, which was not asked for"),
        (export([WEB]), f"contains {WEB}, which was not asked for"),
        (export([LIBC, LIBC]), f"contains {LIBC}, which was not asked for"),
        (export([]), f"{LIBC} is not in the export"),
    ],
)
def test_nothing_else_is_in_an_export(data: bytes, wrong: str) -> None:
    with pytest.raises(NixferryError, match=wrong):
        read_export(io.BytesIO(data), [LIBC])


def test_a_path_hidden_in_the_length_of_another_is_found() -> None:
    """The host tells sizes too: its archive may be shorter than told, with a second one behind."""
    hidden = export([WEB, LIBC])
    with pytest.raises(NixferryError, match="not asked for"):
        read_export(io.BytesIO(hidden), [LIBC])


_words = st.sampled_from(
    [text(word) for word in ("nix-archive-1", "(", ")", "contents", "name", LIBC, WEB, "", "x" * 5000)]
    + [struct.pack("<Q", number) for number in (0, 1, 0x4558494E, 2**62, 2**64 - 1)]
)


@given(st.lists(_words | st.binary(max_size=9)).map(b"".join))
def test_any_bytes_are_an_export_or_an_error(data: bytes) -> None:
    for begin in (b"", struct.pack("<Q", 1) + text("nix-archive-1")):
        with contextlib.suppress(NixferryError):
            assert read_export(io.BytesIO(begin + data), []) == []


def test_path_info_tells_signatures() -> None:
    # Nix 2.8 writes a tab, 2.26 and 2.34 two spaces; a warning may stand between.
    listing = (
        f"{LIBC}\tultimate ca:fixed:r:sha256:04zw {SIGNATURE}\nwarning: something\n{WEB}  {SIGNATURE} b:C\n"
    )
    assert parse_proofs(listing) == {
        LIBC: Proof((SIGNATURE,), "fixed:r:sha256:04zw"),
        WEB: Proof((SIGNATURE, "b:C")),
    }
