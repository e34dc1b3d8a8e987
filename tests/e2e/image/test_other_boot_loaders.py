# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No image is made of a system whose deploys would install another boot loader than the image has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from processes import nix_environment, run
from project import Project

CHECK = "--check"
# As in nixpkgs, the derivation of a toplevel names the program that installs the boot loader.
UNBUILT = """
{
  web1.config.system.build.toplevel = derivation {
    name = "nixos-system-web1";
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "echo it is built; exit 1" ];
    INSTALL_BOOTLOADER = builtins.toFile "install-grub.sh" "";
  };
}
"""
BUILT = """
derivation {
  name = "nixos-system-web1";
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" ''
    /bin/mkdir -p $out/bin
    echo ${builtins.toFile "install-grub.sh" ""} >$out/bin/switch-to-configuration
  '' ];
}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(directory=tmp_path / "project", lab=cast(Any, None))
    made.directory.mkdir()
    made.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}}}))
    made.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    return made


@pytest.mark.parametrize("mode", [(), (CHECK,)], ids=["run", "check"])
def test_a_system_with_grub_is_refused_before_it_is_built(project: Project, mode: tuple[str, ...]) -> None:
    project.write("grub.nix", UNBUILT)
    variables = {"nixos_file": "grub.nix", "nixos_attr": "{host}"}
    role = {"role": "nixferry.deploy.image", "vars": variables}
    play = [{"hosts": "all", "gather_facts": False, "roles": [role]}]
    done = project.run_playbook(play, *mode)
    failure = done.result("nix_build")
    assert done.return_code != 0
    assert "does not install systemd-boot, but install-grub" in failure["cause"], str(done)
    assert "`image_variant`" in failure["remedy"]
    assert "it is built" not in str(done)
    assert not (project.directory / "images").exists()
    # The user may know better.
    variables["image_boot_loader"] = "systemd-boot"
    done = project.run_playbook(play, *mode)
    assert "install-grub" not in str(done)
    assert ("it is built" in str(done)) == (CHECK not in mode)


@pytest.mark.parametrize("mode", [(), (CHECK,)], ids=["run", "check"])
def test_a_system_that_was_built_is_refused_at_once(project: Project, mode: tuple[str, ...]) -> None:
    """Before its closure is copied."""
    file = project.write("built.nix", BUILT)
    toplevel = run(["nix-build", "--no-out-link", str(file)], environment=nix_environment()).stdout.strip()
    task = {"nixferry.deploy.nix_image": {"directory": "images", "toplevel": toplevel}}
    done = project.run_playbook([{"hosts": "all", "gather_facts": False, "tasks": [task]}], *mode)
    assert "install-grub" in done.result("nix_image")["cause"]
