# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files behind addresses, and the places of pointers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_server import CacheServer, serving

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish import place as place_module
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.place import (
    DirectoryPlace,
    HttpPlace,
    Place,
    open_place,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.web import Web


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CacheServer]:
    with serving(tmp_path / "served") as kept:
        yield kept


@pytest.fixture(params=["directory", "file", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: CacheServer) -> Place:
    directory = tmp_path / "a place"
    addresses = {"directory": str(directory), "file": f"file://{directory}", "http": f"{server.url}/p"}
    return open_place(addresses[request.param])


def test_a_place_keeps_files(place: Place) -> None:
    assert place.read("stable/hosts/web1") is None
    place.write("stable/hosts/web1", b"one")
    place.write("stable/hosts/web1", b"two")
    assert place.read("stable/hosts/web1") == b"two"
    with place.locked("stable", waiting=lambda: pytest.fail("no other publisher")):
        place.write("stable/index.json", b"{}")
    place.forget("stable/hosts/web2")


def test_a_web_server_may_read_what_is_in_a_directory(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        DirectoryPlace(str(tmp_path / "p")).write("stable/hosts/web1", b"one")
    finally:
        os.umask(old)
    file = tmp_path / "p/stable/hosts/web1"
    assert file.stat().st_mode & 0o777 == 0o644
    for directory in (tmp_path / "p", tmp_path / "p/stable", tmp_path / "p/stable/hosts"):
        assert directory.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in file.parent.iterdir()] == ["web1"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """A client that reads all the while gets the old or the new content."""
    place = DirectoryPlace(str(tmp_path))
    contents = [bytes([letter]) * 100_000 for letter in b"ab"]
    place.write("file", contents[0])
    seen: set[bytes | None] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(place.read("file"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(100):
            place.write("file", contents[number % 2])
    finally:
        done.set()
        reader.join()
    assert seen <= set(contents)


def test_a_directory_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "stable").write_text("a file in the way")
    with pytest.raises(NixferryError, match="stable") as raised:
        DirectoryPlace(str(tmp_path)).write("stable/hosts/web1", b"one")
    assert "owner of the directory" in raised.value.remedy


def test_a_second_publisher_waits_and_then_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "LOCK_SECONDS", 0.3)
    place = DirectoryPlace(str(tmp_path))
    waited: list[str] = []
    with (
        place.locked("stable", waiting=lambda: pytest.fail("no other publisher")),
        place.locked("other", waiting=lambda: pytest.fail("another channel")),
        pytest.raises(NixferryError, match="lock timeout"),
        place.locked("stable", waiting=lambda: waited.append("once")),
    ):
        pytest.fail("two publishers at once")
    assert waited == ["once"]
    with place.locked("stable", waiting=lambda: pytest.fail("the lock was left")):
        pass


def test_a_server_without_put(server: CacheServer) -> None:
    server.takes_put = False
    with pytest.raises(NixferryError, match="405") as raised:
        HttpPlace(Web(server.url)).write("stable/hosts/web1", b"one")
    assert "PUT" in raised.value.remedy


def test_an_answer_of_an_old_proxy_is_noticed(server: CacheServer) -> None:
    server.stale["/stable/hosts/web1"] = b"old"
    with pytest.raises(NixferryError, match="another content") as raised:
        HttpPlace(Web(server.url)).write("stable/hosts/web1", b"new")
    assert "cache in front of the server" in raised.value.remedy


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_only_absent_means_that_there_is_no_pointer(server: CacheServer, status: int) -> None:
    """A server in trouble must not make a publisher begin again with serial numbers."""
    server.faults["/stable/"] = status
    with pytest.raises(NixferryError, match=str(status)):
        HttpPlace(Web(server.url)).read("stable/hosts/web1")


def test_a_login_comes_from_a_netrc_file(server: CacheServer, tmp_path: Path) -> None:
    server.login = "ci:canary"
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1\nlogin ci\npassword canary\n")
    place = open_place(server.url, netrc_file=str(netrc))
    place.write("stable/hosts/web1", b"one")
    assert place.read("stable/hosts/web1") == b"one"
    netrc.write_text("machine 127.0.0.1\nlogin ci\npassword canary-wrong\n")
    with pytest.raises(NixferryError, match="401") as raised:
        open_place(server.url, netrc_file=str(netrc)).read("stable/hosts/web1")
    assert "netrc_file" in raised.value.remedy
    netrc.write_text("machine other.example.org login ci password canary\n")
    with pytest.raises(NixferryError, match="401"):
        open_place(server.url, netrc_file=str(netrc)).read("stable/hosts/web1")
    netrc.write_text("password canary login\n")
    with pytest.raises(NixferryError, match="not a valid netrc file") as raised:
        open_place(server.url, netrc_file=str(netrc))
    assert "canary" not in str(raised.value)


def test_a_login_does_not_follow_to_another_server(server: CacheServer, tmp_path: Path) -> None:
    """A cache may redirect to an object store, which must not learn the password."""
    import http.server

    seen: list[str | None] = []

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(302)
            self.send_header("Location", f"{server.url}/file")
            self.end_headers()

        def log_message(self, format: str, *_arguments: object) -> None:
            """Print nothing."""

    server.directory.mkdir(parents=True, exist_ok=True)
    (server.directory / "file").write_text("content")
    # Absent without a login, present with one: the target says what it got.
    server.login = "ci:canary"
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost\nlogin ci\npassword canary\n")
    redirecting = http.server.HTTPServer(("127.0.0.1", 0), Redirect)
    thread = threading.Thread(target=redirecting.handle_request)
    thread.start()
    try:
        web = Web(f"http://localhost:{redirecting.server_address[1]}", netrc_file=str(netrc))
        answer = web.get("x", limit=100)
    finally:
        thread.join()
        redirecting.server_close()
    assert seen[0] is not None
    assert answer.status == 401


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://example.org", "not an address that can be read"),
        ("cache.example.org", "not an address that can be read"),
        ("https:///path", "not an address that can be read"),
        ("https://user:canary@example.org", "contains a password"),
        ("ssh://user:canary@example.org", "not an address that can be read"),
    ],
)
def test_an_address_is_checked_and_a_password_in_it_not_repeated(address: str, words: str) -> None:
    with pytest.raises(NixferryError, match=words) as raised:
        Web(address)
    assert "canary" not in f"{raised.value}{raised.value.remedy}"


def test_a_long_file_is_cut(server: CacheServer) -> None:
    server.directory.mkdir(parents=True, exist_ok=True)
    (server.directory / "long").write_bytes(b"x" * 5000)
    assert len(Web(server.url).get("long", limit=100).body) == 101
    assert len(Web(f"file://{server.directory}").get("long", limit=100).body) == 101
    assert Web(server.url).head("long").size == 5000
