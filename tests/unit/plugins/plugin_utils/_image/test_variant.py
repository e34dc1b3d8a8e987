# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one image in what a variant has built."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.variant import (
    checked_variant,
    extension_of,
    find_image,
)


def put(place: Path, content: str = "") -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return place


def test_the_only_file_is_the_image(tmp_path: Path) -> None:
    image = put(tmp_path / "iso/nixos.iso")
    put(tmp_path / "nix-support/system", "x86_64-linux")
    assert find_image(tmp_path) == image
    assert find_image(image) == image


def test_what_the_build_calls_its_product_is_the_image(tmp_path: Path) -> None:
    image = put(tmp_path / "nixos image.vhd")
    put(tmp_path / "nix-support/image-info.json")
    put(tmp_path / "README")
    put(tmp_path / "nix-support/hydra-build-products", f'file vhd "{image}"\nfile x /etc/passwd\nbroken "\n')
    assert find_image(tmp_path) == image


@pytest.mark.parametrize("names", [(), ("one.raw", "two.raw")])
def test_anything_else_is_not_one_image(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        put(tmp_path / name)
    with pytest.raises(NixferryError, match="not one image"):
        find_image(tmp_path)


@pytest.mark.parametrize("how", ["file", "product", "directory", "all"])
def test_an_image_is_not_a_link_to_a_file_of_the_user(tmp_path: Path, how: str) -> None:
    """Such as a key, which would be sent with the image."""
    output = tmp_path / "store/0-image"
    output.parent.mkdir()
    secret = put(tmp_path / "home/id_ed25519", "a key")
    if how == "all":
        output.symlink_to(secret)
    elif how == "directory":
        output.mkdir()
        (output / "images").symlink_to(secret.parent)
        put(output / "nix-support/hydra-build-products", f"file img {output}/images/id_ed25519\n")
    else:
        output.mkdir()
        (output / "nixos.img").symlink_to(secret)
        if how == "product":
            put(output / "nix-support/hydra-build-products", f"file img {output}/nixos.img\n")
    with pytest.raises(NixferryError, match="leads out of the Nix store"):
        find_image(output)


def test_an_image_may_be_a_link_within_the_store(tmp_path: Path) -> None:
    put(tmp_path / "1-real/nixos.img")
    (tmp_path / "0-image").mkdir()
    (tmp_path / "0-image/nixos.img").symlink_to(tmp_path / "1-real/nixos.img")
    assert find_image(tmp_path / "0-image") == tmp_path / "0-image/nixos.img"


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("nixos-image-25.05-x86_64-linux.qcow2", "qcow2"),
        ("nixos.img.zst", "img.zst"),
        ("tarball.tar.xz", "tar.xz"),
        ("image", "img"),
    ],
)
def test_an_image_keeps_its_extension(name: str, extension: str) -> None:
    assert extension_of(Path("/nix/store/x") / name) == extension


@pytest.mark.parametrize("name", ["", "../x", "a.b", "A", "x;y"])
def test_a_variant_is_one_attribute(name: str) -> None:
    with pytest.raises(NixferryError, match="valid name of a variant"):
        checked_variant(name)
