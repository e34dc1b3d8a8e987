# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish systems to a binary cache, and signed pointers to them. Documented in plugins/modules/nix_publish.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import BUILD_OPTION
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    RemoteShell,
    controller_temporary,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.cache import COMPRESSIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.options import (
    Surroundings,
    read_request,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.task import publish


class ActionModule(NixferryAction):
    """``nix_publish``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "build": BUILD_OPTION,
            "toplevels": {"type": "dict"},
            "hosts": {"type": "list", "elements": "str"},
            "to": {"type": "str"},
            "revert": {"type": "dict"},
            "waves": {"type": "list", "elements": "list", "default": []},
            "wave": {"type": "int"},
            "cache": {"type": "str", "required": True},
            "cache_key": {"type": "path"},
            "public_url": {"type": "str"},
            "public_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "zstd"},
            "netrc_file": {"type": "path"},
            "certificate": {"type": "path"},
            "certificate_key": {"type": "path", "no_log": False},
            "pointers": {"type": "str", "required": True},
            "channel": {"type": "str", "default": "stable"},
            "pointer_key": {"type": "path", "required": True},
            "trusted_pointer_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "valid_days": {"type": "int", "default": 14},
            "keep": {"type": "int", "default": 10},
            "renew": {"type": "bool", "default": False},
            "verify": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 7200},
            "progress": PROGRESS_OPTION,
        },
        "required_one_of": [("build", "toplevels", "to", "revert")],
        "mutually_exclusive": [("build", "toplevels", "to", "revert")],
        "required_by": {"to": ("hosts",)},
        "required_together": [("certificate", "certificate_key")],
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Publish, or report which pointers would change; do not contact the host."""
        around = Surroundings(
            subject=self.subject,
            groups=self.variables.get("groups") or {},
            controller_file=self.controller_file,
            dry_run=bool(self._task.check_mode),
            temporary=controller_temporary(),
        )
        request, left = read_request(options, around)
        nix = Nix(on_event=progress.event, on_tick=progress.tick)
        published = publish(request, nix=nix, progress=progress)
        result = {"failed": False, **published.facts(), "not_reverted": left}
        if self._task.diff and published.written:
            result["diff"] = published.diff()
        return result
