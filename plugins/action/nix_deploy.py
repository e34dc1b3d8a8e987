# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a system to a host and switch to it, in one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.defaults import defaults_of
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import TRANSFER_OPTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.run import copy_to_host, unknown_copy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import guard_on
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import GuardRefusal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import (
    REVISION_OPTIONS,
    SWITCH_OPTIONS,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.phases import (
    ACTIVATE,
    COPY,
    PHASES,
    selected_phases,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.system import (
    SYSTEM_OPTIONS,
    Activation,
    Wanted,
    wanted_system,
)

# Whose module_defaults apply here as well.
PARTS = ("nixferry.deploy.nix_copy", "nixferry.deploy.nix_switch")
OPTIONS: dict[str, Any] = {
    **TRANSFER_OPTIONS,
    **SWITCH_OPTIONS,
    **REVISION_OPTIONS,
    **SYSTEM_OPTIONS,
    "phases": {"type": "list", "elements": "str", "choices": list(PHASES), "default": list(PHASES)},
}


class ActionModule(NixferryAction):
    """``nix_deploy``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": OPTIONS,
        "required_one_of": [("toplevel", "build")],
        "mutually_exclusive": [("toplevel", "build")],
    }

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Called by Ansible."""
        self._task.args = {**defaults_of(self._task, self._templar, PARTS, OPTIONS), **self._task.args}
        return super().run(tmp, task_vars)

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Copy, then activate, as far as the options and the tags of the run say."""
        phases = selected_phases(
            options["phases"],
            self._templar.template(list(self._task.tags)),
            self.variables.get("ansible_run_tags", ["all"]),
            self.variables.get("ansible_skip_tags", []),
        )
        activation = Activation(
            options,
            guard_on(shell, options["guard"]),
            progress,
            base=base_directory(str(self._loader.get_basedir())),
            environment=self.environment(),
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
        )
        wanted = wanted_system(options, self.subject, check_mode=activation.check_mode)
        return Deploy(activation, shell, wanted).run(phases)


class Deploy:
    """One deploy of ``wanted``; None in check mode if only the build will tell what that is."""

    def __init__(self, activation: Activation, shell: RemoteShell, wanted: Wanted | None) -> None:
        self._activation = activation
        self._shell = shell
        self._wanted = wanted
        # Built by this run, and here: then the host lacks it, or was built for by another controller.
        self._is_new = wanted is not None and wanted.built_newly and Path(wanted.toplevel).exists()

    def run(self, phases: tuple[str, ...]) -> dict[str, Any]:
        """Return the task's result. Raises ``NixferryError`` if it cannot be copied, or the switch cannot begin."""
        absent = False
        if phases == PHASES and self._may_be_there():
            try:
                return self._activation.run(self._wanted)
            except GuardRefusal as refusal:
                # The guard looks for them first: nothing was begun. The copy explains where Nix was looked for.
                if refusal.code not in ("invalid_toplevel", "no_nix"):
                    raise
                absent = refusal.code == "invalid_toplevel"
        copied = self._copy(absent=absent) if COPY in phases else None
        if ACTIVATE not in phases:
            return {"failed": False, "changed": False} if copied is None else with_copy({}, copied)
        result = self._activation.run(self._wanted)
        return result if copied is None else with_copy(result, copied)

    def _may_be_there(self) -> bool:
        """Whether to ask the guard to switch before anything is copied, which is all that an unchanged host needs."""
        activation = self._activation
        return (
            self._wanted is not None
            and not self._is_new
            and not activation.check_mode
            and not activation.diff_mode
        )

    def _copy(self, *, absent: bool) -> dict[str, Any]:
        activation, wanted = self._activation, self._wanted
        if wanted is None:
            return unknown_copy()
        return copy_to_host(
            self._shell,
            activation.options,
            [wanted.toplevel],
            activation.progress,
            check_mode=activation.check_mode,
            diff_mode=activation.diff_mode,
            absent=absent or self._is_new,
            verbosity=Display().verbosity,
        )


def with_copy(result: dict[str, Any], copied: dict[str, Any]) -> dict[str, Any]:
    """Return the ``result`` of the switch with that of the copy before it, under ``transfer``."""
    both = {"failed": False, **result}
    both["changed"] = bool(copied["changed"] or result.get("changed"))
    differences = [part.pop("diff") for part in (copied, both) if "diff" in part]
    if differences:
        both["diff"] = differences
    both["transfer"] = {name: value for name, value in copied.items() if name not in ("failed", "msg")}
    if "msg" in copied:
        both.setdefault("msg", copied["msg"])
    return both
