# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse misspelt variables of a role and wrong values. Documented in plugins/modules/nix_role_variables.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.variables import (
    OWN_VARIABLES,
    refuse_sources,
    refuse_values,
    refuse_variables,
    role_variables,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan import planned_host, read_plan
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.plan_signature import read_plan_file
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import SOURCES


class ActionModule(NixferryAction):
    """``nix_role_variables``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "role": {"type": "str", "required": True},
            "removed": {"type": "dict", "default": {}},
            "only_for": {"type": "str"},
            "entry_point": {"type": "str", "default": "main"},
            "reach": {"type": "bool", "default": False},
            "note": {"type": "dict", "default": {}},
            "plan": {"type": "path"},
            "plan_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
        },
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Compare the host's variables with the specification of the role, and log in to the host if asked."""
        del progress
        role, entry_point = options["role"], options["entry_point"]
        refuse_variables(
            role,
            self.variables,
            options["removed"],
            own=self._templar.template(self.variables.get(OWN_VARIABLES)) or (),
            only_for=options["only_for"],
        )
        known = role_variables(role, entry_point)
        values = {name: value for name, value in self.variables.items() if name in known}
        refuse_values(role, self._templar.template(values), entry_point=entry_point)
        note = {**options["note"], **self._planned(options)}
        if "source" in note:
            refuse_sources(role, note["source"], SOURCES)
        if options["reach"]:
            # A login that runs other commands only has been reached as well.
            shell.run("exit 0", step=Step.REACH)
        return {"changed": False, "noted": note}

    def _planned(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what the plan says of the host, and what the host is then built from."""
        if not options["plan"]:
            return {}
        content = read_plan_file(Path(options["plan"]), options["plan_keys"])
        planned = planned_host(read_plan(content, now=time.time()), self.subject)
        entry = {name: getattr(planned, name) for name in ("toplevel", "current", "boot_default")}
        return {"planned": entry, "source": {"store_path": planned.toplevel}}
