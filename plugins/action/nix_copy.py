# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy store paths and their closures to the host of the task. Documented in plugins/modules/nix_copy.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import TRANSFER_OPTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.run import copy_to_host, unknown_copy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    built_toplevel,
    is_known_later,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class ActionModule(NixferryAction):
    """``nix_copy``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "paths": {"type": "list", "elements": "str", "aliases": ["path"]},
            "build": BUILD_OPTION,
            "to_root": {"type": "path"},
            **TRANSFER_OPTIONS,
            "progress": PROGRESS_OPTION,
        },
        "required_one_of": [("paths", "build")],
        "mutually_exclusive": [("paths", "build")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Copy the missing paths to the host, or report them."""
        build, check_mode = options["build"], bool(self._task.check_mode)
        if check_mode and build is not None and is_known_later(self.subject, build):
            return unknown_copy()
        paths = options["paths"] if build is None else [built_toplevel(self.subject, build)]
        return copy_to_host(
            shell,
            options,
            paths,
            progress,
            check_mode=check_mode,
            diff_mode=bool(self._task.diff),
            verbosity=Display().verbosity,
        )
