# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pointers are written, in which order, and what an interrupted publish leaves. Nix only copies here."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cache_server import CacheServer, serving
from handmade_cache import HandmadeCache, SigningKey, store_path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    read_pointer_key,
    sign_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.narinfo import parse_narinfo
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish import task as task_module
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.cache import Cache, public_address
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.place import (
    Place,
    history_name,
    open_place,
    pointer_name,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.pointers import Channel
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.task import (
    Published,
    PublishRequest,
    publish,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.waves import reverts_of

KEY = SigningKey("cache-1")
DAY = 86400


class Screen:
    verbosity = 0
    columns = 80

    def display(self, msg: str, **_options: bool) -> None:
        """Show nothing."""


@dataclass
class CopyingNix:
    """`nix copy` puts the closure into the cache that was made by hand; `nix store sign` signs what a directory has."""

    cache: HandmadeCache
    calls: list[list[str]] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    """What is not copied, since Nix remembers that the cache has it."""
    absent: list[str] = field(default_factory=list)
    """What is not in the store of this machine."""

    def run(self, arguments: Sequence[str], **_options: Any) -> SimpleNamespace:
        self.calls.append(list(arguments))
        paths = [path for path in arguments if path.startswith("/nix/store/")]
        return SimpleNamespace(stdout=self.answer(list(arguments), paths))

    def answer(self, arguments: list[str], paths: list[str]) -> str:
        if "--check-validity" in arguments:
            return "\n".join(path for path in paths if path in self.absent)
        if "--requisites" in arguments:
            return "\n".join(paths)
        if "--dump-db" in arguments:
            return "".join(self.cache.registrations[path] for path in paths)
        if arguments[1] == "store":
            directory = Path(arguments[arguments.index("--store") + 1].removeprefix("file://"))
            for path in paths:
                file = directory / self.cache.description(path).name
                info = parse_narinfo(file.read_text())
                file.write_text(f"{file.read_text()}Sig: {KEY.sign(info.fingerprint.decode())}\n")
            return ""
        for path in paths:
            remembered = path in self.lacking and "--refresh" not in arguments
            if not remembered and not self.cache.description(path).exists():
                self.cache.add(path[44:])
        return ""


class Scene:
    def __init__(
        self, directory: Path, place: Place, server: CacheServer, keys: Mapping[str, SshKey]
    ) -> None:
        self.place = place
        self.keys = keys
        self.directory = directory
        self.nix = CopyingNix(HandmadeCache(server.directory / "cache", KEY))
        cache = Cache(f"{server.url}/cache", f"{server.url}/cache", None, (KEY.public,))
        key = keys["publisher"]
        channel = Channel(place, "stable", key, (key.public,), lifetime=14 * DAY, keep=3)
        self.request = PublishRequest({}, cache, channel)

    def publish(self, toplevels: Mapping[str, str], **options: Any) -> Published:
        names = {host: store_path(name) if name else "" for host, name in toplevels.items()}
        request = replace(self.request, toplevels=names, **options)
        progress = Progress(Screen(), prefix="test", muted=True)
        return publish(request, nix=self.nix, progress=progress)  # type: ignore[arg-type]

    def pointer(self, host: str = "web1") -> Pointer | None:
        return self.request.channel.current(host)

    def index(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.place.read("stable/index.json") or b"{}")
        return found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SshKey]:
    found = {}
    for name in ("publisher", "other"):
        file = tmp_path_factory.mktemp("keys") / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        found[name] = read_pointer_key(str(file))
    return found


@pytest.fixture(params=["directory", "http"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, keys: dict[str, SshKey]) -> Iterator[Scene]:
    with serving(tmp_path / "served") as server:
        address = str(tmp_path / "pointers") if request.param == "directory" else f"{server.url}/pointers"
        yield Scene(tmp_path, open_place(address), server, keys)


def test_a_first_and_a_second_publish(scene: Scene) -> None:
    before = int(time.time())
    first = scene.publish({"web1": "a", "web2": "b"})
    assert first.written == ["web1", "web2"]
    pointer = scene.pointer()
    assert pointer is not None
    assert pointer.toplevel == store_path("a")
    assert before <= pointer.serial == pointer.issued <= time.time()
    assert pointer.expires == pointer.issued + 14 * DAY
    assert scene.index()["hosts"]["web2"]["toplevel"] == store_path("b")
    second = scene.publish({"web1": "a", "web2": "b"})
    assert (second.written, scene.pointer()) == ([], pointer)
    assert second.facts()["changed"] is False


def test_only_what_changes_gets_a_new_serial(scene: Scene) -> None:
    scene.publish({"web1": "a", "web2": "b"})
    old = {host: scene.pointer(host) for host in ("web1", "web2")}
    published = scene.publish({"web1": "c", "web2": "b"})
    assert published.written == ["web1"]
    new = scene.pointer()
    assert new is not None
    assert old["web1"] is not None
    assert new.serial > old["web1"].serial
    assert scene.pointer("web2") == old["web2"]
    facts = published.facts()
    assert facts["published"]["web1"]["previous_toplevel"] == store_path("a")
    assert facts["serial"] == new.serial
    assert published.diff()["before"] == f"web1 {store_path('a')}\n"


def test_other_hosts_stay_in_the_index(scene: Scene) -> None:
    scene.publish({"web1": "a"})
    scene.publish({"web2": "b"})
    assert set(scene.index()["hosts"]) == {"web1", "web2"}


def test_serials_grow_although_a_clock_was_wrong(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(task_module.time, "time", lambda: now + 900 * DAY)
    scene.publish({"web1": "a"})
    late = scene.pointer()
    monkeypatch.setattr(task_module.time, "time", lambda: now)
    scene.publish({"web1": "b", "web2": "b"})
    pointers = [scene.pointer(host) for host in ("web1", "web2")]
    assert late is not None
    assert [pointer.serial for pointer in pointers if pointer] == [late.serial + 1] * 2


def test_a_pointer_is_renewed_in_the_second_half_of_its_life(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    scene.publish({"web1": "a"})
    for days, written in ((6, []), (8, ["web1"]), (9, []), (40, ["web1"])):
        monkeypatch.setattr(task_module.time, "time", lambda days=days: now + days * DAY)
        assert scene.publish({"web1": "a"}).written == written, days
    assert scene.publish({"web1": "a"}, renew=True).written == ["web1"]


def test_a_dry_run_says_the_same_and_writes_nothing(scene: Scene) -> None:
    expected = scene.publish({"web1": "a"}, dry_run=True)
    assert (expected.written, scene.pointer(), scene.index(), scene.nix.calls) == (["web1"], None, {}, [])
    assert scene.publish({"web1": "a"}).written == expected.written
    assert scene.publish({"web1": "a"}, dry_run=True).written == []


def test_no_pointer_precedes_its_closure(scene: Scene) -> None:
    """The last of the closures is not whole: not even the first host gets its pointer."""
    broken = scene.nix.cache.add("b", [store_path("gone")])
    with pytest.raises(NixferryError, match="absent"):
        scene.publish({"web1": "a", "web2": "b"})
    assert (scene.pointer("web1"), scene.pointer("web2"), scene.index()) == (None, None, {})
    assert broken == store_path("b")
    scene.nix.cache.add("gone")
    assert scene.publish({"web1": "a", "web2": "b"}).written == ["web1", "web2"]


def test_nix_that_remembers_a_cleaned_cache_asks_again(scene: Scene) -> None:
    scene.nix.lacking = [store_path("a")]
    scene.publish({"web1": "a"})
    assert ["--refresh" in call for call in scene.nix.calls] == [False, True]


def test_what_another_key_signed_is_signed_again(scene: Scene, tmp_path: Path) -> None:
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import SigningKey as NixKey

    scene.nix.cache.add("a", key=SigningKey("old-1"))
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        scene.publish({"web1": "a"})
    cache = replace(scene.request.cache, key=NixKey(str(tmp_path / "key"), "cache-1", KEY.public))
    # Without the path in the store of this machine there is nothing to compare it with.
    scene.nix.absent = [store_path("a")]
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        scene.publish({"web1": "a"}, cache=cache)
    scene.nix.absent = []
    scene.publish({"web1": "a"}, cache=cache)
    assert scene.pointer() is not None
    text = scene.nix.cache.description(store_path("a")).read_text()
    assert len(parse_narinfo(text).signatures) == 2
    assert not any(f"file://{scene.directory}" in word for call in scene.nix.calls for word in call)


@pytest.mark.parametrize("line", ["NarHash", "NarSize", "References"])
def test_what_an_attacker_has_put_into_the_cache_is_not_signed(
    scene: Scene, tmp_path: Path, line: str
) -> None:
    """Who can write to the web server, but has no key, describes a path before or after it is published."""
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import SigningKey as NixKey

    scene.nix.cache.add("a")
    scene.nix.cache.add("evil")
    file = scene.nix.cache.description(store_path("a"))
    values = {"NarHash": f"sha256:{'0' * 52}", "NarSize": "5000", "References": store_path("evil")[11:]}
    forged = "".join(
        f"{line}: {values[line]}\n" if each.startswith(line) else f"{each}\n"
        for each in file.read_text().splitlines()
        if not each.startswith("Sig")
    )
    honest = file.read_text()
    cache = replace(scene.request.cache, key=NixKey(str(tmp_path / "key"), "cache-1", KEY.public))
    file.write_text(forged)
    with pytest.raises(NixferryError, match="another content than the store of this machine"):
        scene.publish({"web1": "a"}, cache=cache)
    assert file.read_text() == forged
    assert scene.pointer() is None
    file.write_text(honest)
    assert scene.publish({"web1": "a"}, cache=cache).written == ["web1"]


# --- interrupted ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", range(5))
def test_a_publish_that_ends_at_any_write_is_completed_by_the_next(
    scene: Scene, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.publish({"web1": "a", "web2": "a"})
    old = {host: scene.pointer(host) for host in ("web1", "web2")}
    left = [writes]
    real = scene.place.write

    def write(name: str, content: bytes) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(name, content)

    monkeypatch.setattr(scene.place, "write", write)
    with pytest.raises(KeyboardInterrupt):
        scene.publish({"web1": "b", "web2": "b"})
    # Whatever is there now is valid, and either old or new.
    for host, pointer in old.items():
        found = scene.pointer(host)
        assert found == pointer or (found is not None and found.toplevel == store_path("b"))
    left[0] = 100
    scene.publish({"web1": "b", "web2": "b"})
    serials = {}
    for host in ("web1", "web2"):
        found = scene.pointer(host)
        assert found is not None
        assert found.toplevel == store_path("b")
        serials[host] = found.serial
    assert {host: entry["serial"] for host, entry in scene.index()["hosts"].items()} == serials
    # Also what was interrupted can be gone back from.
    scene.publish({"web1": "", "web2": ""}, to="previous")
    assert {scene.pointer(host).toplevel for host in old} == {store_path("a")}  # type: ignore[union-attr]


# --- back -----------------------------------------------------------------------------------------------------------


def test_back_to_the_previous_system_under_a_new_serial(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.publish({"web1": name})
    before = scene.pointer()
    copies = len(scene.nix.calls)
    published = scene.publish({"web1": ""}, to="previous")
    after = scene.pointer()
    assert before is not None
    assert after is not None
    assert (after.toplevel, published.written) == (store_path("a"), ["web1"])
    assert after.serial > before.serial
    # Nothing was copied: the controller need not have it any more.
    assert len(scene.nix.calls) == copies
    scene.publish({"web1": ""}, to="previous")
    assert scene.pointer().toplevel == store_path("b")  # type: ignore[union-attr]


def test_back_to_a_serial(scene: Scene) -> None:
    scene.publish({"web1": "a"})
    serial = scene.pointer().serial  # type: ignore[union-attr]
    for name in ("b", "c"):
        scene.publish({"web1": name})
    scene.publish({"web1": ""}, to=str(serial))
    assert scene.pointer().toplevel == store_path("a")  # type: ignore[union-attr]


def test_a_renewed_pointer_is_not_a_system_before(scene: Scene) -> None:
    scene.publish({"web1": "a"})
    scene.publish({"web1": "b"})
    scene.publish({"web1": "b"}, renew=True)
    scene.publish({"web1": ""}, to="previous")
    assert scene.pointer().toplevel == store_path("a")  # type: ignore[union-attr]


@pytest.mark.parametrize("to", ["previous", "7"])
def test_without_an_earlier_pointer_there_is_no_way_back(scene: Scene, to: str) -> None:
    scene.publish({"web1": "a"})
    with pytest.raises(NixferryError, match="no pointer to go back to") as raised:
        scene.publish({"web1": ""}, to=to)
    assert str(scene.pointer().serial) in raised.value.remedy  # type: ignore[union-attr]


def test_a_cache_that_has_lost_the_old_system_is_noticed(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.publish({"web1": name})
    scene.nix.cache.description(store_path("a")).unlink()
    before = scene.pointer()
    with pytest.raises(NixferryError, match="absent"):
        scene.publish({"web1": ""}, to="previous")
    assert scene.pointer() == before


def test_a_wave_writes_its_pointers_after_the_closures_of_all(scene: Scene) -> None:
    scene.publish({"web1": "a", "web2": "b"})
    waves = {"only": frozenset({"web1"}), "later": frozenset({"web2"})}
    planned = scene.publish({"web1": "c", "web2": "d"}, dry_run=True, **waves)
    first = scene.publish({"web1": "c", "web2": "d"}, **waves)
    assert first.written == planned.written == ["web1"]
    assert first.facts()["pending"] == planned.facts()["pending"] == ["web2"]
    assert scene.nix.cache.description(store_path("d")).exists()
    unchanged = scene.pointer("web2")
    assert unchanged is not None
    assert unchanged.toplevel == store_path("b")
    assert scene.index()["hosts"]["web2"]["toplevel"] == store_path("b")

    # An earlier wave is not due any more, and nothing waits for the last one, also if all are written anew.
    last = scene.publish({"web1": "c", "web2": "d"}, only=frozenset({"web2"}), renew=True)
    assert (last.written, last.pending) == (["web2"], ())
    # A wave without hosts writes nothing.
    none = scene.publish({"web1": "x"}, only=frozenset(), later=frozenset({"web1"}))
    assert (none.written, none.pending) == ([], ("web1",))


def test_a_wave_is_taken_back_to_what_it_replaced(scene: Scene) -> None:
    scene.publish({"web1": "a", "web2": "b", "web3": "z"})
    published = scene.publish({"web1": "c", "web2": "b", "web3": "y"})
    # Another publisher has moved web3 on.
    scene.publish({"web3": "w"})
    copies = len(scene.nix.calls)
    reverts, left = reverts_of(published.facts()["published"])
    assert (sorted(reverts), list(left)) == (["web1", "web3"], ["web2"])
    taken = scene.publish(dict.fromkeys(reverts, ""), reverts=reverts)
    assert taken.written == ["web1"]
    assert len(scene.nix.calls) == copies
    now = {host: scene.pointer(host) for host in ("web1", "web2", "web3")}
    assert [pointer and pointer.toplevel for pointer in now.values()] == [
        store_path("a"),
        store_path("b"),
        store_path("w"),
    ]
    assert now["web1"] is not None
    assert now["web1"].serial > published.after["web1"].serial
    # Nothing to take back is not a mistake.
    assert scene.publish({}, reverts={}).written == []


def test_what_is_not_kept_cannot_be_taken_back_to(scene: Scene) -> None:
    for name in ("a", "b"):
        published = scene.publish({"web1": name})
    reverts, _left = reverts_of(published.facts()["published"])
    gone = {"web1": replace(reverts["web1"], previous=reverts["web1"].previous - 1)}
    with pytest.raises(NixferryError, match="not kept any more"):
        scene.publish({"web1": ""}, reverts=gone)


def test_the_history_has_an_end(scene: Scene) -> None:
    for name in "abcde":
        scene.publish({"web1": name})
    history = scene.index()["hosts"]["web1"]["history"]
    assert len(history) == 3
    assert all(scene.request.channel.kept("web1", serial) for serial in history)


# --- what attackers and other publishers wrote -----------------------------------------------------------------------


def forged(scene: Scene, pointer: Pointer, key: str) -> bytes:
    return sign_pointer(pointer, scene.keys[key])


def test_a_pointer_that_the_publisher_did_not_sign_stops_it(scene: Scene) -> None:
    """It is no floor for the next serial: someone else wrote it, and the true serial may be above it."""
    scene.publish({"web1": "a"})
    fake = Pointer("web1", "stable", 1, 1, 2, store_path("x"))
    scene.place.write(pointer_name("stable", "web1"), forged(scene, fake, "other"))
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        scene.publish({"web1": "b"})


def test_a_replaced_key_is_trusted_by_name(scene: Scene) -> None:
    scene.publish({"web1": "a"})
    new = scene.keys["other"]
    channel = replace(scene.request.channel, key=new, keys=(new.public,))
    with pytest.raises(NixferryError, match="not signed by a trusted key"):
        scene.publish({"web1": "b"}, channel=channel)
    both = replace(channel, keys=(new.public, scene.keys["publisher"].public))
    scene.publish({"web1": "b"}, channel=both)
    assert channel.current("web1") is not None


def test_a_foreign_pointer_in_the_history_is_not_gone_back_to(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.publish({"web1": name})
    first = scene.index()["hosts"]["web1"]["history"][-1]
    for other in (
        forged(scene, Pointer("web1", "stable", first, 1, 2, store_path("x")), "other"),
        # Signed by the publisher, but for another host, or under another serial.
        forged(scene, Pointer("web2", "stable", first, 1, 2, store_path("x")), "publisher"),
        forged(scene, Pointer("web1", "stable", first - 1, 1, 2, store_path("x")), "publisher"),
    ):
        scene.place.write(history_name("stable", "web1", first), other)
        with pytest.raises(NixferryError):
            scene.publish({"web1": ""}, to="previous")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"hosts": []}',
        b'{"hosts": {"web1": []}}',
        b'{"hosts": {"web1": {"history": ["x", -1, {}]}}}',
    ],
)
def test_an_index_that_is_not_one_is_written_anew(scene: Scene, content: bytes) -> None:
    scene.publish({"web1": "a"})
    scene.place.write("stable/index.json", content)
    scene.publish({"web1": "a"})
    pointer = scene.pointer()
    assert pointer is not None
    assert scene.index()["hosts"]["web1"]["history"] == [pointer.serial]


@pytest.mark.parametrize("name", ["../web1", "a/b", ".hidden", "-x", "", "a b", "a\nb", "ü"])
def test_a_name_that_leaves_its_place_is_refused(scene: Scene, name: str) -> None:
    with pytest.raises(NixferryError, match="not a valid name of a host"):
        scene.publish({name: "a"})
    with pytest.raises(NixferryError, match="not a valid name of a channel"):
        scene.publish({"web1": "a"}, channel=replace(scene.request.channel, name=name))


# --- addresses ------------------------------------------------------------------------------------------------------


def test_the_address_for_nix() -> None:
    from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import SigningKey as NixKey

    key = NixKey("/keys/a key", "cache-1", KEY.public)
    cache = Cache("/srv/cache", "", key, ())
    assert cache.store() == (
        "file:///srv/cache?compression=zstd&parallel-compression=true&secret-key=/keys/a%20key"
    )
    given = Cache("https://c.example.org/x?compression=br&priority=30", "", None, (), compression="none")
    assert given.store() == "https://c.example.org/x?compression=br&priority=30"
    assert public_address(given.address) == "https://c.example.org/x"
    assert public_address("/srv/cache") == "file:///srv/cache"
    for directory in ("/srv/a cache", "file:///srv/a%20cache", "/srv/cache#1"):
        with pytest.raises(NixferryError, match="not every Nix reads"):
            Cache(directory, "", None, ()).store()
    for address in ("ssh://host", "daemon", "srv/cache"):
        with pytest.raises(NixferryError, match="not a kind of binary cache"):
            Cache(address, "", None, ()).store()
