# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a cache from a directory, in which order, and until when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from handmade_cache import HandmadeCache, SigningKey, store_path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.bucket import Bucket
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.cache import Cache, public_address
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.upload import (
    Sender,
    copy_through,
    narinfo_name,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.web import Answer, Certificate

KEY = SigningKey("cache-1")


class FilesInMemory:
    """A cache that keeps what it gets, and its order; ``refused`` are names, in part, that it does not take."""

    address = "https://cache.example.org"

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.order: list[str] = []
        self.refused = "nothing"
        self.seconds = 0.0

    def get(self, name: str, *, limit: int) -> Answer:
        del limit
        return Answer(200, self.kept[name]) if name in self.kept else Answer(404)

    def head(self, name: str) -> Answer:
        return self.get(name, limit=0)

    def put(self, name: str, content: bytes) -> Answer:
        if self.refused in name:
            return Answer(403)
        self.kept[name] = content
        self.order.append(name)
        return Answer(200)

    def put_stream(self, name: str, opened: BinaryIO) -> Answer:
        content = b""
        while part := opened.read(8):
            content += part
            time.sleep(self.seconds)
        return self.put(name, content)


class Scene:
    """A chain of paths, each with a reference to the one before, which Nix copies as far as they are missing."""

    def __init__(self, directory: Path) -> None:
        self.source = HandmadeCache(directory / "source", KEY)
        self.files = FilesInMemory()
        self.paths: list[str] = []
        self.copied: list[str] = []
        self.directory = directory
        for name in "abcde":
            self.paths.append(self.source.add(name, self.paths[-1:]))

    def run(self, _arguments: Sequence[str], **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(stdout="\n".join(self.paths))

    def copy(self, directory: Path, _seconds: float | None) -> None:
        (directory / "nar").mkdir()
        (directory / "nix-cache-info").write_text("StoreDir: /nix/store\n")
        for path in self.paths:
            if not (directory / narinfo_name(path)).exists():
                self.copied.append(path)
                for file in (self.source.description(path), self.source.content(path)):
                    name = file.relative_to(self.source.directory)
                    (directory / name).write_bytes(file.read_bytes())

    def send(self, name: str, timeout: float | None = 60) -> None:
        staging = self.directory / name
        staging.mkdir()
        sender = Sender(self.files, timeout=timeout, on_tick=lambda: None)
        copy_through(staging, self, sender, self.paths[-1:], copy=self.copy)  # type: ignore[arg-type]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_contents_come_first_and_then_what_describes_them_in_order(scene: Scene) -> None:
    scene.send("first")
    order = scene.files.order
    assert all(name.startswith("nar/") for name in order[:5])
    assert order[5:] == [*map(narinfo_name, scene.paths), "nix-cache-info"]


def test_what_is_there_is_not_sent_again(scene: Scene) -> None:
    scene.send("first")
    scene.files.order.clear()
    scene.copied.clear()
    scene.paths.append(scene.source.add("f", scene.paths[-1:]))
    scene.send("second")
    assert scene.copied == scene.paths[-1:]
    assert [name[:4] for name in scene.files.order] == ["nar/", narinfo_name(scene.paths[-1])[:4]]
    scene.files.order.clear()
    scene.send("third")
    assert scene.files.order == []


def test_what_ended_in_the_middle_is_completed(scene: Scene) -> None:
    scene.files.refused = narinfo_name(scene.paths[2])
    with pytest.raises(NixferryError, match="403") as raised:
        scene.send("first")
    assert "netrc_file" in raised.value.remedy
    # Nothing refers to what is not described.
    assert narinfo_name(scene.paths[1]) in scene.files.kept
    assert narinfo_name(scene.paths[3]) not in scene.files.kept
    scene.files.refused = "nothing"
    scene.send("second")
    assert scene.copied[-3:] == scene.paths[2:]
    assert all(narinfo_name(path) in scene.files.kept for path in scene.paths)


def test_a_slow_server_does_not_hold_the_publish(scene: Scene) -> None:
    """Also one that takes a byte now and then, so that no wait of the connection ends."""
    scene.files.seconds = 0.2
    began = time.monotonic()
    with pytest.raises(NixferryError, match="timeout of the copy to the cache expired"):
        scene.send("first", timeout=0.3)
    assert time.monotonic() - began < 30


def test_a_cache_that_does_not_answer_is_not_taken_for_an_empty_one(scene: Scene) -> None:
    scene.files.get = lambda _name, **_limit: Answer(503)  # type: ignore[method-assign]
    with pytest.raises(NixferryError, match="503"):
        scene.send("first")
    assert scene.files.order == []


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["s3://", "s3:///cache", "s3://who@bucket", "s3://who:canary@bucket", "s3://b?addressing-style=odd"],
)
def test_what_is_not_a_bucket_is_refused(address: str) -> None:
    with pytest.raises(NixferryError) as raised:
        Bucket(address)
    assert "canary" not in f"{raised.value}{raised.value.remedy}"


def test_nix_writes_a_directory_as_it_would_write_the_bucket() -> None:
    address = "s3://nix/cache?region=eu-central-1&endpoint=http://127.0.0.1:1&compression-level=3&priority=20"
    cache = Cache(address, public_address(address), None, (), compression="xz")
    store = cache.in_directory(Path("/tmp/x")).store()
    assert store.startswith("file:///tmp/x?")
    assert sorted(store.partition("?")[2].split("&")) == [
        "compression-level=3",
        "compression=xz",
        "parallel-compression=true",
        "priority=20",
    ]
    assert cache.nix_cannot


def test_with_a_certificate_the_task_sends_itself_what_goes_over_tls() -> None:
    certificate = Certificate("/cert.pem", "/key.pem")
    for address, itself in (
        ("https://cache.example.org", True),
        ("http://127.0.0.1:1", False),
        ("/srv/cache", False),
        ("file:///srv/cache", False),
    ):
        cache = Cache(address, public_address(address), None, (), certificate=certificate)
        assert cache.nix_cannot is itself, address


def test_a_path_that_the_cache_lacks_is_no_description(scene: Scene) -> None:
    sender = Sender(scene.files, timeout=None, on_tick=lambda: None)
    assert sender.descriptions([store_path("absent")]) == {}
    assert sender.seconds_left is None
