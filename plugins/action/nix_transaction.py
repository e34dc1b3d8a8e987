# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide for several hosts that were deployed together. Documented in plugins/modules/nix_transaction.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.transaction import decide


class ActionModule(NixferryAction):
    """``nix_transaction``: see the module of the same name for its documentation."""

    _requires_connection = False

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "results": {"type": "dict", "required": True},
            "peers": {"type": "list", "elements": "str"},
        }
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Decide from the results on the controller."""
        hosts = options["results"] if options["peers"] is None else options["peers"]
        decision = decide(list(hosts), options["results"], self.batch)
        progress.rename("transaction")
        if decision.failures:
            progress.line(f"all hosts roll back: {decision.reason}")
        elif not decision.settled:
            progress.line("all hosts are healthy and will be confirmed")
        return decision.result()
