# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client and a builder: modules run in a controller's container, and hosts of the lab build for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import containers
from lab import LabHost, run

KEY_FILE = "/etc/nix/lab_ed25519"
# A user who does what a builder's user does: it may log in, and the Nix daemon trusts it.
MAKE_BUILDER = """
id builder >/dev/null 2>&1 || useradd --create-home --shell /bin/sh --groups nix-users builder
usermod --password '*' builder
grep -q '^extra-trusted-users' /etc/nix/nix.conf || echo 'extra-trusted-users = builder' >>/etc/nix/nix.conf
systemctl reset-failed nix-daemon.service nix-daemon.socket 2>/dev/null || true
systemctl restart nix-daemon.service
"""
_PROGRAM = """
import importlib, json, sys
from ansible.plugins.loader import init_plugin_loader
from ansible.module_utils.testing import patch_module_args
init_plugin_loader(["/collections"])
with patch_module_args(json.loads(sys.argv[2])):
    importlib.import_module(f"ansible_collections.nixferry.deploy.plugins.modules.{sys.argv[1]}").main()
"""


def run_module(
    container: str, module: str, options: Mapping[str, Any], *, check: bool = False, diff: bool = False
) -> dict[str, Any]:
    """Run a module of this checkout as root in a controller's container; returns its result."""
    given = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    argv = ["docker", "exec", container, "/opt/ansible/bin/python", "-c", _PROGRAM, module, json.dumps(given)]
    done = run(argv, check=False)
    assert done.stdout.strip(), done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def execute(container: str, script: str) -> str:
    """Output of a shell script that must succeed."""
    return containers.ask(container, script)


@dataclass(frozen=True)
class Pair:
    """A client, which is a container, and a host that builds for it under the name `big`."""

    client: str
    builder: LabHost

    @property
    def options(self) -> dict[str, Any]:
        """What `nix_builder` is told about the builder."""
        words = self.builder.ask("ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key").split()
        return {
            "name": "big",
            "host": self.builder.container,
            "systems": ["x86_64-linux"],
            "ssh_key_file": KEY_FILE,
            "host_public_key": " ".join(words[:2]),
            "connect_timeout": 5,
        }

    def prepare(self) -> Pair:
        """Make the client's key, and let it in."""
        public = execute(
            self.client,
            f"test -e {KEY_FILE} || ssh-keygen -q -t ed25519 -N '' -f {KEY_FILE}; cat {KEY_FILE}.pub",
        )
        self.builder.execute(MAKE_BUILDER)
        self.authorize(public)
        return self

    def authorize(self, line: str) -> None:
        """Let the owner of a key log in as the builder's user, and no other."""
        self.builder.execute(
            f"""
            mkdir -p /home/builder/.ssh
            cat >/home/builder/.ssh/authorized_keys <<'END'\n{line}\nEND
            chown -R builder /home/builder/.ssh
            chmod 700 /home/builder/.ssh
            """
        )

    def register(self, **changed: Any) -> dict[str, Any]:
        result = run_module(self.client, "nix_builder", {**self.options, **changed})
        assert not result.get("failed"), result
        return result

    def check(self, **options: Any) -> dict[str, Any]:
        """What `nix_builder_check` finds."""
        given = {"name": "big", "connect_timeout": 5, **options}
        return run_module(self.client, "nix_builder_check", given)
