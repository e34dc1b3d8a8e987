# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the systems of two builds. Documented in plugins/modules/nix_closure_diff.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import built_toplevel
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import diff_closures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import closure
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.changes import markdown

STEP = Step.READ_BUILD


class ActionModule(NixferryAction):
    """``nix_closure_diff``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "before": {"type": "dict", "required": True},
            "after": {"type": "dict", "required": True},
            "pins": {"type": "list", "elements": "dict", "default": []},
            "timeout": {"type": "int", "default": 600},
            "progress": PROGRESS_OPTION,
        }
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Ask the controller's store; do not contact the host."""
        nix = Nix(on_event=progress.event, on_tick=progress.tick)
        before = _toplevels(options["before"], needed=False)
        after = _toplevels(options["after"], needed=True)
        if not after:
            raise NixferryError(
                "`after` has no system that was built",
                step=STEP,
                remedy="Give the result of nix_build for the hosts of a fleet.",
            )
        sizes: dict[str, dict[str, int]] = {}
        for path in {*before.values(), *after.values()}:
            items = closure(nix, [path], step=STEP, timeout=options["timeout"])
            sizes[path] = {item.path: item.nar_size for item in items}
        both = sorted(after.keys() & before.keys())
        changed = sorted(host for host, path in after.items() if before.get(host) != path)
        diffs = {host: diff_closures(sizes[before[host]], sizes[after[host]]) for host in both}
        # Every toplevel is named after its host.
        inner = {
            host: diff_closures(*(_without(sizes[side[host]], side[host]) for side in (before, after)))
            for host in both
        }
        unknown = after.keys() - before.keys()
        return {
            "failed": False,
            "changed": False,
            "hosts": {host: diff.result() for host, diff in diffs.items()},
            "changed_hosts": changed,
            "markdown": markdown(options["pins"], inner, changed=changed, unknown=unknown),
        }


def _without(sizes: Mapping[str, int], toplevel: str) -> dict[str, int]:
    return {path: size for path, size in sizes.items() if path != toplevel}


def _toplevels(build: Mapping[str, Any], *, needed: bool) -> dict[str, str]:
    """Return the store paths by host in the result of a build of many hosts.

    If they are ``needed``, raises the ``NixferryError`` of the first build that failed; else leaves such hosts out.
    """
    hosts = build.get("hosts") or {}
    found = {
        str(host): built_toplevel(host, build)
        for host, own in hosts.items()
        if needed or (own.get("toplevel") and not own.get("failed"))
    }
    return {host: parse_store_path(path, step=STEP).path for host, path in found.items()}
