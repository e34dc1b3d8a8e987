# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roll a host back to an earlier generation."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import guard_on
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import ProbeRequest
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import (
    SWITCH_OPTIONS,
    kind_of,
    start_request,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.rollback import (
    PREVIOUS,
    choose_generation,
    further_back,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.task import switch_host


class ActionModule(NixferryAction):
    """``nix_rollback``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            **SWITCH_OPTIONS,
            "to": {"type": "str", "default": "previous"},
            "known_deploys": {"type": "list", "elements": "str", "default": []},
        }
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Choose the generation on the host, then switch to it as to any other system."""
        guard = guard_on(shell, options["guard"])
        request = ProbeRequest(kind=kind_of(options), profile=str(options["profile"] or ""), history=True)
        probe = guard.probe(request)
        chosen = choose_generation(probe, options["to"], options["known_deploys"])
        warning = further_back(probe, options["known_deploys"]) if options["to"] == PREVIOUS else ""
        if warning:
            Display().warning(f"{shell.host}: {warning}")
        progress.line(f"rolling back to {chosen.text()}")
        result = switch_host(
            guard,
            start_request(options, chosen.path, Action.SWITCH, is_rollback=True),
            options["health_checks"],
            progress,
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
        )
        return {**result, "target_generation": chosen.number, "target_reason": chosen.reason}
