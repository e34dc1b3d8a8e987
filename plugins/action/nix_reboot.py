# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reboot a host into its boot default, without deploying anything."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import guard_on
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Reboot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import SWITCH_OPTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.reboot_host import reboot_host


class ActionModule(NixferryAction):
    """``nix_reboot``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            **SWITCH_OPTIONS,
            "reboot": {
                "type": "str",
                "choices": [str(Reboot.IF_REQUIRED), str(Reboot.ALWAYS)],
                "default": str(Reboot.ALWAYS),
            },
            "specialisation": {"type": "str", "default": ""},
        }
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Ask what boots by default, then boot it as a deploy with a reboot does."""
        guard = guard_on(shell, options["guard"])
        return reboot_host(guard, options, progress, check_mode=bool(self._task.check_mode))
