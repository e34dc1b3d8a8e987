# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store says about paths, as a binary cache would say it."""

from __future__ import annotations

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import base32
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import parse_registrations

# Of Nix 2.8: nix-store --dump-db, and nix-hash --type sha256 --to-base32 of its hash.
FIRST = "/nix/store/p4pclmv1gyja5kzc26npqpia1qqxrf0l-first"
SECOND = "/nix/store/c8bwhpm0sm5y4v5p3f7cnm2a1yb2s5ja-second"
DIGEST = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
IN_BASE_32 = "10a83a91g1r50bdw8g4hn47m7j7m6angpabwc80l9c16nx11cw9d"
TEXT = f"{FIRST}\n{DIGEST}\n112\n\n0\n{SECOND}\n{DIGEST}\n200\n{FIRST}.drv\n2\n{FIRST}\n{SECOND}\n"


def test_a_hash_in_the_base_of_nix() -> None:
    assert base32(bytes.fromhex(DIGEST)) == IN_BASE_32


def test_registrations() -> None:
    first, second = parse_registrations(TEXT, step=Step.PUBLISH)
    assert (first.path, first.references) == (FIRST, ())
    assert second.fingerprint == f"1;{SECOND};sha256:{IN_BASE_32};200;{SECOND},{FIRST}".encode()
    assert list(parse_registrations("", step=Step.PUBLISH)) == []


@pytest.mark.parametrize(
    "text",
    [
        FIRST,
        TEXT[:-60],
        TEXT.replace("\n2\n", "\nmany\n"),
        TEXT.replace("\n112\n", "\nlarge\n"),
        TEXT.replace(DIGEST, "x" * 64),
    ],
)
def test_what_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(NixferryError, match="not a registration"):
        list(parse_registrations(text, step=Step.PUBLISH))
