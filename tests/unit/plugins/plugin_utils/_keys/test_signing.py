# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with secret keys, and what Nix says when it signs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    SigningKey,
    is_public_key,
    read_signing_key,
    sign,
    unsigned,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixResult

SECRET = base64.b64encode(bytes(range(64))).decode()
PUBLIC = base64.b64encode(bytes(range(32, 64))).decode()
PATHS = [f"/nix/store/{letter * 32}-{letter}" for letter in "abc"]
KEY = SigningKey("/secret/deploy.key", "deploy-1", f"deploy-1:{PUBLIC}")


def key_file(directory: Path, content: str, mode: int = 0o600) -> str:
    file = directory / "deploy.key"
    file.write_text(content)
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_secret_key_holds_its_public_half(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, f"deploy-1:{SECRET}\n", mode)
    assert read_signing_key(path) == SigningKey(path, "deploy-1", f"deploy-1:{PUBLIC}")
    assert is_public_key(f"deploy-1:{PUBLIC}")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_key_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, f"deploy-1:{SECRET}", mode)
    with pytest.raises(NixferryError, match=f"{mode:04o}") as error:
        read_signing_key(path)
    assert f"chmod 600 {path}" in error.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        "",
        "deploy-1",
        f"deploy-1:{PUBLIC}",
        f":{SECRET}",
        "deploy-1:c2VjcmV0",
        f"$ANSIBLE_VAULT;1.1\n{SECRET}",
    ],
)
def test_what_is_no_secret_key_is_not_shown(tmp_path: Path, content: str) -> None:
    with pytest.raises(NixferryError, match="does not contain a secret key") as error:
        read_signing_key(key_file(tmp_path, content))
    assert SECRET not in error.value.text("web1")
    assert ("but a public one" in error.value.cause) == (content == f"deploy-1:{PUBLIC}")


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NixferryError, match="No such file") as error:
        read_signing_key(str(tmp_path / "deploy.key"))
    assert "generate-secret" in error.value.remedy


@pytest.mark.parametrize("text", ["", "deploy-1", f"deploy-1:{SECRET}", f":{PUBLIC}", f"a b:{PUBLIC}", "a:?"])
def test_what_is_no_public_key(text: str) -> None:
    assert not is_public_key(text)


class Nix:
    def __init__(self, stdout: str = "", messages: str = "") -> None:
        self.answer = NixResult(0, stdout, messages, ("nix",), messages=tuple(messages.splitlines()))
        self.calls: list[tuple[str, ...]] = []

    def run(self, arguments: Sequence[str], **_options: Any) -> NixResult:
        self.calls.append(tuple(arguments))
        return self.answer

    def run_many(self, requests: Sequence[Any], **_options: Any) -> list[NixResult]:
        self.calls += [request.arguments for request in requests]
        return [self.answer for _request in requests]


@pytest.mark.parametrize(("said", "added"), [("added 3 signatures", 3), ("added 0 signatures", 0)])
def test_one_call_signs_everything(said: str, added: int) -> None:
    nix = Nix(messages=said)
    assert sign(nix, PATHS, KEY) == added  # type: ignore[arg-type]
    assert nix.calls == [("nix", "store", "sign", "--recursive", "--key-file", KEY.path, *PATHS)]


def test_what_would_be_signed() -> None:
    """Also where a key of the same name, but not this one, has signed before."""
    listing = (
        f"{PATHS[0]}\tultimate other-1:x\n{PATHS[1]} ultimate deploy-1:x\n{PATHS[2]} deploy-1:x other-1:x\n"
    )
    nix = Nix(listing, f"path '{PATHS[2]}' is untrusted\npath '{PATHS[0]}' is untrusted\n")
    assert unsigned(nix, PATHS, KEY) == [PATHS[0], PATHS[2]]  # type: ignore[arg-type]
