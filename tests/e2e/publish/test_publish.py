# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publish with the Nix of this machine, and fetch as a host does: by its pointer, through the public address."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from background import in_background
from cache_server import CacheServer, serving
from lab import nix_environment, run
from processes import wait_until
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    verify_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

# Seconds until a server must have seen the request that a test waits for.
REQUEST_DEADLINE = 60
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


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    with serving(tmp_path / "served") as server:
        yield Publisher(tmp_path, server)


@pytest.fixture
def client(publisher: Publisher, tmp_path: Path) -> Client:
    return Client(publisher, tmp_path / "client")


def test_from_an_inventory_to_a_client_and_back(publisher: Publisher, client: Client) -> None:
    """Publish, again, a new version, back: what a client fetches is what was built, and no host is contacted."""
    planned = publisher.publish("--check", "--diff").assert_ok().result("Publish for all hosts together")
    assert planned["changed"]
    assert publisher.pointer() is None
    assert not list((publisher.server.directory / "cache").glob("*.narinfo"))

    first = publisher.publish().assert_ok().result("Publish for all hosts together")
    assert first["changed"]
    assert first["verified_paths"] == 3
    assert client.update() == first["published"]["web1"]["toplevel"]
    assert [first["published"][host]["serial"] for host in ("web1", "web2")] == [first["serial"]] * 2

    second = publisher.publish().assert_ok()
    assert not second.changed("web1")
    assert second.result("Publish for all hosts together")["serial"] is None

    publisher.version("2")
    third = publisher.publish().assert_ok().result("Publish for all hosts together")
    assert third["serial"] > first["serial"]
    assert client.update() != first["published"]["web1"]["toplevel"]

    back = publisher.publish(publish_to="previous").assert_ok()
    assert not back.find("Build the systems of all hosts together") or all(
        entry.status == "skipped" for entry in back.find("Build the systems of all hosts together")
    )
    assert client.update() == first["published"]["web1"]["toplevel"]
    pointer = publisher.pointer()
    assert pointer is not None
    assert pointer.serial > third["serial"]


def test_a_host_that_does_not_build_stops_the_publish(publisher: Publisher) -> None:
    publisher.publish().assert_ok()
    before = publisher.pointer()
    publisher.version("2")
    flake = publisher.project.directory / "flake/flake.nix"
    flake.write_text(
        flake.read_text().replace(
            "system name; })", 'if name == "web2" then throw "no web2" else system name; })'
        )
    )
    ran = publisher.publish()
    assert ran.return_code != 0
    assert "no web2" in ran.stdout
    assert publisher.pointer() == before


def test_a_gate_that_fails_stops_the_publish(publisher: Publisher) -> None:
    gates = [{"name": "passes", "command": ["true"]}, {"command": ["sh", "-c", "echo not today; exit 3"]}]
    ran = publisher.publish(publish_gates=gates)
    assert ran.return_code != 0
    assert "not today" in ran.stdout
    assert not ran.find("Build the systems of all hosts together")
    assert publisher.pointer() is None
    publisher.publish(publish_gates=gates[:1]).assert_ok()
    assert publisher.pointer() is not None


