# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The flake of this repository: what it offers to Nix users."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lab import REPOSITORY, nix_environment, run

NIX = ["nix", "--extra-experimental-features", "nix-command flakes"]
QUESTION = """describe: describe {
  root = { web1 = derivation { name = "web1"; system = "x86_64-linux"; builder = "/bin/sh"; }; };
  arguments = { }; prefix = [ ]; requests = { web1 = [ "web1" ]; };
}"""


def test_the_flake_describes_derivations(tmp_path: Path) -> None:
    # Only what the flake refers to: the checkout holds a lab and virtual environments.
    for name in ("flake.nix", "plugins/plugin_utils/nix/evaluate.nix"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    argv = [*NIX, "eval", "--json", "--apply", QUESTION, f"path:{tmp_path}#lib.describe"]
    described = json.loads(run(argv, environment=nix_environment()).stdout)
    assert described["web1"]["drv_path"].endswith("-web1.drv")
    assert described["web1"]["outputs"]["out"].endswith("-web1")
