# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store paths that exist nowhere else, and plays that copy them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from lab import nix_environment, run
from project import PlaybookRun, Project

# A path whose content does not prove its name: Nix takes it only from a trusted user, or signed.
EXPRESSION = """
{ name, bytes, dependency }:
derivation {
  inherit name bytes dependency;
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [
    "-c"
    "PATH=/usr/bin:/bin; mkdir $out; echo $dependency >$out/dependency; head -c $bytes /dev/urandom >$out/data"
  ];
  salt = "SALT";
}
"""


def make_path(name: str, *, size: int = 100, dependency: str = "", container: str = "") -> str:
    """Build a path of ``size`` random bytes that is nowhere else, on this machine or in a container."""
    text = EXPRESSION.replace("SALT", secrets.token_hex(8))
    reference = f"builtins.storePath {dependency}" if dependency else '""'
    expression = f"({text}) {{ name = {json.dumps(name)}; bytes = {size}; dependency = {reference}; }}"
    argv = ["nix-build", "--no-out-link", "--expr", expression]
    if container:
        return run(["docker", "exec", container, *argv]).stdout.strip()
    return run(argv, environment=nix_environment()).stdout.strip()


def make_pair(container: str = "") -> tuple[str, str]:
    """A path and one that refers to it, built on this machine or in a container."""
    below = make_path("below", container=container)
    return below, make_path("above", dependency=below, container=container)


def refusal(done: PlaybookRun, host: str) -> dict[str, Any]:
    """The result of a copy to ``host`` that failed."""
    assert [entry.status for entry in done.find("Copy", host)] == ["failed"], str(done)
    return done.result("Copy", host)


def copy(
    project: Project,
    hosts: str,
    path: str,
    *arguments: str,
    variables: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> PlaybookRun:
    """Run a play of one task on ``hosts``."""
    task = {"name": "Copy", "nixferry.deploy.nix_copy": {"path": path, **options}}
    play = [{"hosts": hosts, "gather_facts": False, "tasks": [task]}]
    return project.run_playbook(play, *arguments, variables=variables, environment=environment)
