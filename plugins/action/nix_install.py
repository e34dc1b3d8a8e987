# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install NixOS on a machine, one step a task. Documented in plugins/modules/nix_install.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.options import (
    SPECIFICATION,
    install_options,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._install.task import perform_step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class ActionModule(NixferryAction):
    """``nix_install``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {**SPECIFICATION, "progress": PROGRESS_OPTION},
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Run the step on the machine."""
        request = install_options(
            options,
            self.subject,
            check_mode=bool(self._task.check_mode),
            diff_mode=bool(self._task.diff),
            verbosity=Display().verbosity,
            read_file=self.read_controller_file,
            directory=base_directory(str(self._loader.get_basedir())),
        )
        return dict(perform_step(shell, request, progress))
