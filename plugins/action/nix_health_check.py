# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run health checks on a host at any time."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    HEALTH_CHECKS_OPTION,
    parse_health_checks,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.task import (
    check_host,
    wait_for_login,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

TITLES = (Step.HEALTH_CHECK, Step.PRE_DEPLOY_CHECK)


class ActionModule(NixferryAction):
    """``nix_health_check``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "health_checks": HEALTH_CHECKS_OPTION,
            "title": {"type": "str", "choices": [str(title) for title in TITLES], "default": "health check"},
            "login_timeout": {"type": "int", "default": 0},
            "progress": PROGRESS_OPTION,
        }
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Run the checks over the open connection."""
        checks = parse_health_checks(options["health_checks"])
        if options["login_timeout"] > 0 and not self._task.check_mode:
            wait_for_login(shell, progress, seconds=options["login_timeout"], title=Step(options["title"]))
        return check_host(
            checks, shell, progress, title=Step(options["title"]), check_mode=bool(self._task.check_mode)
        )
