# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy store paths and their closures to the host of the task. Documented in plugins/modules/nix_copy.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.explain import STEP
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import (
    CopyRequest,
    CopyResult,
    diff_text,
    most_listed,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.task import copy_closure
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    KNOWN_LATER,
    built_toplevel,
    is_known_later,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "paths": {"type": "list", "elements": "str", "aliases": ["path"]},
    "build": BUILD_OPTION,
    "from": {"type": "str"},
    "to_root": {"type": "path"},
    "substitute_on_destination": {"type": "bool", "default": True},
    "compress": {"type": "bool", "default": False},
    "check_sigs": {"type": "bool", "default": False},
    "retries": {"type": "int", "default": 3},
    "timeout": {"type": "int", "default": 7200},
    "list_paths": {"type": "bool", "default": False},
    "progress": PROGRESS_OPTION,
}


def request_from(arguments: dict[str, Any], paths: Sequence[str], *, dry_run: bool) -> CopyRequest:
    """Return the typed request for validated ``arguments``. Raises ``NixferryError`` for a wrong path or number."""
    for name in ("retries", "timeout"):
        if arguments[name] < 0:
            raise NixferryError(f"`{name}` must not be negative", step=STEP)
    root = arguments["to_root"]
    if root is not None and not root.startswith("/"):
        raise NixferryError(f"`to_root` must be an absolute path, not {root!r}", step=STEP)
    return CopyRequest(
        paths=tuple(dict.fromkeys(parse_store_path(path, step=STEP).path for path in paths)),
        source=arguments["from"] or None,
        root=None if root is None or root.rstrip("/") == "" else root,
        substitute=arguments["substitute_on_destination"],
        compress=arguments["compress"],
        check_signatures=arguments["check_sigs"],
        retries=arguments["retries"],
        timeout=arguments["timeout"] or None,
        dry_run=dry_run,
    )


class ActionModule(NixferryAction):
    """``nix_copy``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": ARGUMENT_SPEC,
        "required_one_of": [("paths", "build")],
        "mutually_exclusive": [("paths", "build")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Copy the missing paths to the host, or report them."""
        build = options["build"]
        if self._task.check_mode and build is not None and is_known_later(self.subject, build):
            return {"failed": False, **CopyResult("none").facts(), "changed": True, "msg": KNOWN_LATER}
        paths = options["paths"] if build is None else [built_toplevel(self.subject, build)]
        request = request_from(options, paths, dry_run=bool(self._task.check_mode))
        copied = copy_closure(shell, request, nix=Nix(), progress=progress)
        most = most_listed(every=options["list_paths"], verbosity=Display().verbosity)
        result = {"failed": False, **copied.facts(most=most)}
        if self._task.diff and copied.changed:
            result["diff"] = {"prepared": diff_text(copied)}
        return result
