# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage in a cache is what no pointer needs, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from handmade_cache import HandmadeCache, SigningKey, store_path
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish import place as place_module
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.closure import check_closures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.collect import (
    Garbage,
    find_garbage,
    pointed_to,
    remove,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.place import DirectoryPlace
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.web import Web

KEY = SigningKey("cache-1")
HOUR = 3600.0


def age(directory: Path, seconds: float) -> None:
    """Make all files look older."""
    moment = time.time() - seconds
    for file in directory.rglob("*"):
        os.utime(file, (moment, moment))


@pytest.fixture
def cache(tmp_path: Path) -> HandmadeCache:
    """Two systems that share a dependency, and each have one of their own; all of it is two hours old."""
    cache = HandmadeCache(tmp_path / "cache", KEY)
    (cache.directory / "nix-cache-info").write_text("StoreDir: /nix/store\n")
    shared = cache.add("shared")
    for name in ("old", "new"):
        cache.add(name, sorted([shared, cache.add(f"only-{name}")]))
    age(cache.directory, 2 * HOUR)
    return cache


def collect(cache: HandmadeCache, *roots: str, grace: float = HOUR, ignore_missing: bool = False) -> Garbage:
    garbage = find_garbage(
        cache.directory, map(store_path, roots), grace=grace, ignore_missing=ignore_missing
    )
    remove(garbage)
    return garbage


def is_whole(cache: HandmadeCache, name: str) -> bool:
    return not check_closures(Web(f"file://{cache.directory}"), [store_path(name)], keys=[KEY.public]).wrong


def test_what_no_root_needs_goes(cache: HandmadeCache) -> None:
    listing = cache.description(store_path("old")).with_suffix(".ls")
    listing.write_text("{}")
    garbage = collect(cache, "new")
    assert set(garbage.descriptions) == {store_path("old"), store_path("only-old")}
    assert len(garbage.contents) == 2
    assert garbage.size > 0
    assert garbage.kept_paths == 3
    assert is_whole(cache, "new")
    assert not listing.exists()
    assert not collect(cache, "new").descriptions
    assert sorted(file.name for file in cache.directory.iterdir()) == sorted(
        [
            "nar",
            "nix-cache-info",
            *(cache.description(store_path(name)).name for name in ("new", "shared", "only-new")),
        ]
    )


def test_what_is_young_stays(cache: HandmadeCache) -> None:
    cache.add("just-now")
    garbage = collect(cache, "new")
    assert store_path("just-now") not in garbage.descriptions
    assert is_whole(cache, "just-now")
    # A copy in progress: its content is there before its description.
    (cache.directory / "nar/young.nar.zst").write_text("content")
    collect(cache, "new")
    assert (cache.directory / "nar/young.nar.zst").exists()


def test_a_content_that_two_paths_share_stays(cache: HandmadeCache) -> None:
    """Contents have the names of their hashes."""
    twin = store_path("twin")
    description = cache.description(store_path("only-old")).read_text()
    cache.description(twin).write_text(description.replace(store_path("only-old"), twin))
    age(cache.directory, 2 * HOUR)
    garbage = collect(cache, "new", "twin")
    assert store_path("only-old") in garbage.descriptions
    assert cache.content(twin).exists()


def test_a_cache_that_lacks_a_root_is_not_touched(cache: HandmadeCache) -> None:
    before = sorted(cache.directory.rglob("*"))
    with pytest.raises(NixferryError, match="lacks 1 of the paths") as raised:
        collect(cache, "new", "elsewhere")
    assert store_path("elsewhere") in raised.value.cause
    assert sorted(cache.directory.rglob("*")) == before
    collect(cache, "new", "elsewhere", ignore_missing=True)
    assert not cache.description(store_path("old")).exists()
    cache.description(store_path("shared")).unlink()
    with pytest.raises(NixferryError, match="lacks 1 of the paths"):
        collect(cache, "new")


@pytest.mark.parametrize("content", ["", "<html>", "StorePath: ../../etc\n"])
def test_what_is_not_a_description_stops_it(cache: HandmadeCache, content: str) -> None:
    """What it stands for, and what that needs, is not known."""
    cache.description(store_path("only-new")).write_text(content)
    with pytest.raises(NixferryError, match="not the description of a store path"):
        collect(cache, "new")


def test_a_directory_that_is_not_a_cache_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(NixferryError, match="not the directory of a binary cache"):
        find_garbage(tmp_path, [store_path("new")], grace=0, ignore_missing=True)


@given(
    st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40),
    st.sets(st.integers(0, 14), min_size=1, max_size=4),
)
def test_every_root_stays_whole_and_nothing_else_stays(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[int, int]], roots: set[int]
) -> None:
    cache = HandmadeCache(tmp_path_factory.mktemp("cache"), KEY)
    (cache.directory / "nix-cache-info").write_text("StoreDir: /nix/store\n")
    needs = {number: sorted({to for of, to in edges if of == number and to < number}) for number in range(15)}
    for number in range(15):
        cache.add(str(number), sorted(store_path(str(other)) for other in needs[number]))
    age(cache.directory, 2 * HOUR)
    collect(cache, *map(str, roots))
    kept: set[int] = set()
    waiting = list(roots)
    while waiting:
        number = waiting.pop()
        kept.add(number)
        waiting += [other for other in needs[number] if other not in kept]
    assert {number for number in range(15) if is_whole(cache, str(number))} == kept
    assert len(list(cache.directory.glob("nar/*"))) == len(kept)


# --- roots ----------------------------------------------------------------------------------------------------------


def point(directory: Path, name: str, content: str) -> None:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_all_channels_and_their_histories_are_roots(tmp_path: Path) -> None:
    names = ("stable/hosts/web1", "testing/hosts/web1", "stable/history/web1/7", "stable/history/web2/8")
    for number, name in enumerate(names):
        point(tmp_path, name, f"nixferry-pointer 1\ntoplevel {store_path(str(number))}\n-----BEGIN\n")
    point(tmp_path, "stable/index.json", "{}")
    point(tmp_path, "stable/.lock", "")
    point(tmp_path, "stable/hosts/.web1.1234", "half a fi")
    assert pointed_to(tmp_path) == {store_path(str(number)) for number in range(4)}


@pytest.mark.parametrize("content", ["", "toplevel /etc/passwd\n", "toplevel \n", "x" * 50_000])
def test_a_pointer_that_names_nothing_stops_it(tmp_path: Path, content: str) -> None:
    point(tmp_path, "stable/hosts/web1", content)
    with pytest.raises(NixferryError, match="names no store path"):
        pointed_to(tmp_path)


def test_collection_and_publish_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "LOCK_SECONDS", 0.2)
    place = DirectoryPlace(str(tmp_path))

    def nothing() -> None:
        """Say nothing."""

    with place.locked("stable", waiting=nothing):
        with pytest.raises(NixferryError, match="lock timeout"), place.locked_for_collection(waiting=nothing):
            pytest.fail("a collection beside a publish")
        with place.locked("testing", waiting=nothing):
            pass
    with (
        place.locked_for_collection(waiting=nothing),
        pytest.raises(NixferryError, match="lock timeout"),
        place.locked("stable", waiting=nothing),
    ):
        pytest.fail("a publish beside a collection")
