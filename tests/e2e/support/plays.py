# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays as users write them, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab import LabHost
from project import Project

SWITCH = "nix_switch"
BUILD = "nix_build"

# Evaluates, but cannot be built: a file where another one wants a directory.
BROKEN_BUILD = {"version": "2", "etc": {"conflict": "a file", "conflict/within": "another"}}


def deploy_play(hosts: str, play: Mapping[str, Any] | None = None, **variables: Any) -> list[Any]:
    """A play with the role; `variables` are the role's without their prefix, `play` holds further keywords.

    What is not a variable of the role goes into `play` as `module_defaults`, see `defaults`.
    """
    role = {
        "role": "nixferry.deploy.nixos",
        "vars": {f"nixos_{name}": value for name, value in variables.items()},
    }
    return [{"hosts": hosts, "gather_facts": False, **(play or {}), "roles": [role]}]


def defaults(action: str, **options: Any) -> dict[str, Any]:
    """The keywords of a play that give options to an action of the role."""
    return {"module_defaults": {f"nixferry.deploy.{action}": options}}


def task_play(hosts: str, action: str, options: Mapping[str, Any], **play: Any) -> list[Any]:
    """A play with one task of the collection."""
    return [
        {"hosts": hosts, "gather_facts": False, **play, "tasks": [{f"nixferry.deploy.{action}": options}]}
    ]


def flake_play(project: Project, host: LabHost, **variables: Any) -> list[Any]:
    """Deploy the project's flake to one host."""
    return deploy_play(host.name, flake=f"path:{project.root}/systems", **variables)


def file_play(host: LabHost, **variables: Any) -> list[Any]:
    """Deploy an attribute of the project's file to one host."""
    return deploy_play(host.name, file="systems/default.nix", attr="{host}", **variables)
