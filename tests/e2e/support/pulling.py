# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A publisher on this machine and a host that pulls from it: pointers and closures over HTTP, through a bridge."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache_server import CacheServer, serving
from lab import LabHost, nix_environment, run
from processes import wait_until
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import read_line
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    read_pointer_key,
    sign_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

NIX = ["nix", "--extra-experimental-features", "nix-command"]
PULL_DEADLINE = 120  # seconds for one pull, with an activation and its proofs
STATE = "/var/lib/nixferry-pull"
FETCH, ACTIVATE = "nixferry-pull.service", "nixferry-pull-activate.service"
DAY = 86400


@dataclass
class Pulling:
    """One host, what it pulls from, and the keys of its publisher."""

    host: LabHost
    project: Project
    server: CacheServer
    keys: Path
    public_key: str
    variables: dict[str, Any] = field(default_factory=dict)
    serial: int = 0

    # The publisher

    def build(self, **system: Any) -> str:
        """Build a system of the host and put its closure into the cache, signed."""
        toplevel = self.project.build(self.host.name, system)
        self.store(toplevel)
        return toplevel

    def store(self, toplevel: str) -> None:
        """Put a closure into the cache, signed."""
        cache = f"file://{self.server.directory}/cache?compression=none&secret-key={self.keys}/cache"
        run([*NIX, "copy", "--to", cache, toplevel], environment=nix_environment())

    def pointer(self, toplevel: str, **values: Any) -> bytes:
        """A signed pointer to a system, with the next serial unless `values` has another one."""
        now = int(time.time())
        self.serial = max(self.serial + 1, now)
        about: dict[str, Any] = {
            "host": self.host.name,
            "channel": "stable",
            "serial": self.serial,
            "issued": now,
            "expires": now + 14 * DAY,
        }
        key = str(self.keys / values.pop("key", "pointer"))
        return sign_pointer(Pointer(**{**about, **values}, toplevel=toplevel), read_pointer_key(key))

    def offer(self, content: bytes) -> None:
        """Let the server give this out as the pointer of the host."""
        file = self.server.directory / "pointers/stable/hosts" / self.host.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def publish(self, system: Mapping[str, Any], **values: Any) -> str:
        """Build, copy and point to a system; returns its store path."""
        toplevel = self.build(**system)
        self.offer(self.pointer(toplevel, **values))
        return toplevel

    # The host

    def configure_nix(self) -> None:
        """Let the host's Nix fetch from the cache, as the configuration of a host would."""
        settings = [
            f"substituters = {self.server.url}/cache",
            f"trusted-public-keys = {self.public_key}",
            "narinfo-cache-negative-ttl = 0",
        ]
        text = "\n".join(settings)
        self.host.execute(
            f"cat >>/etc/nix/nix.conf <<'EOF'\n{text}\nEOF\nsystemctl restart nix-daemon.service"
        )

    def play(self, **variables: Any) -> list[Any]:
        own = {
            "pull_agent_url": f"{self.server.url}/pointers",
            "pull_agent_public_keys": [self.public_key],
            "pull_agent_pointer_keys": [Path(f"{self.keys}/pointer.pub").read_text()],
            # The tests start the agent themselves.
            "pull_agent_calendar": "*-01-01",
            "pull_agent_timeout_reach": 8,
            "pull_agent_timeout_confirm": 60,
        }
        return [
            {
                "hosts": self.host.name,
                "gather_facts": False,
                "vars": {**own, **self.variables, **variables},
                "roles": ["nixferry.deploy.pull_agent"],
            }
        ]

    def install(self, *arguments: str, **variables: Any) -> PlaybookRun:
        """Run the role."""
        return self.project.run_playbook(self.play(**variables), *arguments).assert_ok()

    def first(self, **variables: Any) -> str:
        """Install the agent and pull a first system; returns its store path."""
        self.install(**variables)
        toplevel = self.publish({"version": "2"})
        found = self.pull()
        assert found["outcome"] == "committed", found
        return toplevel

    def run_id(self, unit: str = ACTIVATE) -> str:
        """What tells one run of a unit from another."""
        return self.host.ask(f"systemctl show --property=InvocationID --value {unit}")

    def has_ended(self, since: str) -> bool:
        """Whether the activating unit has run and ended since it had this id."""
        asked = "systemctl show --property=InvocationID --property=ActiveState --value"
        found = self.host.ask(f"{asked} {ACTIVATE}").split()
        return len(found) == 2 and since not in found and ("inactive" in found or "failed" in found)

    def begin(self) -> str:
        """Start a run of the agent as its timer does; returns what `end` wants."""
        before = self.run_id()
        self.host.execute(f"systemctl start --no-block {FETCH}")
        return before

    def end(self, before: str) -> dict[str, str]:
        """Wait for the end of the run, and return the status of the agent."""
        wait_until(lambda: self.has_ended(before), deadline=PULL_DEADLINE, what="the run of the agent")
        return self.status()

    def pull(self) -> dict[str, str]:
        """One run of the agent, to its end."""
        return self.end(self.begin())

    def status(self) -> dict[str, str]:
        lines = self.host.ask(f"cat {STATE}/status").splitlines()
        return dict(pair for pair in map(read_line, lines) if pair)

    def agent(self, *words: str) -> None:
        """Call the agent as an administrator does."""
        quoted = " ".join(f"'{word}'" for word in words)
        self.host.execute(f"{STATE}/agent {quoted}")

    def story(self) -> str:
        """What the units said."""
        return self.host.execute("journalctl --no-pager --unit 'nixferry-*' --lines 80", check=False).stdout


def make_keys(directory: Path) -> str:
    """Keys of Nix and of OpenSSH; returns the public one of Nix."""
    directory.mkdir()
    secret = run([*NIX, "key", "generate-secret", "--key-name", f"pull-{secrets.token_hex(4)}"]).stdout
    (directory / "cache").touch(0o600)
    (directory / "cache").write_text(secret)
    for name in ("pointer", "foreign"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / name)])
        assert public_key((directory / f"{name}.pub").read_text())
    return run([*NIX, "key", "convert-secret-to-public"], input=secret).stdout.strip()


@contextmanager
def pulling(host: LabHost, project: Project, directory: Path) -> Iterator[Pulling]:
    """A host that can reach a publisher, without an agent yet. Stops the server in the end."""
    public = make_keys(directory / "keys")
    gateway = host.ask("ip -4 route show default | cut -d ' ' -f 3")
    with serving(directory / "served", address=gateway) as server:
        (server.directory / "cache").mkdir(parents=True)
        made = Pulling(host, project, server, directory / "keys", public)
        made.configure_nix()
        yield made
