# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    is_store_path,
    parse_store_path,
)

HASH = "0123456789abcdfghijklmnpqrsvwxyz"
NAME_CHARACTERS = "abcXYZ019+-._?="


@given(st.text(alphabet=NAME_CHARACTERS, min_size=1, max_size=211))
def test_every_valid_name_is_accepted_and_kept(name: str) -> None:
    path = f"/nix/store/{HASH}-{name}"
    assert is_store_path(path)
    assert parse_store_path(path).name == name
    assert parse_store_path(path + "/").path == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/nix/store",
        f"/nix/store/{HASH}",
        f"/nix/store/{HASH}-",
        f"/nix/store/{HASH}-name/bin",
        f"/nix/store/{HASH[:-1]}e-name",
        f"/nix/store/{HASH[:-1]}-name",
        f"/nix/store/{HASH}-na me",
        f"/nix/store/{HASH}-name\n",
        f"/nix/store/{HASH}-{'n' * 212}",
        f"/gnu/store/{HASH}-name",
        "$(reboot)",
    ],
)
def test_anything_else_is_refused_with_a_remedy(text: str) -> None:
    assert not is_store_path(text)
    with pytest.raises(NixferryError, match="not a store path") as caught:
        parse_store_path(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("openssh-9.6p1", ("openssh", "9.6p1")),
        ("nixos-system-web1-24.05pre-git", ("nixos-system-web1", "24.05pre-git")),
        ("unit-sshd.service", ("unit-sshd.service", "")),
        ("glibc-2.39-bin", ("glibc", "2.39-bin")),
        ("trailing-", ("trailing-", "")),
    ],
)
def test_package_and_version_split_as_nix_does(name: str, package: tuple[str, str]) -> None:
    assert parse_store_path(f"/nix/store/{HASH}-{name}").package == package
