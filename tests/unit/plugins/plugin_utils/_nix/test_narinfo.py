# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions of store paths in binary caches, from Nix itself and from hostile servers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import (
    NotANarInfo,
    parse_narinfo,
)

# Written by `nix copy` of Nix 2.8.0.
RECORDED = """\
StorePath: /nix/store/dl19dg0ixq2bkx0pmm1vxhpfkfdb2iwn-sys-a
URL: nar/01k1vd4am9mimmqj0spm3p9x3zvpcri8m9gbf6skhs91zcd7537z.nar.zst
Compression: zstd
FileHash: sha256:01k1vd4am9mimmqj0spm3p9x3zvpcri8m9gbf6skhs91zcd7537z
FileSize: 127
NarHash: sha256:1302bymy5lbpf1ry1n5rbf2dqr7hkhd61nrcbqn6qd2mya7y86dr
NarSize: 160
References: 1ylfmcs2nrnpn57h7dad672m63r97a9j-dep
Deriver: gzl2aacqy031wgabsiw0i7d95fd0446p-sys-a.drv
Sig: pub-1:6pT5S3JLUUpCd8EFy7f2FMJchGWk3BbvFXM/Fo3WDdtU05pGPsTqm87Q2kd/d4a78xtOYDpNLEJlFHl8bodHAg==
"""
KEY = "pub-1:55ALbts4s0BlkypJFpFCc37hipVGEjm7Z53rDrUiM6w="
OTHER = "pub-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c="


def test_what_nix_writes_is_read() -> None:
    info = parse_narinfo(RECORDED)
    assert info.path == "/nix/store/dl19dg0ixq2bkx0pmm1vxhpfkfdb2iwn-sys-a"
    assert info.url == "nar/01k1vd4am9mimmqj0spm3p9x3zvpcri8m9gbf6skhs91zcd7537z.nar.zst"
    assert (info.nar_size, info.file_size, info.compression) == (160, 127, "zstd")
    assert info.references == ("/nix/store/1ylfmcs2nrnpn57h7dad672m63r97a9j-dep",)
    assert not info.self_reference


def test_a_signature_of_nix_is_right() -> None:
    info = parse_narinfo(RECORDED)
    assert info.signed_by([KEY]) == "pub-1"
    assert info.signed_by([OTHER, KEY]) == "pub-1"


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [OTHER],
        [KEY.replace("pub-1", "pub-2")],
        ["pub-1:"],
        ["pub-1"],
        ["pub-1:AAAA"],
        ["pub-1:not base64"],
    ],
    ids=str,
)
def test_other_keys_have_not_signed(keys: list[str]) -> None:
    assert parse_narinfo(RECORDED).signed_by(keys) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-sys-a\nURL", "-sys-b\nURL"),
        ("1302bymy", "1302bymz"),
        ("NarSize: 160", "NarSize: 161"),
        ("1ylfmcs2", "1ylfmcs3"),
        ("-dep\n", "-dep dl19dg0ixq2bkx0pmm1vxhpfkfdb2iwn-sys-a\n"),
        ("References: 1ylfmcs2nrnpn57h7dad672m63r97a9j-dep", "References:"),
        ("6pT5S3", "6pT5S4"),
    ],
)
def test_what_a_signature_covers_cannot_be_changed(old: str, new: str) -> None:
    assert old in RECORDED
    assert parse_narinfo(RECORDED.replace(old, new)).signed_by([KEY]) is None


def test_a_path_may_refer_to_itself() -> None:
    itself = "dl19dg0ixq2bkx0pmm1vxhpfkfdb2iwn-sys-a"
    info = parse_narinfo(RECORDED.replace("References: ", f"References: {itself} "))
    assert info.self_reference
    assert info.path not in info.references
    assert info.fingerprint.endswith(f"-dep,/nix/store/{itself}".encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("StorePath: ", "StorePath: ../"),
        ("StorePath", "Storepath"),
        ("URL: nar/", "URL: /nar/"),
        ("URL: nar/", "URL: ../../nar/"),
        ("URL: nar/", "URL: nar/../../"),
        ("URL: nar/", "URL: https://example.org/"),
        ("URL: nar/", "URL: nar/\x1b[2J"),
        ("URL", "Url"),
        ("NarHash: sha256:", "NarHash: md5:"),
        ("NarSize: 160", "NarSize: -1"),
        ("NarSize: 160", "NarSize: 0"),
        ("NarSize: 160", "NarSize: ²"),
        ("NarSize: 160", f"NarSize: {'9' * 6000}"),
        ("References: ", "References: ../../etc/passwd "),
        ("Compression: zstd", "nothing"),
        ("Compression: zstd", "NarSize: 12"),
    ],
)
def test_what_is_not_a_description_is_refused(old: str, new: str) -> None:
    assert old in RECORDED
    with pytest.raises(NotANarInfo):
        parse_narinfo(RECORDED.replace(old, new))


@given(st.text(max_size=500))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NotANarInfo):
        parse_narinfo(text)


@given(st.integers(0, len(RECORDED) - 1), st.characters())
def test_a_changed_description_is_not_signed_or_means_the_same(position: int, character: str) -> None:
    """What a signature does not cover only says where the content is, and how it is packed."""
    changed = RECORDED[:position] + character + RECORDED[position + 1 :]
    right = parse_narinfo(RECORDED)
    try:
        info = parse_narinfo(changed)
    except NotANarInfo:
        return
    if info.signed_by([KEY]):
        assert info.fingerprint == right.fingerprint
