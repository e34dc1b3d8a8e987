# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The flake of this repository: what it offers to Nix users."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from lab import REPOSITORY, nix_environment, run

NIX = ["nix", "--extra-experimental-features", "nix-command flakes"]
QUESTION = """describe: describe {
  root = { web1 = derivation { name = "web1"; system = "x86_64-linux"; builder = "/bin/sh"; }; };
  arguments = { }; prefix = [ ]; requests = { web1 = [ "web1" ]; };
}"""


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    """Only what the flake refers to: the checkout holds a lab and virtual environments."""
    shutil.copy(REPOSITORY / "flake.nix", tmp_path / "flake.nix")
    shutil.copytree(REPOSITORY / "plugins/plugin_utils/nix", tmp_path / "plugins/plugin_utils/nix")
    return tmp_path


def test_nix_finds_nothing_wrong_with_it(flake: Path) -> None:
    """Nix of before 2.20 wants modules to be functions."""
    said = run([*NIX, "flake", "check", "--no-build", f"path:{flake}"], environment=nix_environment()).stderr
    assert "error" not in said


def test_the_flake_describes_derivations(flake: Path) -> None:
    argv = [*NIX, "eval", "--json", "--apply", QUESTION, f"path:{flake}#lib.describe"]
    described = json.loads(run(argv, environment=nix_environment()).stdout)
    assert described["web1"]["drv_path"].endswith("-web1.drv")
    assert described["web1"]["outputs"]["out"].endswith("-web1")
