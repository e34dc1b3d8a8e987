# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a host to a system in its store."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard, guard_on
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import (
    REVISION_OPTIONS,
    STEP_OPTIONS,
    SWITCH_OPTIONS,
    check_seconds,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.outcome import Outcome
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.steps import deferred, settle_host
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.system import (
    SYSTEM_OPTIONS,
    Activation,
    wanted_system,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.transaction import (
    LOST_PEERS,
    lost_before,
    lost_peers,
    refuse_unsuitable,
    strategy_of,
)


class ActionModule(NixferryAction):
    """``nix_switch``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            **SWITCH_OPTIONS,
            **REVISION_OPTIONS,
            **STEP_OPTIONS,
            **SYSTEM_OPTIONS,
        },
        "mutually_exclusive": [("toplevel", "build")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Do the step; among peers a failure that the others have to know of first is left for them to see."""
        guard = guard_on(shell, options["guard"])
        peers = options["peers"]
        if not peers or options["step"] == "all":
            return self._step(options, guard, progress)
        if options["step"] == "abort":
            result = self._step(options, guard, progress)
            return {**result, "failed": result.get("outcome") != Outcome.UNCHANGED}
        refuse_unsuitable(strategy_of(self._task), options["action"], rolls_back=options["rollback"])
        try:
            if options["step"] == "activate":
                earlier = lost_before(peers, options["peer_steps"], self.variables.get("hostvars", {}))
                lost = lost_peers(peers, self.batch, earlier)
                if lost is not None:
                    # The fault of a host that is lost itself is named first.
                    return {**deferred(lost.result(shell.host)), LOST_PEERS: self.subject not in earlier}
            return deferred(self._step(options, guard, progress))
        except NixferryError as error:
            return deferred(error.result(shell.host))

    def _step(self, options: dict[str, Any], guard: Guard, progress: Progress) -> dict[str, Any]:
        if options["step"] in ("confirm", "abort"):
            return settle_host(guard, options, progress, check_mode=bool(self._task.check_mode))
        return self._activate(options, guard, progress)

    def _activate(self, options: dict[str, Any], guard: Guard, progress: Progress) -> dict[str, Any]:
        """Activate and check; with step all also confirm and commit, or roll back."""
        activation = Activation(
            options,
            guard,
            progress,
            base=base_directory(str(self._loader.get_basedir())),
            environment=self.environment(),
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
        )
        hold = 0
        if options["step"] == "activate":
            hold = int(options["timeout_hold"])
            check_seconds("timeout_hold", hold)
        wanted = wanted_system(options, self.subject, check_mode=activation.check_mode)
        return activation.run(wanted, hold=hold)
