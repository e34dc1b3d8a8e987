# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes, inodes, manifests and names of images, without the programs that write disks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.disk import (
    Layout,
    identifier,
    used_inodes,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.manifest import (
    Manifest,
    checked_name,
    digest_of,
    image_name,
    link_present,
    parse_manifest,
    present,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.tools import Tools
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.tree import Staged, refuse_host_keys

LAYOUT = Layout(esp_size=512, free_space=100, size=0, root_label="nixos", esp_label="ESP")
STAGED = Staged(Path("/tree"), ("/nix/store/a",), 1000, 100 * 2**20, 1000)
LISTING = """\
Inode count:              6400
Group 0: (Blocks 0-32767)
  Free blocks: 1451-25599
  Free inodes: 18-20, 22, 30-3200
Group 1: (Blocks 32768-65535)
  Free inodes: 3201-6399
"""
MANIFEST = Manifest(
    name="web1",
    variant="disk",
    format="raw",
    system="x86_64-linux",
    toplevel="/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos",
    revision="",
    closure_paths=3,
    closure_size=10,
    image="web1-2f1c0a7be2d93c41.raw",
    size=4,
    virtual_size=4,
    sha256="2f1c0a7be2d93c41" + "0" * 48,
    wishes={"size": 0},
)


def test_the_root_has_room_for_the_closure_and_the_free_space() -> None:
    assert LAYOUT.root_size(STAGED) == 105 + 1 + 96 + 100
    given = replace(LAYOUT, size=1024)
    assert given.root_size(STAGED) == 1024 - 512 - 2
    with pytest.raises(NixferryError, match="at least 716 MiB"):
        replace(LAYOUT, size=600).root_size(STAGED)


@pytest.mark.parametrize(
    "changes",
    [{"esp_size": 63}, {"free_space": -1}, {"size": -1}, {"root_label": "a,b"}, {"esp_label": "x" * 12}],
)
def test_layouts_that_make_no_disk_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(NixferryError):
        replace(LAYOUT, **changes).check()


def test_inodes_are_those_that_are_not_free() -> None:
    assert list(used_inodes(LISTING)) == [2, *range(11, 18), 21, *range(23, 30), 6400]


def test_a_listing_without_free_inodes_is_refused() -> None:
    with pytest.raises(NixferryError, match="not listed the inodes"):
        list(used_inodes("Inode count: 5\n"))


def test_identifiers_follow_from_the_wishes() -> None:
    digest = digest_of({"a": 1, "b": 2})
    assert digest == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})
    assert identifier(digest, "root") == identifier(digest, "root") != identifier(digest, "esp")


def test_a_manifest_is_what_it_was(tmp_path: Path) -> None:
    assert parse_manifest(MANIFEST.text()) == MANIFEST
    assert image_name("web1", MANIFEST.sha256, "raw") == MANIFEST.image
    (tmp_path / MANIFEST.image).write_text("four")
    (tmp_path / MANIFEST.file).write_text(MANIFEST.text())
    (tmp_path / f"{MANIFEST.image}.sha256").write_text(MANIFEST.checksum)
    assert present(tmp_path, "web1") is None
    link_present(tmp_path, "web1", MANIFEST)
    assert present(tmp_path, "web1") == MANIFEST


@pytest.mark.parametrize("damage", ["image", "short", "checksum", "manifest"])
def test_an_image_that_is_not_whole_is_not_present(tmp_path: Path, damage: str) -> None:
    (tmp_path / MANIFEST.image).write_text("no" if damage == "short" else "four")
    (tmp_path / MANIFEST.file).write_text("{}" if damage == "manifest" else MANIFEST.text())
    (tmp_path / f"{MANIFEST.image}.sha256").write_text("" if damage == "checksum" else MANIFEST.checksum)
    link_present(tmp_path, "web1", MANIFEST)
    if damage == "image":
        (tmp_path / MANIFEST.image).unlink()
    assert present(tmp_path, "web1") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nixferryImage": 2}'])
def test_another_file_is_not_a_manifest(text: str) -> None:
    assert parse_manifest(text) is None


def test_a_manifest_names_a_file_beside_it() -> None:
    data = json.loads(MANIFEST.text())
    data["image"]["file"] = "../web1.raw"
    assert parse_manifest(json.dumps(data)) is None


@pytest.mark.parametrize("name", ["", "../web1", "a b", "-x", ".hidden", "a/b"])
def test_a_name_is_one_of_a_file(name: str) -> None:
    with pytest.raises(NixferryError, match="valid name"):
        checked_name(name)


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(NixferryError, match="no-such-program") as caught:
        Tools(["sh", "no-such-program"], {"PATH": "/nowhere:/bin:/usr/bin"})
    assert "fdisk of Debian" in caught.value.remedy


def test_a_secret_key_of_sshd_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "nix/store/x/etc/ssh"
    directory.mkdir(parents=True)
    (directory / "ssh_host_ed25519_key.pub").touch()
    refuse_host_keys(tmp_path, "/nix/store/x")
    (directory / "ssh_host_ed25519_key").touch()
    with pytest.raises(NixferryError, match="ssh_host_ed25519_key"):
        refuse_host_keys(tmp_path, "/nix/store/x")
