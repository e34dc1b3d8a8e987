# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and replace signing keys on the controller. Documented in plugins/modules/nix_key.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.made import (
    STATES,
    cache_keys,
    change_keys,
    pointer_keys,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import PRINCIPAL
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class ActionModule(NixferryAction):
    """``nix_key``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "path": {"type": "path", "required": True},
            "type": {"type": "str", "choices": ["cache", "pointer"], "required": True},
            "name": {"type": "str", "default": PRINCIPAL},
            "state": {"type": "str", "choices": list(STATES), "default": "present"},
        }
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Make the files so; do not contact the host."""
        kind = pointer_keys()
        if options["type"] == "cache":
            kind = cache_keys(Nix(on_event=progress.event, on_tick=progress.tick))
        path = self.controller_file(options["path"])
        dry_run = bool(self._task.check_mode)
        before, after = change_keys(Path(path), kind, options["state"], name=options["name"], dry_run=dry_run)
        keys = after or before
        result: dict[str, Any] = {
            "failed": False,
            "changed": after != before,
            "path": path,
            "public_key": keys.current or None,
            "next_public_key": keys.next or None,
            "old_public_keys": list(keys.old),
            "trusted": keys.trusted,
        }
        if self._task.diff and result["changed"]:
            lines = (
                [f"{key}\n" for key in keys.trusted]
                if after
                else [*(f"{key}\n" for key in before.trusted), "a new key\n"]
            )
            result["diff"] = {
                "before_header": "public keys to trust",
                "after_header": "public keys to trust",
                "before": "".join(f"{key}\n" for key in before.trusted),
                "after": "".join(lines),
            }
        return result
