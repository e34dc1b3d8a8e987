# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show and update pinned sources. Documented in plugins/modules/nix_lock_update.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.options import base_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.options import (
    setting_text,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.task import (
    PLACES,
    LockRequest,
    diff_of,
    run_lock_task,
)

DAY_SECONDS = 86400


class ActionModule(NixferryAction):
    """``nix_lock_update``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "path": {"type": "path", "default": "."},
            "format": {"type": "str", "choices": ["auto", *PLACES], "default": "auto"},
            "inputs": {"type": "list", "elements": "str", "default": [], "aliases": ["pins"]},
            "state": {"type": "str", "choices": ["updated", "shown"], "default": "updated"},
            "min_age_days": {"type": "int", "default": 0},
            "options": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 1800},
            "progress": PROGRESS_OPTION,
        }
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Read, compute, write; do not contact the host."""
        request = LockRequest(
            path=Path(base_directory(str(self._loader.get_basedir())), options["path"]),
            format=options["format"],
            inputs=tuple(dict.fromkeys(options["inputs"])),
            update=options["state"] == "updated",
            timeout=options["timeout"] if options["timeout"] > 0 else None,
            min_age=max(0, options["min_age_days"]) * DAY_SECONDS,
            check_mode=bool(self._task.check_mode),
        )
        settings = {str(name): setting_text(value) for name, value in options["options"].items()}

        def nix(directory: Path) -> Nix:
            return Nix(
                options=settings,
                working_directory=str(directory),
                on_event=progress.event,
                on_tick=progress.tick,
            )

        result = run_lock_task(
            request, nix, waiting=lambda: progress.line("waiting for another update of the same file")
        )
        difference = diff_of(result)
        told = {name: value for name, value in result.items() if name not in ("before", "after")}
        return {**told, "diff": difference} if self._task.diff else told
