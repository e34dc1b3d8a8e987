# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the agent with which a host pulls its systems. Documented in plugins/modules/nix_pull_agent.py."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import guard_policy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import (
    HEALTH_CHECKS_OPTION,
    parse_health_checks,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import checked_public_keys
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.agent import agent_version
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.install import (
    ORDERS,
    install_script,
    order_script,
    parse_installation,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.repository import (
    Repository,
    default_attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.settings import (
    KINDS_THAT_PULL,
    REBOOT_CHOICES,
    STEP,
    AgentSettings,
    checked_ssh_keys,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.options import kind_of


class ActionModule(NixferryAction):
    """``nix_pull_agent``: see the module of the same name for its documentation."""

    specification: ClassVar[dict[str, Any]] = {
        "argument_spec": {
            "state": {"type": "str", "choices": ["present", "absent", *ORDERS], "default": "present"},
            "hold_reason": {"type": "str", "default": "held by a deployer"},
            "hold_seconds": {"type": "int", "default": 0},
            "url": {"type": "str"},
            "channel": {"type": "str", "default": "stable"},
            "host": {"type": "str"},
            "public_keys": {"type": "list", "elements": "str", "no_log": False},
            "pointer_keys": {"type": "list", "elements": "str", "no_log": False},
            "repository": {"type": "str"},
            "branch": {"type": "str", "default": "main"},
            "testing_branches": {"type": "bool", "default": True},
            "attribute": {"type": "str"},
            "file": {"type": "str"},
            "commit_keys": {"type": "list", "elements": "str", "no_log": False, "default": []},
            "commit_openpgp_keys": {"type": "list", "elements": "str", "no_log": False, "default": []},
            "commit_openpgp_fingerprints": {"type": "list", "elements": "str", "default": []},
            "repository_key": {"type": "str", "no_log": True},
            "known_hosts": {"type": "list", "elements": "str", "default": []},
            "min_commit": {"type": "str"},
            "allow_rewrite": {"type": "bool", "default": False},
            "kind": {"type": "str", "choices": list(KINDS_THAT_PULL), "default": "nixos"},
            "profile": {"type": "path"},
            "activate_command": {"type": "str"},
            "calendar": {"type": "str", "default": "*:0/10"},
            "jitter": {"type": "int", "default": 480},
            "windows": {"type": "list", "elements": "str", "default": []},
            "reboot": {"type": "str", "choices": list(REBOOT_CHOICES), "default": "never"},
            "reboot_windows": {"type": "list", "elements": "str", "default": []},
            "min_serial": {"type": "int", "default": 0},
            "min_free": {"type": "int", "default": 256},
            "health_checks": HEALTH_CHECKS_OPTION,
            "addresses": {"type": "list", "elements": "str", "default": []},
            "timeout_activation": {"type": "int", "default": 300},
            "timeout_confirm": {"type": "int", "default": 180},
            "timeout_reach": {"type": "int", "default": 60},
            "timeout_reboot": {"type": "int", "default": 600},
            "timeout_build": {"type": "int", "default": 7200},
            "metrics_directory": {"type": "path"},
            "report_url": {"type": "str"},
            "netrc": {"type": "str", "no_log": True},
            "certificate": {"type": "path"},
            "certificate_key": {"type": "path", "no_log": False},
        },
        "required_if": [("state", "present", ("url", "repository"), True)],
        "required_by": {"url": ("public_keys", "pointer_keys")},
        "mutually_exclusive": [("url", "repository")],
    }

    def perform(self, options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        """Check and change the host in one round trip."""
        settings = self._settings(options) if options["state"] == "present" else None
        dry_run, now, order = bool(self._task.check_mode), int(time.time()), options["state"]
        if order in ORDERS:
            until = now + options["hold_seconds"] if options["hold_seconds"] else 0
            script = order_script(order, until, options["hold_reason"], dry_run=dry_run)
        else:
            script = install_script(settings, dry_run=dry_run, now=now)
        done = parse_installation(shell.run(script, step=STEP))
        result: dict[str, Any] = {
            "failed": False,
            "changed": done.changed,
            "changed_files": list(done.changed_files),
            "version": agent_version() if settings else "",
            "pointer_url": settings.pointer_url if settings else "",
        }
        if self._task.diff and done.changed:
            result["diff"] = done.diff()
        return result

    def _settings(self, options: dict[str, Any]) -> AgentSettings:
        kind, host = kind_of(options), options["host"] or self.subject
        repository = _repository(options, kind, host) if options["repository"] else None
        keys = checked_public_keys(options["public_keys"] or [], step=STEP)
        policy = guard_policy(
            kind, str(options["profile"] or ""), keys, caller_decides=repository is not None
        )
        lists = ("windows", "reboot_windows", "addresses")
        texts = ("metrics_directory", "report_url", "netrc", "url", "certificate", "certificate_key")
        timeouts = ("timeout_activation", "timeout_confirm", "timeout_reach", "timeout_reboot")
        others = ("channel", "calendar", "jitter", "reboot", "min_serial", "min_free", *timeouts)
        return AgentSettings(
            host=host,
            kind=kind,
            profile=policy.profile,
            public_keys=policy.public_keys,
            pointer_keys=checked_ssh_keys(options["pointer_keys"] or [], "pointer_keys"),
            repository=repository,
            checks=parse_health_checks(options["health_checks"]),
            **{name: tuple(options[name]) for name in lists},
            **{name: options[name] or "" for name in texts},
            **{name: options[name] for name in others},
        )


def _repository(options: Mapping[str, Any], kind: Kind, host: str) -> Repository:
    return Repository(
        url=options["repository"],
        attribute=options["attribute"] or default_attribute(kind, host),
        file=options["file"] or "",
        commit_keys=checked_ssh_keys(options["commit_keys"], "commit_keys"),
        openpgp_keys=tuple(options["commit_openpgp_keys"]),
        openpgp_fingerprints=tuple(options["commit_openpgp_fingerprints"]),
        key=options["repository_key"] or "",
        known_hosts=tuple(options["known_hosts"]),
        min_commit=options["min_commit"] or "",
        **{name: options[name] for name in ("branch", "testing_branches", "allow_rewrite", "timeout_build")},
    )
