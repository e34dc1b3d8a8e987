# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fleet files of other tools have in common here."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contestants import Deployment

NIXPKGS = Path(__file__).resolve().parent / "nixpkgs"


def nix_file(deployment: Deployment, name: str, body: str) -> Path:
    """Write a fleet file whose ``body`` may use ``nixpkgs`` and ``hosts``.

    ``hosts`` takes a function from a host's name to more of its module, and gives one module a host, with the
    system that the other contestants deploy.
    """
    directory = deployment.systems.directory
    text = f"""\
let
  nixpkgs = import {NIXPKGS} {{ seed = builtins.path {{ path = {directory}/seed; name = "mini-nixos-seed"; }}; }};
  systems = import {directory} {{ }};
  hosts = more: builtins.mapAttrs
    (name: system: {{ system.build.toplevel = system.config.system.build.toplevel; }} // more name)
    systems;
in
{body}
"""
    path = deployment.work / name
    path.write_text(text)
    return path
