# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The differences of closures that no task has compared: after a run, from what the controller's store has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import diff_closures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import closure, invalid_paths

# A report must not keep the deployer waiting: what is not compared by then is left out.
CLOSURES_SECONDS = 20.0


def add_closures(report: Mapping[str, Any], nix: Nix, *, clock: Callable[[], float] = time.monotonic) -> bool:
    """Add to the hosts of a report (``RunReport.report``) the differences that can be told without asking them.

    A host that was activated names its old and its new system. If the store of the controller has both, they are
    compared. It takes at most ``CLOSURES_SECONDS``, and raises nothing for what Nix cannot tell. Returns whether
    anything was added.
    """
    deadline = clock() + CLOSURES_SECONDS
    pairs = {
        name: (host["old"], host["new"])
        for name, host in report["hosts"].items()
        # The host chooses what it says: it may be anything.
        if not host["closure"] and host["old"] != host["new"] and _are_paths(host["old"], host["new"])
    }
    if not pairs:
        return False
    added = False
    sizes: dict[str, dict[str, int]] = {}
    try:
        step = Step.COMPARE_CLOSURES
        paths = {path for pair in pairs.values() for path in pair}
        absent = invalid_paths(nix, paths, step=step, timeout=CLOSURES_SECONDS)
        for name, pair in pairs.items():
            if absent.isdisjoint(pair):
                for path in pair:
                    if path not in sizes:
                        found = closure(nix, [path], step=step, timeout=max(0.1, deadline - clock()))
                        sizes[path] = {item.path: item.nar_size for item in found}
                report["hosts"][name]["closure"] = diff_closures(*(sizes[path] for path in pair)).result()
                added = True
            if clock() > deadline:
                break
    except NixferryError:
        # No Nix here, or the time is over.
        pass
    return added


def _are_paths(*paths: Any) -> bool:
    return all(isinstance(path, str) and is_store_path(path) for path in paths)
