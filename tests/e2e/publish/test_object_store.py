# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publish to a bucket that wants a login, with a Nix that has no object stores or no logins to them."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from guides import page_blocks
from lab import REPOSITORY, nix_environment, run
from object_store import ObjectStore, object_store
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    verify_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

PAGE = REPOSITORY / "docs/docsite/rst/publish.rst"
FLAKE = """
{
  outputs = { self }: {
    nixosConfigurations.web1.config.system.build.toplevel = derivation {
      name = "nixos-system-web1-SALT";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo x >$out" ];
    };
  };
}
"""
NIX = ["nix", "--extra-experimental-features", "nix-command"]
EXPRESSION = """
let derive = name: text: derivation {
  inherit name text;
  system = "x86_64-linux";
  builder = "/bin/sh";
  args = [ "-c" "echo $text >$out" ];
};
in derive "system-%s" "${derive "dependency-%s" "${derive "common-%s" "x"}"}"
"""


class Publisher:
    """A project with keys that publishes to a bucket."""

    def __init__(self, directory: Path, store: ObjectStore) -> None:
        self.directory = directory
        self.store = store
        self.salt = secrets.token_hex(6)
        self.project = Project(directory=directory / "project", lab=cast(Any, None))
        self.project.write("inventory.yml", json.dumps({"all": {"hosts": {"web1": {}}}}))
        self.project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
        self.cache_key, self.public = self.key("cache-1")
        self.pointer_key = directory / "pointer"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.pointer_key)])

    def address(self, name: str, **options: str) -> str:
        """A part of the bucket that no other test uses."""
        return self.store.address(f"{self.salt}/{name}", **options)

    def objects(self, name: str) -> dict[str, bytes]:
        return self.store.objects(f"{self.salt}/{name}")

    def key(self, name: str) -> tuple[Path, str]:
        """Make a key of a cache."""
        secret = run(
            [*NIX, "key", "generate-secret", "--key-name", name], environment=nix_environment()
        ).stdout
        file = self.directory / name
        file.touch(0o600)
        file.write_text(secret)
        public = run([*NIX, "key", "convert-secret-to-public"], input=secret, environment=nix_environment())
        return file, public.stdout.strip()

    def build(self, version: str) -> str:
        """A system of three paths, of which two are its own."""
        text = EXPRESSION % (version, f"{version}-{self.salt}", self.salt)
        return run(
            ["nix-build", "--no-out-link", "--expr", text], environment=nix_environment()
        ).stdout.strip()

    def tasks(
        self, tasks: list[dict[str, Any]], *arguments: str, environment: dict[str, str] | None = None
    ) -> PlaybookRun:
        login = {"AWS_SHARED_CREDENTIALS_FILE": str(self.store.credentials)}
        play = {"hosts": "web1", "gather_facts": False, "tasks": tasks}
        return self.project.run_playbook([play], *arguments, environment={**login, **(environment or {})})

    def publish(
        self, path: str, *arguments: str, environment: dict[str, str] | None = None, **options: Any
    ) -> PlaybookRun:
        given = {
            "toplevels": {"web1": path},
            "cache": self.address("cache"),
            "cache_key": str(self.cache_key),
            "pointers": self.address("pointers"),
            "pointer_key": str(self.pointer_key),
            **options,
        }
        given = {name: value for name, value in given.items() if value is not None}
        task = {"name": "publish", "nixferry.deploy.nix_publish": given}
        return self.tasks([task], *arguments, environment=environment)

    def pointer(self) -> Pointer | None:
        content = self.objects("pointers").get("stable/hosts/web1")
        key = public_key(Path(f"{self.pointer_key}.pub").read_text())
        assert key is not None
        return None if content is None else verify_pointer(content, [key], host="web1", channel="stable")

    def fetch(self, path: str, key: str) -> None:
        """Do what a host does that trusts one key, with what is in the bucket."""
        served = self.directory / "served"
        for name, content in self.objects("cache").items():
            (served / name).parent.mkdir(parents=True, exist_ok=True)
            (served / name).write_bytes(content)
        argv = [
            *NIX,
            "copy",
            "--from",
            f"file://{served}",
            "--to",
            f"local?root={self.directory}/host-{key[:7]}",
        ]
        argv += ["--option", "trusted-public-keys", key, "--option", "require-sigs", "true", path]
        run(argv, environment=nix_environment())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as started:
        yield started


