# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declared secrets are found in a staged root, and told without their contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.published import refuse_contents

CANARY = b"canary-of-a-secret"


def look(place: Path, contents: dict[str, bytes]) -> None:
    refuse_contents([place], contents, root=place, step=Step.MAKE_IMAGE)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"before " + CANARY + b" behind", CANARY),
        (CANARY, CANARY + b"\n"),
        (b"\0" * 70000 + CANARY, b"\n" + CANARY),
        (b"pin1\n", b"pin1"),
    ],
)
def test_a_content_is_found(tmp_path: Path, content: bytes, secret: bytes) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/file").write_bytes(content)
    with pytest.raises(NixferryError) as caught:
        look(tmp_path, {"other": b"not-in-there", "token": secret})
    told = caught.value.text("web1")
    assert "the secret token is in the system: /store/file" in told
    assert secret.strip().decode() not in told


@pytest.mark.parametrize("secret", [b"", b"\n", b"pin1", b"longer-than-any-file-of-the-tree" * 10])
def test_what_is_not_a_secret_in_a_file_is_not_found(tmp_path: Path, secret: bytes) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_bytes(b"a program with pin1 in it")
    (tmp_path / "link").symlink_to("/etc/passwd")
    look(tmp_path, {"token": secret})


def test_what_a_link_leads_to_is_not_in_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(CANARY)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    look(tree, {"token": CANARY})
    # A store path may be a link itself.
    look(tree / "link", {"token": CANARY})
