# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Copy to a host as one task, and shape its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    KNOWN_LATER,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .options import CopyResult, copy_request, diff_text, most_listed
from .task import copy_closure


def copy_to_host(
    shell: RemoteShell,
    options: Mapping[str, Any],
    paths: Sequence[str],
    progress: Progress,
    *,
    check_mode: bool,
    diff_mode: bool,
    verbosity: int = 0,
    absent: bool = False,
) -> dict[str, Any]:
    """Copy the missing paths of the closures of ``paths`` to the host, or in check mode report them.

    ``verbosity`` is that of Ansible. ``absent`` says that the host most likely lacks ``paths``. Raises
    ``NixferryError``.
    """
    request = copy_request(options, paths, dry_run=check_mode, absent=absent)
    copied = copy_closure(shell, request, nix=Nix(), progress=progress)
    most = most_listed(every=options["list_paths"], verbosity=verbosity)
    result = {"failed": False, **copied.facts(most=most)}
    if diff_mode and copied.changed:
        result["diff"] = {"prepared": diff_text(copied)}
    return result


def unknown_copy() -> dict[str, Any]:
    """Return the result in check mode for a system whose store path is known after the build only."""
    return {"failed": False, **CopyResult("none").facts(), "changed": True, "msg": KNOWN_LATER}
