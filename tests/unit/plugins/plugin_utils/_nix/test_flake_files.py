# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.flake_files import (
    OUTSIDE,
    TRACKED,
    UNKNOWN,
    missing_file_remedy,
)

COPIED = "/nix/store/41yi696cs78axgrc5rcnassh0zd225pb-source"


def nix_2_8(name: str) -> str:
    return f"error: getting status of '{COPIED}/{name}': No such file or directory"


def nix_2_26(name: str) -> str:
    return f"error: path '{COPIED}/{name}' does not exist"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with a flake in a directory, a file that is not tracked, and a submodule."""
    root = tmp_path / "repository"
    (root / "fleet").mkdir(parents=True)
    for argv in (["init", "--quiet"], ["config", "--file", ".gitmodules", "submodule.m.path", "modules"]):
        subprocess.run(["git", "-C", root, *argv], check=True)
    for name in ("new.nix", "fleet/flake.nix", "fleet/new.nix"):
        (root / name).touch()
    return root


@pytest.mark.parametrize("message", [nix_2_8, nix_2_26])
@pytest.mark.parametrize("reference", ["{0}#x", ".#x", "git+file://{0}#x", "git+file:{0}?dir=fleet#x"])
def test_in_a_repository(repository: Path, reference: str, message: object) -> None:
    assert callable(message)
    argv = ["/bin/nix", "eval", reference.format(repository)]

    def remedy(name: str) -> str:
        return missing_file_remedy(message(name), argv, str(repository))

    assert remedy("new.nix") == TRACKED
    assert remedy("fleet/new.nix") == TRACKED
    assert remedy("gone.nix") == OUTSIDE
    assert f"`git+file://{repository}?submodules=1`" in remedy("modules/web.nix")


def test_a_repository_that_nix_names(repository: Path) -> None:
    """As Nix 2.34 says it."""
    text = f"error: Path 'modules/web.nix' in the repository \"{repository}\" is not tracked by Git."
    assert "?submodules=1" in missing_file_remedy(text, ["/bin/nix"], "/")
    assert missing_file_remedy(text.replace("modules/web", "new"), ["/bin/nix"], "/") == TRACKED


def test_git_has_no_part_in_other_flakes(repository: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    text = nix_2_26("gone.nix")
    assert missing_file_remedy(text, ["nix", "eval", f"path:{repository}#x"], "/") == OUTSIDE
    assert missing_file_remedy(text, ["nix", "eval", "./plain#x"], str(tmp_path)) == OUTSIDE
    assert missing_file_remedy(text, ["nix", "eval", "github:owner/name#x"], str(repository)) == UNKNOWN
    assert missing_file_remedy(text, ["nix-instantiate", "-"], str(repository)) == UNKNOWN


def test_other_errors_are_not_about_files(repository: Path) -> None:
    for text in ("error: no such luck", nix_2_26("flake.nix"), "error: path '/etc/x' does not exist"):
        assert missing_file_remedy(text, ["nix", "eval", ".#x"], str(repository)) == ""
