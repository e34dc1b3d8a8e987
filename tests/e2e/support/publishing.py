# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A publisher with the Nix of this machine, and a client that fetches as a host does."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Any, cast

from cache_server import CacheServer
from lab import nix_environment, run
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    verify_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

FLAKE = """
{
  outputs = { self }:
    let
      derive = name: references: derivation {
        inherit name references;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo $name $references >$out" ];
      };
      common = derive "common-SALT" [ ];
      system = host: { config.system.build.toplevel = derive "nixos-system-${host}-${self.version}" [ common ]; };
    in
    {
      version = builtins.head (builtins.split "\\n" (builtins.readFile ./version));
      nixosConfigurations = builtins.listToAttrs (map (name: { inherit name; value = system name; }) [ "web1" "web2" ]);
    };
}
"""
CACHE_KEY = "cache-canary-1"


class Publisher:
    """A project with a flake of two hosts, keys, and a web server that gives out cache and pointers."""

    def __init__(self, directory: Path, server: CacheServer) -> None:
        self.server = server
        self.keys = directory / "keys"
        self.keys.mkdir()
        self.project = Project(directory=directory / "project", lab=cast(Any, None))
        hosts = {
            name: {"ansible_connection": "ssh", "ansible_host": "192.0.2.1"} for name in ("web1", "web2")
        }
        self.project.write("inventory.yml", json.dumps({"all": {"hosts": hosts}}))
        self.project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
        self.project.write("flake/flake.nix", FLAKE.replace("SALT", secrets.token_hex(8)))
        self.version("1")
        generate = ["nix", "--extra-experimental-features", "nix-command", "key"]
        secret = run(
            [*generate, "generate-secret", "--key-name", CACHE_KEY], environment=nix_environment()
        ).stdout
        self.cache_key = self.keys / "cache"
        self.cache_key.touch(0o600)
        self.cache_key.write_text(secret)
        self.public_key = run(
            [*generate, "convert-secret-to-public"], input=secret, environment=nix_environment()
        ).stdout
        self.cache_keys = [self.public_key]
        self.pointer_key = self.keys / "pointer"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.pointer_key)])
        self.variables: dict[str, Any] = {
            "nixos_flake": "./flake",
            "publish_cache": f"{server.url}/cache",
            "publish_cache_key": str(self.cache_key),
            "publish_pointers": f"{server.url}/pointers",
            "publish_pointer_key": str(self.pointer_key),
        }
        (server.directory / "cache").mkdir(parents=True)
        (server.directory / "cache/nix-cache-info").write_text("StoreDir: /nix/store\n")

    def version(self, version: str) -> None:
        """Change both systems."""
        self.project.write("flake/version", f"{version}\n")

    def play(self, **variables: Any) -> list[Any]:
        return [
            {
                "hosts": "all",
                "gather_facts": False,
                "vars": {**self.variables, **variables},
                "roles": ["nixferry.deploy.publish"],
            }
        ]

    def publish(self, *arguments: str, **variables: Any) -> PlaybookRun:
        return self.project.run_playbook(
            self.play(**variables), *arguments, environment={"XDG_CACHE_HOME": str(self.keys.parent / "nix")}
        )

    def pointer(self, host: str = "web1") -> Pointer | None:
        """What the host reads; it must be the publisher's."""
        file = self.server.directory / "pointers/stable/hosts" / host
        key = public_key(Path(f"{self.pointer_key}.pub").read_text())
        assert key is not None
        return self.pointer_signed_by([key], host) if file.exists() else None

    def pointer_signed_by(self, keys: list[str], host: str = "web1") -> Pointer:
        content = (self.server.directory / "pointers/stable/hosts" / host).read_bytes()
        return verify_pointer(content, keys, host=host, channel="stable")


class Client:
    """A machine with nothing but Nix, the public keys and the address: a store of its own, which trusts one key."""

    def __init__(self, publisher: Publisher, directory: Path) -> None:
        self.publisher = publisher
        self.store = directory / "root"
        # What Nix remembers of caches would hide what they have now.
        self.environment = {**nix_environment(), "XDG_CACHE_HOME": str(directory / "cache")}

    def fetch(self, path: str, **options: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "trusted-public-keys": self.publisher.public_key,
            "require-sigs": "true",
            "narinfo-cache-negative-ttl": "0",
            **options,
        }
        argv = ["nix", "--extra-experimental-features", "nix-command", "copy"]
        argv += ["--from", f"{self.publisher.server.url}/cache", "--to", f"local?root={self.store}"]
        argv += [word for name, value in settings.items() for word in ("--option", name, value)]
        return run([*argv, path], environment=self.environment, check=False)

    def update(self) -> str:
        """Do what a host does: read the pointer, verify it, fetch what it names. Returns the store path."""
        pointer = self.publisher.pointer()
        assert pointer is not None
        done = self.fetch(pointer.toplevel)
        assert done.returncode == 0, done.stderr
        assert (self.store / pointer.toplevel.lstrip("/")).exists()
        return pointer.toplevel
