# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: store paths with their closures to the host of the task. Documented in plugins/modules/nix_copy.py."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import copy_closure
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy_errors import STEP
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy_plan import CopyRequest, diff_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._store_path import parse_store_path

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "paths": {"type": "list", "elements": "str", "required": True, "aliases": ["path"]},
    "from": {"type": "str"},
    "to_root": {"type": "path"},
    "substitute_on_destination": {"type": "bool", "default": True},
    "compress": {"type": "bool"},
    "check_sigs": {"type": "bool", "default": False},
    "retries": {"type": "int", "default": 3},
    "timeout": {"type": "int", "default": 7200},
    "progress": {"type": "str", "choices": ["auto", "lines", "none"], "default": "auto"},
}


def request_from(arguments: dict[str, Any], *, dry_run: bool) -> CopyRequest:
    """The typed request for validated ``arguments``. Raises ``NixferryError`` for a wrong path or number."""
    for name in ("retries", "timeout"):
        if arguments[name] < 0:
            raise NixferryError(f"`{name}` must not be negative", step=STEP)
    root = arguments["to_root"]
    if root is not None and not root.startswith("/"):
        raise NixferryError(f"`to_root` must be an absolute path, not {root!r}", step=STEP)
    return CopyRequest(
        paths=tuple(dict.fromkeys(parse_store_path(path, step=STEP).path for path in arguments["paths"])),
        source=arguments["from"] or None,
        root=None if root is None or root.rstrip("/") == "" else root,
        substitute=arguments["substitute_on_destination"],
        compress=arguments["compress"],
        check_signatures=arguments["check_sigs"],
        retries=arguments["retries"],
        timeout=arguments["timeout"] or None,
        dry_run=dry_run,
    )


class ActionModule(ActionBase):
    """Copies to the host of the task; see the module's documentation."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        host = str(task_vars.get("inventory_hostname", self._play_context.remote_addr))
        progress = Progress(Display(), prefix=host, muted=bool(self._task.no_log), mode=arguments["progress"])
        try:
            request = request_from(arguments, dry_run=self._task.check_mode)
            copied = copy_closure(RemoteShell(self, host), request, nix=Nix(), progress=progress)
        except NixferryError as error:
            return {**result, **error.result(host)}
        finally:
            progress.close()
        result.update(copied.facts())
        if self._task.diff and copied.changed:
            result["diff"] = {"prepared": diff_text(copied)}
        return result
