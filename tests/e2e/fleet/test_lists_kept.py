# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An unchanged flake is listed without an evaluation; whatever it is made of may change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import nix_environment, run

NIX = ["nix", "--extra-experimental-features", "nix-command flakes"]
FLAKE = """
{
  inputs.other = { url = "path:OTHER"; flake = false; };
  outputs = { self, other }: {
    deploy.nodes.web1 = builtins.trace "warning: an old name" {
      hostname = import ./address.nix + builtins.readFile "${other}/domain";
      profiles.system.path = throw "no list needs this";
    };
  };
}
"""
LIST_DEADLINE = 120  # seconds


@dataclass
class Workstation:
    """A directory with a flake, and a Nix that notes how it is called."""

    directory: Path

    def list(self, **options: Any) -> tuple[str, list[str], str]:
        """The host's address, what Nix was called for, and what was told."""
        config = {"plugin": "nixferry.deploy.fleet", "fleet": "flake", **options}
        (self.directory / "fleet.yml").write_text(json.dumps(config))
        calls = self.directory / "calls"
        calls.write_text("")
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-inventory"), "--inventory=fleet.yml", "--list"],
            cwd=self.directory,
            env={
                **os.environ,
                **nix_environment(),
                "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
                "CALLS": str(calls),
                "XDG_STATE_HOME": str(self.directory / "state"),
                "HOME": str(self.directory),
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=LIST_DEADLINE,
        )
        assert "web1" in done.stdout, done.stderr
        # Strings that are no templates are marked, as those of any inventory plugin.
        found = json.loads(done.stdout, object_hook=lambda each: each.get("__ansible_unsafe", each))
        return (
            found["_meta"]["hostvars"]["web1"]["ansible_host"],
            calls.read_text().split("\n")[:-1],
            done.stderr,
        )


@pytest.fixture
def workstation(tmp_path: Path) -> Workstation:
    for name in ("flake", "other", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "flake/flake.nix").write_text(FLAKE.replace("OTHER", str(tmp_path / "other")))
    (tmp_path / "flake/address.nix").write_text('"web1."')
    (tmp_path / "other/domain").write_text("example.org")
    program = tmp_path / "bin/nix"
    noted = 'case " $* " in *" eval "*) echo eval ;; *) echo other ;; esac >>"$CALLS"'
    program.write_text(f'#!/bin/sh\n{noted}\nexec {shutil.which("nix")} "$@"\n')
    program.chmod(0o755)
    run([*NIX, "flake", "lock", f"path:{tmp_path}/flake"], environment=nix_environment())
    return Workstation(tmp_path)


def evaluations(calls: list[str]) -> int:
    return calls.count("eval")


def test_what_has_not_changed_is_not_evaluated_again(workstation: Workstation) -> None:
    address, calls, told = workstation.list()
    assert address == "web1.example.org"
    assert evaluations(calls) > 0
    assert "an old name" in told

    address, calls, told = workstation.list()
    assert address == "web1.example.org"
    assert evaluations(calls) == 0
    assert "an old name" in told

    _address, calls, _told = workstation.list(reuse=False)
    assert evaluations(calls) > 0


def test_a_change_of_the_flake_or_of_an_input_is_seen(workstation: Workstation) -> None:
    workstation.list()
    (workstation.directory / "flake/address.nix").write_text('"web2."')
    assert workstation.list()[0] == "web2.example.org"
    other = workstation.directory / "second"
    other.mkdir()
    (other / "domain").write_text("example.com")
    assert workstation.list(override_inputs={"other": f"path:{other}"})[0] == "web2.example.com"
    (other / "domain").write_text("example.net")
    assert workstation.list(override_inputs={"other": f"path:{other}"})[0] == "web2.example.net"
    assert workstation.list()[0] == "web2.example.org"


def test_a_flake_that_may_read_anything_is_always_evaluated(workstation: Workstation) -> None:
    for _run in range(2):
        assert evaluations(workstation.list(impure=True)[1]) > 0
