# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Garbage collector roots and locks on the controller.

Both are in ``${XDG_STATE_HOME:-~/.local/state}/nixferry``. A root is one link per host, replaced by the host's next
build: a build cannot be collected before it is copied, and the next copy finds the old closure.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import file_name
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest

STEP = Step.KEEP_BUILD
ROOT_TIMEOUT_SECONDS = 120.0
_PARALLEL = 4


def roots_directory(project: str, state: Path) -> Path:
    """Return the directory of roots for playbooks in ``project``: other projects may have hosts of the same name."""
    digest = hashlib.sha256(project.encode()).hexdigest()[:8]
    return state / "gcroots" / f"{file_name(Path(project).name or 'root')}-{digest}"


def keep(nix: Nix, directory: Path, paths: Mapping[str, str]) -> list[str]:
    """Make each host's store path a root named after the host. Return failures as warnings."""
    links = {host: directory / file_name(host) for host in paths}
    wanted = {host: path for host, path in paths.items() if not _points_to(links[host], path)}
    if not wanted:
        return []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        return [f"the builds are not protected from the garbage collector: {error}"]
    deadline = time.monotonic() + ROOT_TIMEOUT_SECONDS
    requests = [
        NixRequest(
            ("nix-store", "--realise", path, "--add-root", str(links[host]), "--indirect"), deadline=deadline
        )
        for host, path in wanted.items()
    ]
    results = nix.run_many(requests, step=STEP, parallel=_PARALLEL)
    return [
        f"{host}: the build is not protected from the garbage collector: "
        + result.error(step=STEP, deadline_name="the wait for the garbage collector root").cause
        for host, result in zip(wanted, results, strict=True)
        if result.return_code != 0
    ]


def _points_to(link: Path, path: str) -> bool:
    try:
        return str(link.readlink()) == path
    except OSError:
        return False
