# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure many pulling hosts against one cache: what a publish costs, and what each fetch asks of the web server.

``sudo python -m benchmarks.agents --agents 200``. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ansible.plugins.loader import init_plugin_loader

from benchmarks.fleet import REPOSITORY
from benchmarks.systems import nix_environment

COLLECTIONS = REPOSITORY / ".build/collections"
NIX = ("nix", "--extra-experimental-features", "nix-command")
# The system of each host, which refers to what all of them share: text alone, so that nothing has to be built.
SYSTEMS = """
{ hosts, paths, kib, version }:
let
  line = name: number: builtins.hashString "sha256" "${name}-${toString number}";
  text = name: builtins.concatStringsSep "" (builtins.genList (line name) (kib * 16));
  shared = builtins.genList (number: builtins.toFile "part-${toString number}" (text "SALT-${toString number}")) paths;
  news = builtins.toFile "news" (text "SALT-${version}");
  content = host: builtins.concatStringsSep "\\n" ([ host version "${news}" ] ++ shared);
  system = host: builtins.toFile "nixos-system-${host}" (content host);
in
builtins.listToAttrs (map (name: { inherit name; value = system name; }) hosts)
"""
# A store of its own for each agent, as each host has one; the programs are those of this machine.
AGENT = 'mount --bind "$1/nix" /nix && exec /bin/sh "$1/agent" fetch >"$1/pointer"'


@dataclass
class Count:
    """What the web server was asked for."""

    requests: int = 0
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        with self.lock:
            self.requests += 1
            self.sent += size


