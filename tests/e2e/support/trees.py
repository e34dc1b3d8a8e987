# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real nixpkgs and the tools whose fleet files are read, which the environment names; and each Nix that reads them.

NIXPKGS_TREE names a checkout of nixpkgs of any age. FLEET_TOOLS names a directory with checkouts of the tools: colmena,
deploy-rs, morph, nixops and nixus. tests/fixtures/nixpkgs/README.md says how to get them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import REPOSITORY, Lab, run


def _named(variable: str) -> Path | None:
    """The directory that the environment names, without a link in its path: a newer Nix follows none."""
    return Path(os.environ[variable]).resolve(strict=True) if os.environ.get(variable) else None


TREE, TOOLS = _named("NIXPKGS_TREE"), _named("FLEET_TOOLS")
with_a_tree = pytest.mark.skipif(TREE is None, reason="NIXPKGS_TREE names no checkout of nixpkgs")
with_tools = pytest.mark.skipif(
    TREE is None or TOOLS is None,
    reason="NIXPKGS_TREE or FLEET_TOOLS names no checkout of nixpkgs or of the tools",
)
# In a container, on the same paths.
PROGRAM = """#!/bin/sh
exec docker exec --interactive --env NIX_CONFIG {container} "$(basename "$0")" "$@"
"""
START_DEADLINE = 60  # seconds


@contextmanager
def programs_of(lab: Lab, controller: str, base: Path, directory: Path) -> Iterator[Path]:
    """Programs in ``directory`` that run the Nix of a controller of the lab.

    They run in a container of the controller's image, which sees the trees, this checkout, and ``base``, where tests
    write.
    """
    inspect = ["docker", "inspect", "--format", "{{.Config.Image}}", lab.controller(controller)]
    image = run(inspect).stdout.strip()
    container = f"{lab.controller(controller)}-nixpkgs"
    mounts = [f"--volume={tree}:{tree}:ro" for tree in (TREE, TOOLS, REPOSITORY) if tree is not None]
    mounts.append(f"--volume={base}:{base}")
    run(["docker", "run", "--detach", "--name", container, *mounts, image, "sleep", "infinity"])
    try:
        for name in ("nix", "nix-instantiate", "nix-store"):
            (directory / name).write_text(PROGRAM.format(container=container))
            (directory / name).chmod(0o755)
        yield directory
    finally:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", container], check=False, timeout=START_DEADLINE
        )
