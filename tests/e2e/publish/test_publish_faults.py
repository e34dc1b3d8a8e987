# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that lie, publishers that are killed, and secret keys: what a host gets is whole and signed, or refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from background import in_background
from cache_server import serving
from processes import wait_until
from publishing import CACHE_KEY, Client, Publisher

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

# Seconds until a server must have seen the request that a test waits for.
REQUEST_DEADLINE = 60


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