@contextmanager
def serving(directory: Path, count: Count) -> Iterator[str]:
    """A web server for files, which counts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            file = directory / self.path.partition("?")[0].lstrip("/")
            content = file.read_bytes() if file.is_file() else None
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")
            count.add(len(content or b"") if self.command == "GET" else 0)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *_arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Site:
    """A publisher with its keys, and agents."""

    def __init__(self, directory: Path, url: str, agents: int, salt: str) -> None:
        self.directory, self.url, self.salt = directory, url, salt
        self.hosts = [f"host{number:04}" for number in range(agents)]
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "pointer")], check=True
        )
        secret = self._said(*NIX, "key", "generate-secret", "--key-name", "bench-1")
        (directory / "cache.key").touch(0o600)
        (directory / "cache.key").write_text(secret)
        self.public = self._said(*NIX, "key", "convert-secret-to-public", given=secret).strip()
        (directory / "served/cache").mkdir(parents=True)

    @staticmethod
    def _said(*argv: str, given: str | None = None) -> str:
        environment = {**os.environ, **nix_environment()}
        return subprocess.run(
            argv, check=True, text=True, stdout=subprocess.PIPE, input=given, env=environment
        ).stdout

    def systems(self, version: str, paths: int, kib: int) -> dict[str, str]:
        """The store path of each host's system."""
        hosts = json.dumps(self.hosts).replace(",", " ")
        expression = (
            f"({SYSTEMS.replace('SALT', self.salt)}) {{ hosts = {hosts}; paths = {paths}; kib = {kib}; "
            f'version = "{version}"; }}'
        )
        argv = ("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-")
        return dict(json.loads(self._said(*argv, given=expression)))

    def publish(self, toplevels: dict[str, str]) -> None:
        """With the action of the collection, as a playbook does."""
        options = {
            "toplevels": toplevels,
            "cache": str(self.directory / "served/cache"),
            "public_url": f"{self.url}/cache",
            "cache_key": str(self.directory / "cache.key"),
            "pointers": str(self.directory / "served/pointers"),
            "pointer_key": str(self.directory / "pointer"),
        }
        tasks = [{"nixferry.deploy.nix_publish": options}]
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
        (self.directory / "publish.yml").write_text(json.dumps(play))
        environment = {
            **os.environ,
            **nix_environment(),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        subprocess.run(
            [program, "publish.yml"],
            cwd=self.directory,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def agent(self, host: str) -> Path:
        """The directory of one agent with its program."""
        from ansible_collections.nixferry.deploy.plugins.plugin_utils._core import kinds
        from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys import ssh_signature
        from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull import agent as programs
        from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.settings import AgentSettings

        place = self.directory / "agents" / host
        (place / "nix/store").mkdir(parents=True)
        key = ssh_signature.public_key((self.directory / "pointer.pub").read_text())
        settings = AgentSettings(
            host=host,
            channel="stable",
            url=f"{self.url}/pointers",
            kind=kinds.KINDS["nixos"],
            profile=kinds.KINDS["nixos"].profile,
            public_keys=(self.public,),
            pointer_keys=(key or "",),
            min_free=0,
        )
        (place / "allowed_signers").write_text(settings.signers() + "\n")
        files = {name: str(place / name) for name in ("allowed_signers", "commit_signers", "guard", "checks")}
        (place / "agent").write_text(programs.agent_program(settings, files))
        return place

    def fetch(self, place: Path) -> None:
        """One run of the program that the host's unit runs."""
        config = (
            f"substituters = {self.url}/cache\ntrusted-public-keys = {self.public}\nbuild-users-group =\n"
            "narinfo-cache-negative-ttl = 0\nsandbox = false\n"
        )
        environment = {
            "PATH": os.environ["PATH"],
            "NIX_CONFIG": config,
            # The cache of the daemon, which outlives a run.
            "XDG_CACHE_HOME": str(place / "cache"),
            "STATE_DIRECTORY": str(place),
        }
        with (place / "said").open("w") as said:
            done = subprocess.run(
                ["unshare", "--mount", "/bin/sh", "-c", AGENT, "sh", str(place)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=said,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"{place.name} failed:\n{(place / 'said').read_text()[-2000:]}")


def measured(what: str, agents: int, count: Count, action: Callable[[], Any]) -> None:
    """Run, and print a line of the table."""
    requests, sent = count.requests, count.sent
    begin = time.monotonic()
    action()
    seconds = time.monotonic() - begin
    asked, given = count.requests - requests, count.sent - sent
    print(
        f"| {what} | {seconds:.1f} | {asked} | {asked / agents:.1f} | {given / 1024:.0f} | "
        f"{given / 1024 / agents:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=200, help="hosts that pull (%(default)s)")
    parser.add_argument(
        "--paths", type=int, default=50, help="store paths that all hosts share (%(default)s)"
    )
    parser.add_argument("--kib", type=int, default=16, help="KiB of each of them (%(default)s)")
    parser.add_argument("--at-once", type=int, default=4, help="agents that run at a time (%(default)s)")
    given = parser.parse_args()
    init_plugin_loader([str(COLLECTIONS)])
    count = Count()
    with tempfile.TemporaryDirectory(prefix="nixferry-agents-") as name:
        directory = Path(name)
        with serving(directory / "served", count) as url:
            site = Site(directory, url, given.agents, salt=directory.name)
            places = [site.agent(host) for host in site.hosts]

            def all_fetch() -> None:
                with ThreadPoolExecutor(given.at_once) as pool:
                    list(pool.map(site.fetch, places))

            print("| what | seconds | requests | a host | KiB | a host |\n|---|---|---|---|---|---|")
            first = site.systems("1", given.paths, given.kib)
            measured("publish, all new", given.agents, count, lambda: site.publish(first))
            measured("publish, nothing new", given.agents, count, lambda: site.publish(first))
            measured("fetch, all new", given.agents, count, all_fetch)
            measured("fetch, nothing new", given.agents, count, all_fetch)
            second = site.systems("2", given.paths, given.kib)
            measured("publish, one path new", given.agents, count, lambda: site.publish(second))
            measured("fetch, one path new", given.agents, count, all_fetch)


if __name__ == "__main__":
    main()
