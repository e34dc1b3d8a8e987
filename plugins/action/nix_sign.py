# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign closures on the controller. Documented in plugins/modules/nix_sign.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    built_toplevels,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    STEP,
    read_signing_key,
    sign,
    unsigned,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class ActionModule(NixferryAction):
    """``nix_sign``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "key_file": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "str", "aliases": ["path", "toplevel"]},
            "build": BUILD_OPTION,
            "timeout": {"type": "int", "default": 1800},
        },
        "required_one_of": [("paths", "build")],
        "mutually_exclusive": [("paths", "build")],
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Sign, or report what would be signed; do not contact the host."""
        if options["timeout"] < 1:
            raise NixferryError("`timeout` must be positive", step=STEP)
        key = read_signing_key(self.controller_file(options["key_file"]))
        named = options["paths"] or built_toplevels(self.subject, options["build"])
        paths = list(dict.fromkeys(parse_store_path(path, step=STEP).path for path in named))
        nix = Nix(on_event=progress.event, on_tick=progress.tick)
        result: dict[str, Any] = {"failed": False, "public_key": key.public_key, "key_name": key.name}
        lacking: list[str] = []
        if paths and (self._task.check_mode or self._task.diff):
            lacking = unsigned(nix, paths, key, timeout=options["timeout"])
        added = len(lacking)
        if paths and not self._task.check_mode:
            added = sign(nix, paths, key, timeout=options["timeout"])
        if self._task.diff and lacking:
            result["diff"] = {"prepared": "".join(f"+ {key.name} signs {path}\n" for path in lacking)}
        return {**result, "changed": added > 0, "signatures_added": added, "paths": paths}
