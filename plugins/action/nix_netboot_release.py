# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make what a machine fetches to boot a system. Documented in plugins/modules/nix_netboot_release.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    built_toplevel,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.tree import refuse_host_keys
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.image import COMPRESSIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.release import make_release
from ansible_collections.nixferry.deploy.plugins.plugin_utils._netboot.system import STEP, read_system
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import closure_names, invalid_paths
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.published import (
    PUBLISHED_OPTIONS,
    refuse_secrets,
)


class ActionModule(NixferryAction):
    """``nix_netboot_release``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "build": BUILD_OPTION,
            "toplevel": {"type": "str"},
            "work": {"type": "path", "required": True},
            "present": {"type": "dict", "default": {}},
            "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "zstd"},
            "timeout": {"type": "int", "default": 3600},
            **PUBLISHED_OPTIONS,
            "progress": PROGRESS_OPTION,
        },
        "required_one_of": [("build", "toplevel")],
        "mutually_exclusive": [("build", "toplevel")],
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Make the release unless it is there; do not contact the host."""
        if options["timeout"] < 1:
            raise NixferryError("`timeout` must be positive", step=STEP)
        given = options["toplevel"] or built_toplevel(self.subject, options["build"] or {})
        toplevel = parse_store_path(given, step=STEP).path
        nix = Nix(on_event=progress.event, on_tick=progress.tick)
        check_mode = bool(self._task.check_mode)
        result: dict[str, Any] = {"failed": False, "changed": False, "toplevel": toplevel, "directory": ""}
        if invalid_paths(nix, [toplevel], step=STEP):
            if check_mode:
                # Check mode builds nothing.
                return {**result, "changed": True, "release": "", "size": 0}
            raise NixferryError(
                f"the controller's store does not have {toplevel}",
                step=STEP,
                remedy="Build it there (nixos_build_on: controller): a release is made from the controller's store.",
            )
        system = read_system(toplevel)
        key = system.key(options["compression"])
        for name, about in sorted(options["present"].items()):
            if isinstance(about, dict) and about.get("key") == key:
                return {**result, "release": str(name), "size": 0}
        self._refuse_secrets(options, nix, toplevel)
        if check_mode:
            return {**result, "changed": True, "release": "", "size": 0}
        made = make_release(
            nix,
            system,
            Path(self.controller_file(options["work"])),
            compression=options["compression"],
            timeout=options["timeout"],
            on_line=progress.line,
        )
        return {
            **result,
            "changed": True,
            "release": made.name,
            "directory": str(made.directory),
            "size": made.size,
        }

    def _refuse_secrets(self, options: dict[str, Any], nix: Nix, toplevel: str) -> None:
        """Refuse a system with secrets in it: every client of the web server could read them."""
        root = Path("/")
        refuse_host_keys(root, toplevel, step=STEP)
        refuse_secrets(
            options,
            self.subject,
            (Path(path) for path in sorted(closure_names(nix, [toplevel], step=STEP))),
            root=root,
            directory=self._loader.get_basedir(),
            read_file=self.read_controller_file,
            step=STEP,
        )
