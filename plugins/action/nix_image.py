# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make disk images of systems on the controller. Documented in plugins/modules/nix_image.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import (
    PROGRESS_OPTION,
    NixferryAction,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    built_revision,
    built_toplevel,
    is_known_later,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.boot import AUTO, BOOT_LOADERS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.disk import Layout
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.manifest import checked_name
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.result import diff, facts
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.send import (
    Destination,
    is_sent,
    open_destination,
    send,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.task import (
    DISK,
    FORMATS,
    RAW,
    ImageRequest,
    Made,
    add_to_store,
    look,
    make,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.tools import STEP
from ansible_collections.nixferry.deploy.plugins.plugin_utils._image.variant import checked_variant
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import read_ssh_key
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.published import (
    PUBLISHED_OPTIONS,
    refuse_secrets,
)


class ActionModule(NixferryAction):
    """``nix_image``: see the module of the same name for its documentation."""

    on_controller = True
    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "build": BUILD_OPTION,
            "toplevel": {"type": "str"},
            "name": {"type": "str"},
            "variant": {"type": "str", "default": DISK},
            "directory": {"type": "path", "required": True},
            "format": {"type": "str", "choices": list(FORMATS), "default": RAW},
            "esp_size": {"type": "int", "default": 512},
            "free_space": {"type": "int", "default": 512},
            "size": {"type": "int", "default": 0},
            "root_label": {"type": "str", "default": "nixos"},
            "esp_label": {"type": "str", "default": "ESP"},
            "boot_loader": {"type": "str", "choices": list(BOOT_LOADERS), "default": AUTO},
            "sign_key": {"type": "path"},
            **PUBLISHED_OPTIONS,
            "store": {"type": "bool", "default": False},
            "to": {"type": "list", "elements": "str", "default": []},
            "netrc_file": {"type": "path"},
            "timeout": {"type": "int", "default": 7200},
            "progress": PROGRESS_OPTION,
        },
        "required_one_of": [("build", "toplevel")],
        "mutually_exclusive": [("build", "toplevel")],
    }

    def perform(self, options: dict[str, Any], _shell: RemoteShell, progress: Progress) -> dict[str, Any]:
        """Make the image, or report whether it would be made; do not contact the host."""
        if options["timeout"] < 1:
            raise NixferryError("`timeout` must be positive", step=STEP)
        if not options["directory"].strip():
            raise NixferryError("`directory` is empty", step=STEP)
        build = options["build"]
        name = checked_name(options["name"] or self.subject)
        if build is not None and is_known_later(self.subject, build):
            return {
                "failed": False,
                "changed": True,
                **facts(None, Path(options["directory"])),
                "sent": [],
                "store_path": None,
            }
        toplevel = options["toplevel"] or built_toplevel(self.subject, build)
        layout = Layout(
            esp_size=options["esp_size"],
            free_space=options["free_space"],
            size=options["size"],
            root_label=options["root_label"],
            esp_label=options["esp_label"],
        )
        layout.check()
        key = options["sign_key"]
        request = ImageRequest(
            name=name,
            variant=checked_variant(options["variant"]),
            toplevel=parse_store_path(toplevel, step=STEP).path,
            revision=built_revision(self.subject, build)[0] if build is not None else "",
            directory=Path(self.controller_file(options["directory"])),
            format=options["format"],
            layout=layout,
            boot_loader=options["boot_loader"],
            key=read_ssh_key(self.controller_file(key), comment="images", step=STEP) if key else None,
            timeout=options["timeout"],
            check_closure=lambda tree: self._refuse_secrets(options, tree),
        )
        netrc = self.controller_file(options["netrc_file"]) if options["netrc_file"] else None
        destinations = [open_destination(address, netrc_file=netrc) for address in options["to"]]
        stored = None
        if self._task.check_mode:
            made = look(request)
        else:
            nix = Nix(on_event=progress.event, on_tick=progress.tick)
            made = make(request, nix, progress)
            if options["store"] and made.manifest is not None:
                stored = add_to_store(request, made.manifest, nix)
        sent = self._sent(destinations, request, made, progress)
        changed = made.changed or bool(sent)
        result = {
            "failed": False,
            "changed": changed,
            **facts(made, request.directory),
            "sent": sent,
            "store_path": stored,
        }
        if self._task.diff and changed:
            result["diff"] = diff(made, request, sent)
        return result

    def _sent(
        self, destinations: Sequence[Destination], request: ImageRequest, made: Made, progress: Progress
    ) -> list[str]:
        """Send the image where it is not; return the addresses. In check mode only look."""
        manifest, sent = made.manifest, []
        for destination in destinations:
            if manifest is None or not is_sent(destination, request.directory, manifest):
                sent.append(destination.address)
                if manifest is not None and not self._task.check_mode:
                    send(destination, request.directory, manifest, progress)
        return sent

    def _refuse_secrets(self, options: dict[str, Any], tree: Path) -> None:
        """Refuse a system that has one of the secrets which are declared for the host."""
        refuse_secrets(
            options,
            self.subject,
            [tree],
            root=tree if tree.is_dir() else tree.parent,
            directory=self._loader.get_basedir(),
            read_file=self.read_controller_file,
            step=STEP,
        )
