# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a host to a system that lies in its store."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build_options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build_result import (
    BUILD_OPTION,
    built_revision,
    built_toplevel,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import ACTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch_options import (
    REVISION_OPTIONS,
    SWITCH_OPTIONS,
    start_request,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch_task import switch_host


class ActionModule(NixferryAction):
    """``nix_switch``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            **SWITCH_OPTIONS,
            **REVISION_OPTIONS,
            "toplevel": {"type": "str"},
            "build": BUILD_OPTION,
            "action": {"type": "str", "choices": list(ACTIONS), "default": "switch"},
            "specialisation": {"type": "str", "default": ""},
            "rollback": {"type": "bool", "default": True},
        },
        "required_one_of": [("toplevel", "build")],
        "mutually_exclusive": [("toplevel", "build")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Activate, check, confirm and commit, or roll back."""
        toplevel = options["toplevel"]
        revision, repository = options["revision"], options["repository"] or ""
        if options["build"] is not None:
            toplevel = built_toplevel(shell.host, options["build"])
            built, checkout = built_revision(shell.host, options["build"])
            revision, repository = revision or built, repository or checkout
        if not repository:
            repository = base_directory(str(self._loader.get_basedir()))
        request = start_request(
            options,
            toplevel,
            options["action"],
            options["specialisation"],
            revision=revision,
            environment=self.environment(),
        )
        return switch_host(
            shell,
            request,
            options["health_checks"],
            progress,
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
            repository=repository,
        )