def test_without_an_inventory_by_environment_alone(publisher: Publisher) -> None:
    """As in a CI: the playbook of the collection, and nothing else."""
    publisher.project.write("ansible.cfg", "[defaults]\n")
    names = {
        "NIXFERRY_FLEET": "./flake",
        "NIXFERRY_CACHE": publisher.variables["publish_cache"],
        "NIXFERRY_CACHE_KEY": str(publisher.cache_key),
        "NIXFERRY_POINTERS": publisher.variables["publish_pointers"],
        "NIXFERRY_POINTER_KEY": str(publisher.pointer_key),
    }
    argv, settings = publisher.project.prepare([])
    argv[argv.index("playbook.yml")] = "nixferry.deploy.publish"
    done = run(argv, environment={**settings, **names}, directory=publisher.project.directory, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert publisher.pointer("web1") is not None
    assert publisher.pointer("web2") is not None
    # In waves as well, with a file that is not beside the playbook of the collection.
    before = publisher.pointer("web1")
    publisher.version("2")
    look = publisher.project.write(
        "look.yml", "- ansible.builtin.assert: {that: publish_wave_hosts != ['web1']}\n"
    )
    waves = {"publish_waves": [["50%"]], "publish_wave_tasks": str(look)}

    def in_waves() -> None:
        arguments = [*argv, "--extra-vars", json.dumps(waves)]
        environment = {**settings, **names}
        done = run(arguments, environment=environment, directory=publisher.project.directory, check=False)
        assert done.returncode != 0

    # A mistake in the file is found before anything is published.
    in_waves()
    assert publisher.pointer("web1") == before
    look.write_text("- ansible.builtin.assert: {that: \"'web1' not in publish_wave_hosts\"}\n")
    in_waves()
    pointers = [publisher.pointer(name) for name in ("web1", "web2")]
    assert before is not None
    assert [pointer and pointer.toplevel.endswith("-1") for pointer in pointers] == [True, True]
    assert pointers[0] is not None
    assert pointers[0].serial > before.serial
    # What is missing is named as what the user can set.
    done = run(
        argv,
        environment={**settings, **names, "NIXFERRY_POINTERS": ""},
        directory=publisher.project.directory,
        check=False,
    )
    assert done.returncode != 0
    assert "NIXFERRY_POINTERS" in done.stdout


@pytest.mark.parametrize(
    ("part", "status"), [(".narinfo", 404), (".narinfo", 403), ("/nar/", 404), (".narinfo", 503)]
)
def test_what_a_host_would_not_get_is_not_pointed_to(publisher: Publisher, part: str, status: int) -> None:
    """A proxy in front of the cache answers so; behind it all is well."""
    with serving(publisher.server.directory) as public:
        public.faults[part] = status
        ran = publisher.publish(publish_public_url=f"{public.url}/cache")
    assert ran.return_code != 0
    failed = ran.result("Publish for all hosts together")
    assert failed["step"] == "read the cache"
    assert len(failed["msg"].splitlines()) <= 5
    assert publisher.pointer() is None


@pytest.mark.parametrize("line", ["NarHash: sha256:" + "0" * 52, "NarSize: 4096"])
def test_what_an_attacker_describes_gets_no_signature(publisher: Publisher, line: str) -> None:
    """An attacker who can write to the web server, and has no key, changes what a path is said to contain."""
    first = publisher.publish().assert_ok().result("Publish for all hosts together")
    before = publisher.pointer()
    path = first["published"]["web1"]["toplevel"]
    file = publisher.server.directory / f"cache/{path[11:43]}.narinfo"
    name = line.partition(":")[0]
    lines = [line if each.startswith(f"{name}:") else each for each in file.read_text().splitlines()]
    forged = "".join(f"{each}\n" for each in lines if not each.startswith("Sig:"))
    file.write_text(forged)
    ran = publisher.publish(publish_renew=True)
    assert ran.return_code != 0
    failed = ran.result("Publish for all hosts together")
    assert path in failed["msg"]
    assert len(failed["msg"].splitlines()) <= 5
    assert file.read_text() == forged
    assert publisher.pointer() == before


def test_the_secret_keys_are_nowhere_but_in_their_files(publisher: Publisher) -> None:
    """In no output, no result, no served file, and no process that was seen while it ran."""
    secrets_of_keys = [
        publisher.cache_key.read_text().partition(":")[2].strip()[:60],
        publisher.pointer_key.read_text().splitlines()[2],
    ]
    seen: list[bytes] = []

    def look(_method: str, _path: str) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    seen.append((process / name).read_bytes())
                except OSError:
                    continue

    publisher.server.before_answer = look
    ran = publisher.publish("-vvv").assert_ok()
    everything = [
        ran.stdout.encode(),
        ran.stderr.encode(),
        json.dumps([entry.result for entry in ran.results]).encode(),
        *seen,
        *(file.read_bytes() for file in publisher.server.directory.rglob("*") if file.is_file()),
    ]
    assert seen
    for secret in secrets_of_keys:
        assert len(secret) > 20
        assert not any(secret.encode() in each for each in everything)


@pytest.mark.parametrize(
    "request_of",
    [
        "PUT /cache/nar/",
        "PUT /cache/",
        "HEAD /cache/nar/",
        "PUT /pointers/",
        "PUT /pointers/stable/hosts/web2",
        "PUT /pointers/stable/index.json",
        "GET /pointers/stable/hosts/web2",
    ],
)
def test_a_client_never_fails_while_publishers_are_killed(
    publisher: Publisher, client: Client, request_of: str
) -> None:
    """The publisher is killed at a request of each step. A client that polls all the while gets a whole system."""
    publisher.publish().assert_ok()
    publisher.version("2")
    reached = threading.Event()
    may_go = threading.Event()

    def hold(method: str, path: str) -> None:
        if f"{method} {path}".startswith(request_of):
            reached.set()
            may_go.wait(REQUEST_DEADLINE)

    failures: list[str] = []
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            try:
                client.update()
            except (AssertionError, NixferryError) as error:
                failures.append(str(error))

    publisher.server.before_answer = hold
    poller = threading.Thread(target=poll)
    poller.start()
    try:
        with in_background(publisher.project, publisher.play()) as controller:
            wait_until(reached.is_set, deadline=REQUEST_DEADLINE, what=f"a request {request_of}")
            controller.kill()
        publisher.server.before_answer = lambda _method, _path: None
        may_go.set()
        publisher.publish().assert_ok()
        client.update()
    finally:
        may_go.set()
        stop.set()
        poller.join()
    assert failures == []
    for host in ("web1", "web2"):
        pointer = publisher.pointer(host)
        assert pointer is not None
        assert pointer.toplevel.endswith(f"nixos-system-{host}-2")


def test_what_a_bad_server_gives_is_not_taken_and_told_apart(publisher: Publisher, client: Client) -> None:
    """Nix refuses it, and nix_cache_info says what it is, where that can be seen without the content."""
    path = (
        publisher.publish()
        .assert_ok()
        .result("Publish for all hosts together")["published"]["web1"]["toplevel"]
    )
    cache = publisher.server.directory / "cache"
    description = cache / f"{path[11:43]}.narinfo"
    narinfo = description.read_text()
    nar = cache / narinfo.partition("URL: ")[2].splitlines()[0]
    content = nar.read_bytes()
    flipped = bytes([content[0] ^ 1]) + content[1:]
    other = next(each for each in cache.glob("*.narinfo") if each != description)

    def fault() -> list[str]:
        look = {
            "url": f"{publisher.server.url}/cache",
            "paths": [path],
            "public_keys": publisher.cache_keys,
        }
        tasks = [{"name": "look", "nixferry.deploy.nix_cache_info": look}]
        ran = publisher.project.run_playbook([{"hosts": "web1", "gather_facts": False, "tasks": tasks}])
        return [each["fault"] for each in ran.assert_ok().result("look")["wrong"]]

    for file, bad, told in (
        (nar, content[: len(content) // 2], ["truncated"]),
        (nar, flipped, []),
        (description, narinfo.replace("NarSize: ", "NarSize: 1"), ["unsigned"]),
        (description, narinfo.replace("References: ", "References: x"), ["not_a_narinfo"]),
        (description, other.read_text(), ["other_path"]),
        (description, "<html>\n", ["not_a_narinfo"]),
    ):
        good = file.read_bytes()
        file.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
        # Without what Nix remembers of an earlier description.
        assert client.fetch(path, **{"narinfo-cache-positive-ttl": "0"}).returncode != 0, told
        assert not (client.store / path.lstrip("/")).exists()
        assert fault() == told
        file.write_bytes(good)
    # A key that did not sign, also under the name of the one that did.
    wrong = f"{CACHE_KEY}:{'A' * 43}="
    assert client.fetch(path, **{"trusted-public-keys": wrong}).returncode != 0
    # What was absent a moment ago, and the server that was down, are there.
    for absent in (404, 503):
        publisher.server.faults[".narinfo"] = absent
        assert client.fetch(path).returncode != 0
        publisher.server.faults.clear()
    done = client.fetch(path, **{"narinfo-cache-positive-ttl": "0"})
    assert done.returncode == 0, done.stderr


def test_keys_are_replaced_and_garbage_goes_without_an_outage(publisher: Publisher, client: Client) -> None:
    """A client that trusts what it was told to trust gets its system after every step."""
    directory = publisher.server.directory
    keys = {"cache": str(publisher.cache_key), "pointer": str(publisher.pointer_key)}
    play = publisher.play(
        publish_cache=str(directory / "cache"),
        publish_public_url=f"{publisher.server.url}/cache",
        publish_pointers=str(directory / "pointers"),
        publish_renew=True,
        publish_trusted_pointer_keys="{{ pointer_key.old_public_keys }}",
    )
    make = [
        {
            "name": f"{name} key",
            "nixferry.deploy.nix_key": {"path": path, "type": name, "state": "{{ state }}"},
            "register": f"{name}_key",
            "run_once": True,
        }
        for name, path in keys.items()
    ]
    trusted: list[str] = []
    for number, state in enumerate(("present", "next", "promoted", "retired")):
        publisher.version(str(number))
        ran = publisher.project.run_playbook(
            [{**play[0], "pre_tasks": make}], variables={"state": state}
        ).assert_ok()
        # What the client was told to trust before this step is enough for what it finds after it.
        if trusted:
            pointer = publisher.pointer_signed_by(trusted)
            done = client.fetch(pointer.toplevel, **{"trusted-public-keys": " ".join(publisher.cache_keys)})
            assert done.returncode == 0, done.stderr
        trusted = ran.result("pointer key")["trusted"]
        publisher.cache_keys = ran.result("cache key")["trusted"]
    assert len(trusted) == len(publisher.cache_keys) == 1

    for host in ("web1", "web2"):
        for old in sorted((directory / f"pointers/stable/history/{host}").iterdir())[:2]:
            old.unlink()
    gc = {"cache": str(directory / "cache"), "pointers": str(directory / "pointers"), "grace_days": 0}
    info = {
        "url": f"{publisher.server.url}/cache",
        "paths": [publisher.pointer_signed_by(trusted).toplevel],
        "public_keys": publisher.cache_keys,
    }
    tasks = [
        {"name": "collect", "nixferry.deploy.nix_cache_gc": gc},
        {"name": "look", "nixferry.deploy.nix_cache_info": info},
    ]
    collecting = [{"hosts": "web1", "gather_facts": False, "tasks": tasks}]
    told = publisher.project.run_playbook(collecting, "--check").assert_ok().result("collect")
    ran = publisher.project.run_playbook(collecting).assert_ok()
    # The systems of the two oldest publishes, of two hosts.
    assert ran.result("collect")["removed_paths"] == told["removed_paths"] == 4
    assert ran.result("look")["complete"]
    assert not publisher.project.run_playbook(collecting).assert_ok().result("collect")["changed"]


def test_a_directory_as_cache_and_place(publisher: Publisher) -> None:
    """What a web server offers from this machine; a restrictive umask of the publisher keeps nothing from it."""
    directory = publisher.server.directory
    old = os.umask(0o077)
    try:
        publisher.publish(
            publish_cache=str(directory / "cache"),
            publish_public_url=f"{publisher.server.url}/cache",
            publish_pointers=str(directory / "pointers"),
        ).assert_ok()
    finally:
        os.umask(old)
    assert publisher.pointer() is not None
    assert (directory / "pointers/stable/hosts/web1").stat().st_mode & 0o777 == 0o644


def test_a_wave_whose_hosts_are_silent_goes_back(publisher: Publisher) -> None:
    """Ansible skips the rescue of a host that is unreachable, and the host that asks for all is one of them."""
    publisher.publish().assert_ok()
    before = publisher.pointer()
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    publisher.project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": away, "web2": away}}}))
    ask = {"delegate_to": "{{ item }}", "loop": "{{ publish_wave_hosts }}"}
    for number, task in enumerate(({"nixferry.deploy.nix_pull_status": {}}, {"ansible.builtin.raw": "true"})):
        publisher.project.write("look.yml", [{"name": "ask", **task, **ask}])
        publisher.version(str(number + 2))
        ran = publisher.publish(publish_waves=[["web1"]], publish_wave_tasks="look.yml")
        assert ran.return_code != 0
        pointer, other = publisher.pointer(), publisher.pointer("web2")
        assert before is not None
        assert pointer is not None
        assert other is not None
        assert (pointer.toplevel, other.serial) == (before.toplevel, before.serial), str(ran)
        assert pointer.serial > before.serial
