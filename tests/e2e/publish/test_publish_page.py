# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page about publishing, from its first command to its last, in a directory of a user."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, cast

import yaml
from cache_server import serving
from guides import guide_blocks, page_blocks
from lab import REPOSITORY, nix_environment, run
from project import Project

PAGE = REPOSITORY / "docs/docsite/rst/publish.rst"
FLAKE = """
{
  outputs = { self }: {
    nixosConfigurations.web1.config.system.build.toplevel = derivation {
      name = "nixos-system-web1";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo ${builtins.readFile ./version} >$out" ];
    };
  };
}
"""
WEB2 = """
    nixosConfigurations.web2 = self.nixosConfigurations.web1;
"""


def test_the_page(tmp_path: Path) -> None:
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.write("inventory.yml", json.dumps({"nixos": {"hosts": {"web1": {}}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    project.write("flake.nix", FLAKE)
    project.write("version", "1")
    www = tmp_path / "www"
    environment = {**nix_environment(), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def shell(script: str, *, directory: Path = project.directory, check: bool = True) -> str:
        script = script.replace("/srv/www", str(www)).replace(
            "https://cache.example.org", f"file://{www}/cache"
        )
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        settings = {**environment, **project.prepare([])[1], "PATH": programs}
        done = run(["sh", "-e"], input=script, environment=settings, directory=directory, check=check)
        return done.stdout + done.stderr

    keys, back = page_blocks(PAGE, "console")
    shell("\n".join(line.removeprefix("$ ") for line in keys.splitlines()))
    play, _github, _gitlab, in_waves, look, _pulling, replace_key, clean_up = guide_blocks(PAGE)
    # The gate asks for nixpkgs' systems, and fetches nothing here.
    play = play.replace("/srv/www", str(www)).replace("https://cache.example.org", f"file://{www}/cache")
    project.write("publish.yml", play)
    gate = ["nix", "--extra-experimental-features", "nix-command flakes", "flake", "check", "--no-build"]
    gates = json.dumps({"publish_gates": [{"command": gate}]})
    project.write("gates.json", gates)
    shell("ansible-playbook publish.yml -e @gates.json")
    pointer = www / "pointers/stable/hosts/web1"
    first = pointer.read_text()
    serial = re.search(r"^serial (\d+)$", first, re.M)
    assert serial

    # By hand, beside the public key.
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    shutil.copy(project.directory / "pointer.pub", by_hand)
    (by_hand / "web1").write_text(first)
    environment_block, _bucket, verify = page_blocks(PAGE, "sh")
    assert "Good" in shell(verify, directory=by_hand)
    (by_hand / "web1").write_text(first.replace("serial ", "serial 1"))
    assert "Good" not in shell(verify, directory=by_hand, check=False)

    # Without an inventory, from the environment.
    (project.directory / "version").write_text("2")
    shell(f"cd {project.directory}; export ANSIBLE_INVENTORY=/dev/null\n{environment_block}")
    second = pointer.read_text()
    assert second != first

    previous, to_a_serial = (line.removeprefix("$ ") for line in back.splitlines())
    shell(f"{previous} -e @gates.json")
    assert toplevel(pointer.read_text()) == toplevel(first) != toplevel(second)
    shell(to_a_serial.replace("1795225250", serial[1]) + " -e @gates.json")
    assert toplevel(pointer.read_text()) == toplevel(first)

    # One wave that is not well, and then is. Its hosts ask a program of the user.
    asked = project.write("are-they-well", '#!/bin/sh\n[ "$*" = web1 ]\n')
    project.write("look.yml", look.replace("60", "1").replace("30", "0"))
    project.write("inventory.yml", json.dumps({"nixos": {"hosts": {"web1": {}, "web2": {}}}}))
    project.write("flake.nix", FLAKE.replace("nixosConfigurations.", WEB2 + "nixosConfigurations."))
    waves = in_waves.replace("30", "0").replace("[canaries, 25%]", "[50%]")
    project.write(
        "waves.yml",
        waves.replace("/srv/www", str(www)).replace("https://cache.example.org", f"file://{www}/cache"),
    )
    before = pointer.read_text()
    refused = shell("ansible-playbook waves.yml", check=False)
    assert "Wave 1 is not well" in refused
    assert toplevel(pointer.read_text()) == toplevel(before)
    assert pointer.read_text() != before
    assert not pointer.with_name("web2").exists()
    asked.chmod(0o755)
    shell("ansible-playbook waves.yml")
    assert toplevel(pointer.read_text()) == toplevel(second)
    assert pointer.with_name("web2").exists()

    # The keys, in all steps, and the cache without what nothing points to.
    project.write("replace_key.yml", replace_key)
    for step in ("next", "promoted"):
        shell(f"ansible-playbook replace_key.yml -e step={step}")
    shell("ansible-playbook publish.yml -e @gates.json -e publish_renew=true")
    assert "cache.example.org-2:" in shell("ansible-playbook replace_key.yml -e step=retired")
    project.write("clean_up.yml", clean_up.replace("/srv/www", str(www)))
    assert "changed=0" in shell("ansible-playbook clean_up.yml")


def test_the_examples_for_two_ci_systems(tmp_path: Path) -> None:
    """Their scripts, as far as they need no machine of theirs: what the steps before install is here already."""
    github, gitlab = guide_blocks(PAGE)[1:3]
    step = yaml.safe_load(github)["jobs"]["publish"]["steps"][-1]
    job = yaml.safe_load(gitlab)["publish"]
    jobs = [
        (step["env"], step["run"], lambda file: file.read_text()),
        (job["variables"], "\n".join(job["script"]), str),
    ]
    with serving(tmp_path / "served") as server:
        (server.directory / "cache").mkdir(parents=True)
        (server.directory / "cache/nix-cache-info").write_text("StoreDir: /nix/store\n")
        for number, (variables, script, given) in enumerate(jobs):
            checkout = tmp_path / str(number)
            project = Project(directory=checkout, lab=cast(Any, None))
            project.write("flake.nix", FLAKE)
            project.write("version", str(number))
            keys = tmp_path / f"keys-{number}"
            keys.mkdir()
            make = (
                "nix --extra-experimental-features nix-command key generate-secret --key-name ci-1 >cache\n"
                "ssh-keygen -q -t ed25519 -N '' -f pointer\nchmod 666 cache pointer"
            )
            run(["sh", "-e"], input=make, directory=keys, environment=nix_environment())
            environment = {
                **project.prepare([])[1],
                **nix_environment(),
                **{name: str(value) for name, value in variables.items()},
                "NIXFERRY_CACHE": f"{server.url}/cache",
                "NIXFERRY_POINTERS": f"{server.url}/{number}",
                "CACHE_KEY": given(keys / "cache"),
                "POINTER_KEY": given(keys / "pointer"),
                "RUNNER_TEMP": str(keys),
                "XDG_CACHE_HOME": str(tmp_path / "nix"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            }
            for name in ("CACHE_KEY", "POINTER_KEY"):
                environment[name] = environment[name].rstrip("\n")
            (keys / "pointer").chmod(0o666 if given is str else 0o600)
            run(["sh", "-e"], input=script, directory=checkout, environment=environment)
            assert (server.directory / f"{number}/stable/hosts/web1").exists()


def test_what_hydra_has_built(tmp_path: Path) -> None:
    """The play for those who come from Hydra: a server answers with a path, as Hydra does, and that is published."""
    page = guide_blocks(REPOSITORY / "docs/docsite/rst/from_pull.rst")
    play = next(block for block in page if "hydra.example.org" in block)
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    away = {"ansible_connection": "ssh", "ansible_host": "192.0.2.1"}
    project.write("inventory.yml", json.dumps({"nixos": {"hosts": {"web1": away, "web2": away}}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    www = tmp_path / "www"
    paths = {}
    with serving(tmp_path / "hydra") as hydra:
        for host in ("web1", "web2"):
            text = (
                f'derivation {{ name = "{host}"; system = "x86_64-linux"; builder = "/bin/sh"; '
                'args = [ "-c" "echo 1 >$out" ]; }'
            )
            argv = ["nix-build", "--no-out-link", "--expr", text]
            paths[host] = run(argv, environment=nix_environment()).stdout.strip()
            answer = hydra.directory / f"job/fleet/main/{host}/latest-finished"
            answer.parent.mkdir(parents=True)
            answer.write_text(json.dumps({"buildstatus": 0, "buildoutputs": {"out": {"path": paths[host]}}}))
        make = (
            "umask 077; nix --extra-experimental-features nix-command key generate-secret --key-name c-1 >cache.key\n"
            "ssh-keygen -q -t ed25519 -N '' -f pointer"
        )
        run(["sh", "-e"], input=make, directory=project.directory, environment=nix_environment())
        places = {
            "https://hydra.example.org": hydra.url,
            "/srv/www": str(www),
            "https://cache.example.org": f"file://{www}/cache",
        }
        for there, here in places.items():
            play = play.replace(there, here)
        project.run_playbook(play).assert_ok()
    for host, path in paths.items():
        assert toplevel((www / "pointers/stable/hosts" / host).read_text()) == path


def toplevel(pointer: str) -> str:
    return pointer.partition("toplevel ")[2].partition("\n")[0]
