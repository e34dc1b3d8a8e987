# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The flake of this repository: what it offers to Nix users."""

from __future__ import annotations

import filecmp
import json
import re
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
    flake = tmp_path / "flake"
    flake.mkdir()
    shutil.copy(REPOSITORY / "flake.nix", flake / "flake.nix")
    shutil.copytree(REPOSITORY / "plugins/plugin_utils/nix", flake / "plugins/plugin_utils/nix")
    shutil.copytree(REPOSITORY / "examples", flake / "examples")
    return flake


def test_nix_finds_nothing_wrong_with_it_and_builds_its_checks(flake: Path) -> None:
    """Nix of before 2.20 wants modules to be functions."""
    said = run([*NIX, "flake", "check", f"path:{flake}"], environment=nix_environment()).stderr
    assert "error" not in said


def test_a_project_from_the_template_is_the_example(flake: Path, tmp_path: Path) -> None:
    project = tmp_path / "my project"
    project.mkdir()
    run(
        [*NIX, "flake", "init", "--template", f"path:{flake}"],
        environment=nix_environment(),
        directory=project,
    )
    example = REPOSITORY / "examples/service"
    names = sorted(path.name for path in example.iterdir())
    assert {"ansible.cfg", "deploy.yml", "flake.nix", "inventory.yml"} <= set(names)
    assert filecmp.cmpfiles(example, project, names, shallow=False) == (names, [], [])
    run([*NIX, "build", "--no-link", ".#service"], environment=nix_environment(), directory=project)
    service = run(
        [*NIX, "eval", "--raw", ".#service"], environment=nix_environment(), directory=project
    ).stdout
    page = re.search(r'"(/nix/store/[^"]*page.html)"', Path(service).read_text())
    assert page
    assert Path(page[1]).read_text() == (project / "page.html").read_text()


def test_the_flake_describes_derivations(flake: Path) -> None:
    argv = [*NIX, "eval", "--json", "--apply", QUESTION, f"path:{flake}#lib.describe"]
    described = json.loads(run(argv, environment=nix_environment()).stdout)
    assert described["web1"]["drv_path"].endswith("-web1.drv")
    assert described["web1"]["outputs"]["out"].endswith("-web1")
