# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the status of a host that pulls. Documented in plugins/modules/nix_pull_status.py."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.status import (
    STEP,
    PullStatus,
    read_status,
)


class ActionModule(NixferryAction):
    """``nix_pull_status``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "wait_for_serial": {"type": "int"},
            "wait_for_commit": {"type": "str"},
            "timeout": {"type": "int", "default": 1800},
            "delay": {"type": "int", "default": 10},
        },
        "mutually_exclusive": [("wait_for_serial", "wait_for_commit")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        """Look, and look again until the host has the serial."""
        serial, commit = options["wait_for_serial"], options["wait_for_commit"]
        status = read_status(shell)
        if serial is not None or commit:
            ends = time.monotonic() + options["timeout"]
            while not (status.has_built(commit) if commit else status.has_reached(serial)):
                if time.monotonic() + options["delay"] > ends:
                    raise _late(status, serial, commit, options["timeout"])
                time.sleep(max(1, options["delay"]))
                status = read_status(shell)
        return {"failed": False, "changed": False, "pull": status.result()}


def _late(status: PullStatus, serial: int | None, commit: str | None, timeout: int) -> NixferryError:
    if not status.pulls:
        return NixferryError(
            "no pull agent looks regularly on this host",
            step=STEP,
            remedy="Install it (nixferry.deploy.nix_pull_agent), or look at nixferry-pull.timer there.",
        )
    last = f"{status.outcome}: {status.message}" if status.message else status.outcome or "no run"
    if commit:
        missed = f"chose the commit {status.commit or 'none'}, not {commit}"
    else:
        missed = f"has serial {status.serial or 'none'}, not {serial}"
    return NixferryError(
        f"the timeout expired: after {timeout} s the host {missed}; its last run ended with {last}",
        step=STEP,
        remedy="Raise `timeout` above the interval and the jitter of the agent; "
        "`journalctl --unit 'nixferry-pull*'` on the host says what it does.",
    )
