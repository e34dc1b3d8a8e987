# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether a binary cache has whole closures. Documented in plugins/modules/nix_cache_info.py."""

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
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import checked_public_keys
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.cache import (
    VERIFY_STEP,
    open_files,
    public_address,
    remedy_of,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.closure import (
    blame_proxy,
    check_closures,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.options import certificate_of
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.upload import Files


class ActionModule(NixferryAction):
    """``nix_cache_info``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "url": {"type": "str", "required": True},
            "origin": {"type": "str"},
            "paths": {"type": "list", "elements": "str", "aliases": ["path", "toplevel"]},
            "build": BUILD_OPTION,
            "public_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "contents": {"type": "bool", "default": True},
            "netrc_file": {"type": "path"},
            "certificate": {"type": "path"},
            "certificate_key": {"type": "path", "no_log": False},
        },
        "required_one_of": [("paths", "build")],
        "mutually_exclusive": [("paths", "build")],
        "required_together": [("certificate", "certificate_key")],
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Ask the cache for every path of the closures; do not contact the host."""
        named = options["paths"] or built_toplevels(self.subject, options["build"] or {})
        paths = list(dict.fromkeys(parse_store_path(path, step=VERIFY_STEP).path for path in named))
        if not paths:
            raise NixferryError("neither `paths` nor `build` names a store path", step=VERIFY_STEP)
        keys = checked_public_keys(options["public_keys"], step=VERIFY_STEP)
        # It refuses an address with a password before that is shown.
        files = self._files(options["url"], options)
        progress.phase(f"looking at {files.address}")

        checked = check_closures(
            files,
            paths,
            keys=keys,
            contents=options["contents"],
            on_tick=progress.tick,
        )
        wrong = list(checked.wrong)
        if options["origin"]:
            origin = self._files(options["origin"], options)
            wrong = [blame_proxy(each, origin, keys, options["contents"]) for each in wrong]
        return {
            "changed": False,
            "failed": False,
            "complete": not wrong,
            "found_paths": len(checked.found),
            "download_size": checked.download_size,
            "nar_size": sum(info.nar_size for info in checked.found.values()),
            "wrong": [
                {
                    "path": each.path,
                    "fault": each.fault.name.lower(),
                    "detail": each.told,
                    "remedy": remedy_of(each.fault),
                }
                for each in wrong
            ],
        }

    def _files(self, address: str, options: dict[str, Any]) -> Files:
        return open_files(
            public_address(address),
            netrc_file=self.controller_file(options["netrc_file"]) if options["netrc_file"] else None,
            certificate=certificate_of(options, self.controller_file),
            step=VERIFY_STEP,
        )