def test_from_an_empty_bucket_to_a_host_and_back(store: ObjectStore, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, store)
    first, second = publisher.build("1"), publisher.build("2")

    assert publisher.publish(first, "--check").assert_ok().result("publish")["changed"]
    assert publisher.objects("cache") == publisher.objects("pointers") == {}
    ran = publisher.publish(first, "-vvv").assert_ok()
    assert ran.result("publish")["verified_paths"] == 3
    publisher.fetch(first, publisher.public)
    assert b"profile" not in publisher.objects("pointers")["stable/index.json"]
    pointer = publisher.pointer()
    assert pointer is not None
    assert pointer.toplevel == first

    # Nothing is sent twice, and of another system only what is its own.
    sent = len(store.requests("PUT"))
    assert not publisher.publish(first).assert_ok().changed("web1")
    assert len(store.requests("PUT")) == sent
    publisher.publish(second).assert_ok()
    new = store.requests("PUT")[sent:]
    assert sum("/nar/" in name for name in new) == sum(name.endswith(".narinfo") for name in new) == 2
    # Contents, then what describes them, then the pointer.
    kinds = ["nar" if "/nar/" in each else "info" if ".narinfo" in each else "pointer" for each in new]
    assert kinds == sorted(kinds, key=["nar", "info", "pointer"].index)
    publisher.fetch(second, publisher.public)

    publisher.publish(first, toplevels=None, hosts=["web1"], to="previous").assert_ok()
    back = publisher.pointer()
    assert back is not None
    assert (back.toplevel, back.serial > pointer.serial) == (first, True)
    look = {"url": publisher.address("cache"), "paths": [first, second], "public_keys": [publisher.public]}
    seen = publisher.tasks([{"name": "look", "nixferry.deploy.nix_cache_info": look}]).assert_ok()
    assert seen.result("look")["complete"]

    everything = [ran.stdout, ran.stderr, json.dumps([entry.result for entry in ran.results])]
    assert not any(store.secret in text for text in everything)


def test_the_page(store: ObjectStore, tmp_path: Path) -> None:
    """What the page exports for a bucket, with the address of this one, and the playbook of the collection."""
    publisher = Publisher(tmp_path, store)
    block = next(block for block in page_blocks(PAGE, "sh") if "s3://" in block)
    addresses = {
        "s3://example-nix/cache?region=eu-central-1": publisher.address("cache"),
        "https://example.org/cache": f"'{publisher.address('cache')}'",
        "s3://example-nix/pointers?region=eu-central-1": publisher.address("pointers"),
    }
    for there, here in addresses.items():
        assert there in block
        block = block.replace(there, here)
    publisher.project.write("flake.nix", FLAKE.replace("SALT", publisher.salt))
    publisher.project.write("ansible.cfg", "[defaults]\n")
    settings = {
        **publisher.project.prepare([])[1],
        "AWS_SHARED_CREDENTIALS_FILE": str(store.credentials),
        "NIXFERRY_FLEET": ".",
        "NIXFERRY_CACHE_KEY": str(publisher.cache_key),
        "NIXFERRY_POINTER_KEY": str(publisher.pointer_key),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = f"{block}\nansible-playbook nixferry.deploy.publish\n"
    run(["sh", "-e"], input=script, environment=settings, directory=publisher.project.directory)
    pointer = publisher.pointer()
    assert pointer is not None
    publisher.fetch(pointer.toplevel, publisher.public)


def test_a_new_key_signs_what_is_in_the_bucket(store: ObjectStore, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, store)
    path = publisher.build("3")
    publisher.publish(path).assert_ok()
    sent = len(store.requests("PUT"))
    publisher.cache_key, public = publisher.key("cache-2")
    trusted = Path(f"{publisher.pointer_key}.pub").read_text()
    publisher.publish(path, trusted_pointer_keys=[trusted]).assert_ok()
    assert not [name for name in store.requests("PUT")[sent:] if "/nar/" in name]
    for key in (publisher.public, public):
        publisher.fetch(path, key)


def test_without_the_login_nothing_is_written(store: ObjectStore, tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, store)
    path = publisher.build("4")
    for options in (
        {"cache": publisher.address("cache", profile="wrong")},
        {"cache": publisher.address("cache", profile="absent")},
        {"pointers": publisher.address("pointers", profile="wrong")},
        {"cache": "s3://someone:canary-wrong@nix"},
    ):
        ran = publisher.publish(path, **options)
        failed = ran.result("publish")
        assert ran.return_code != 0
        assert len(failed["msg"].splitlines()) <= 5
        assert failed["remedy"]
        assert "canary-wrong" not in ran.stdout + ran.stderr
    look = {"url": "https://someone:canary-wrong@127.0.0.1:1", "paths": [path]}
    ran = publisher.tasks([{"name": "look", "nixferry.deploy.nix_cache_info": look}])
    assert "contains a password" in ran.result("look")["cause"]
    assert "canary-wrong" not in ran.stdout + ran.stderr
    # A place for pointers that cannot be read ends the publish before the cache is written.
    assert publisher.objects("cache") == publisher.objects("pointers") == {}


def test_without_the_library_the_remedy_names_it(store: ObjectStore, tmp_path: Path) -> None:
    """Nix tries it then, and that of Debian cannot."""
    publisher = Publisher(tmp_path, store)
    (tmp_path / "without").mkdir()
    (tmp_path / "without/boto3.py").write_text("raise ImportError('not here')\n")
    without = {"PYTHONPATH": str(tmp_path / "without")}
    pointers = str(tmp_path / "pointers")
    ran = publisher.publish(
        publisher.build("5"), environment=without, pointers=pointers, public_url=f"file://{tmp_path}/cache"
    )
    assert ran.return_code != 0
    assert "boto3" in ran.result("publish")["remedy"]
    ran = publisher.publish(publisher.build("5"), environment=without)
    assert ran.return_code != 0
    assert "boto3" in ran.result("publish")["remedy"]
    assert not (tmp_path / "pointers/stable/hosts").exists()
