# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collect garbage in a binary cache that is a directory. Documented in plugins/modules/nix_cache_gc.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress, size_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.collect import (
    STEP,
    find_garbage,
    pointed_to,
    remove,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.place import DirectoryPlace

DAY_SECONDS = 86400


class ActionModule(NixferryAction):
    """``nix_cache_gc``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "cache": {"type": "path", "required": True},
            "pointers": {"type": "path"},
            "roots": {"type": "list", "elements": "str", "default": []},
            "grace_days": {"type": "float", "default": 7},
            "ignore_missing": {"type": "bool", "default": False},
        },
        "required_one_of": [("pointers", "roots")],
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Mark what pointers and roots need, and remove the rest; do not contact the host."""
        if options["grace_days"] < 0:
            raise NixferryError("`grace_days` must not be negative", step=STEP)
        roots = {parse_store_path(path, step=STEP).path for path in options["roots"]}
        if options["pointers"] is None:
            return self._collect(options, roots, progress)
        place = DirectoryPlace(self.controller_file(options["pointers"]))
        if not Path(place.address).is_dir():
            raise NixferryError(f"{place.address} is not a directory", step=STEP)
        with place.locked_for_collection(waiting=lambda: progress.line("waiting for a publisher")):
            return self._collect(options, roots | pointed_to(Path(place.address)), progress)

    def _collect(self, options: dict[str, Any], roots: set[str], progress: Progress) -> dict[str, Any]:
        if not roots:
            raise NixferryError(
                "nothing is to be kept: there is neither a pointer nor a root",
                step=STEP,
                remedy="Look whether `pointers` is the right directory. To empty a cache, remove its directory.",
            )
        cache = Path(self.controller_file(options["cache"]))
        progress.phase(f"looking at {cache}")
        garbage = find_garbage(
            cache,
            sorted(roots),
            grace=options["grace_days"] * DAY_SECONDS,
            ignore_missing=options["ignore_missing"],
        )
        if not self._task.check_mode:
            remove(garbage)
        names = sorted(garbage.descriptions)
        result: dict[str, Any] = {
            "failed": False,
            "changed": bool(names or garbage.contents),
            "removed_paths": len(names),
            "removed_contents": len(garbage.contents),
            "removed_size": garbage.size,
            "kept_paths": garbage.kept_paths,
            "kept_size": garbage.kept_size,
        }
        if self._task.diff and result["changed"]:
            lines = [f"- {name}\n" for name in names]
            lines.append(f"{len(garbage.contents)} contents, {size_text(garbage.size)} altogether\n")
            result["diff"] = {"prepared": "".join(lines)}
        return result
