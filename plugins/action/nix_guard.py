# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the guard for deployers with few privileges. Documented in plugins/modules/nix_guard.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.install import (
    STEP,
    checked_file,
    install_script,
    parse_installation,
    settings_of,
    sudoers_rule,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    guard_policy,
    guard_version,
    installed_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import (
    checked_public_keys,
    read_signing_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import SWITCH_OPTIONS, kind_of


class ActionModule(NixferryAction):
    """``nix_guard``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            **{name: SWITCH_OPTIONS[name] for name in ("kind", "profile", "activate_command")},
            "path": {"type": "path", "default": "/usr/local/sbin/nixferry-guard"},
            "users": {"type": "list", "elements": "str", "default": [], "aliases": ["user"]},
            "sudoers_file": {"type": "path", "default": "/etc/sudoers.d/nixferry-guard"},
            "public_keys": {"type": "list", "elements": "str", "aliases": ["public_key"], "no_log": False},
            "key_file": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        "mutually_exclusive": [("public_keys", "key_file")],
        "required_if": [("state", "present", ("public_keys", "key_file"), True)],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        """Check and change the host in one round trip."""
        path = checked_file(options["path"], "path")
        present = options["state"] == "present"
        program = profile = ""
        if present:
            keys = checked_public_keys(options["public_keys"] or [], step=STEP)
            if options["key_file"]:
                keys = [read_signing_key(self.controller_file(options["key_file"])).public_key]
            policy = guard_policy(kind_of(options), str(options["profile"] or ""), keys)
            program, profile = installed_program(policy).rstrip("\n"), policy.profile
        users = options["users"]
        rule = sudoers_rule(users, path) if present else ""
        script = install_script(
            wanted=options["state"],
            dry_run=bool(self._task.check_mode),
            path=path,
            program=program,
            profile=profile,
            rule_file=checked_file(options["sudoers_file"], "sudoers_file") if users or not present else "",
            rule=rule,
            users=users,
        )
        done = parse_installation(shell.run(script, step=STEP))
        version = guard_version() if present else ""
        result: dict[str, Any] = {
            "failed": False,
            "changed": done.changed,
            "version": version,
            "path": path,
            "program": program,
            "sudoers": rule,
        }
        if self._task.diff and done.changed:
            result["diff"] = [
                _difference(path, done.program_before, settings_of(program)),
                _difference(options["sudoers_file"], done.rule_before, rule.splitlines()),
            ]
        return result


def _difference(file: str, before: Sequence[str], after: Sequence[str]) -> dict[str, str]:
    return {
        "before_header": file,
        "after_header": file,
        "before": "".join(f"{line}\n" for line in before),
        "after": "".join(f"{line}\n" for line in after),
    }
