# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a host's Nix accept signatures of a key. Documented in plugins/modules/nix_trusted_key.py."""

from __future__ import annotations

from typing import Any, ClassVar

from ansible.utils.display import Display

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    checked_public_keys,
    read_signing_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.trusted import (
    STEP,
    parse_trusted_keys,
    trusted_keys_script,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class ActionModule(NixferryAction):
    """``nix_trusted_key``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "public_keys": {"type": "list", "elements": "str", "aliases": ["public_key"], "no_log": False},
            "key_file": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        "required_one_of": [("public_keys", "key_file")],
        "mutually_exclusive": [("public_keys", "key_file")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        """Check and change the host in one round trip."""
        if options["key_file"]:
            keys = [read_signing_key(self.controller_file(options["key_file"])).public_key]
        else:
            keys = checked_public_keys(options["public_keys"], step=STEP)
        script = trusted_keys_script(keys, wanted=options["state"], dry_run=bool(self._task.check_mode))
        answer = parse_trusted_keys(shell.run(script, step=STEP))
        for note in answer.notes:
            Display().warning(f"{shell.host}: {note}")
        result: dict[str, Any] = {
            "failed": False,
            "changed": answer.changed,
            "public_keys": keys,
            "file": answer.file,
        }
        if self._task.diff and answer.changed:
            result["diff"] = answer.diff()
        return result
