# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Place secrets on a host. Documented in plugins/modules/nix_secrets.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.declared import STORAGES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.fleet import (
    FLEET_OPTIONS,
    fleet_of,
    read_fleet_secrets,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.task import (
    ALL,
    PHASES,
    place_secrets,
    secrets_task,
)


class ActionModule(NixferryAction):
    """``nix_secrets``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "secrets": {"type": "dict", "no_log": True},
            **FLEET_OPTIONS,
            "dest_dir": {"type": "str"},
            "storage": {"type": "str", "choices": list(STORAGES)},
            "phase": {"type": "str", "choices": list(PHASES), "default": ALL},
            "exclusive": {"type": "bool", "default": False},
            "stage": {"type": "bool", "default": False},
            "progress": PROGRESS_OPTION,
        },
        "required_one_of": [("secrets", "fleet")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Compare in one round trip, and send the differing secrets in another."""
        directory = self._loader.get_basedir()
        fleet = fleet_of(options, directory)
        task = secrets_task(
            options,
            read_fleet_secrets(fleet, self.subject, directory=directory, storage=options["storage"])
            if fleet
            else None,
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
        )
        return place_secrets(task, shell, progress, self.read_controller_file, directory=directory)
