# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A closure in a cache is whole only if every path of it has a signed description and its content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cache_server import CacheServer, serving
from handmade_cache import HandmadeCache, SigningKey, store_path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.cache import (
    Cache,
    refuse_wrong,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.closure import (
    FAULTS_KEPT,
    Checked,
    Fault,
    blame_proxy,
    check_closures,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.web import Web

KEY = SigningKey("cache-1")
OTHER = SigningKey("other-1")


class Scene:
    """A system with two dependencies, one of which the other one needs, in a cache that is served."""

    def __init__(self, server: CacheServer) -> None:
        self.server = server
        self.cache = HandmadeCache(server.directory / "cache", KEY)
        self.deep = self.cache.add("deep")
        self.middle = self.cache.add("middle", [self.deep])
        self.top = self.cache.add("top", sorted([self.middle, self.deep]))

    def check(self, *roots: str, keys: tuple[str, ...] = (KEY.public,)) -> Checked:
        return check_closures(Web(f"{self.server.url}/cache"), roots or [self.top], keys=keys)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with serving(tmp_path) as server:
        yield Scene(server)


def test_a_whole_closure(scene: Scene) -> None:
    checked = scene.check()
    assert set(checked.found) == {scene.top, scene.middle, scene.deep}
    assert checked.wrong == ()
    assert checked.download_size == sum(
        scene.cache.content(path).stat().st_size for path in (scene.top, scene.middle, scene.deep)
    )
    # Each path is asked for once, though two refer to it.
    asked = [request for request in scene.server.requests if request.startswith("GET")]
    assert len(asked) == len(set(asked)) == 3


def test_a_directory_is_read_without_a_server(scene: Scene) -> None:
    checked = check_closures(Web(f"file://{scene.cache.directory}"), [scene.top], keys=[KEY.public])
    assert len(checked.found) == 3


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def replace(old: str, new: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda scene: scene.cache.description(scene.deep).unlink(), Fault.ABSENT),
        (lambda scene: scene.cache.content(scene.deep).unlink(), Fault.NO_CONTENT),
        (lambda scene: cut(scene.cache.content(scene.deep)), Fault.TRUNCATED),
        (
            lambda scene: replace("NarSize: 4096", "NarSize: 4097")(scene.cache.description(scene.deep)),
            Fault.UNSIGNED,
        ),
        (lambda scene: scene.cache.add("deep", key=OTHER), Fault.UNSIGNED),
        (lambda scene: scene.cache.description(scene.deep).write_text("<html>"), Fault.NOT_A_NARINFO),
        (lambda scene: scene.cache.description(scene.deep).write_bytes(b"\xff\xfe"), Fault.NOT_A_NARINFO),
        (
            lambda scene: scene.cache.description(scene.deep).write_bytes(
                scene.cache.description(scene.middle).read_bytes()
            ),
            Fault.OTHER_PATH,
        ),
        (lambda scene: scene.server.faults.update({scene.deep[11:43]: 403}), Fault.FORBIDDEN),
        (lambda scene: scene.server.faults.update({scene.deep[11:43]: 401}), Fault.FORBIDDEN),
        (lambda scene: scene.server.faults.update({scene.deep[11:43]: 503}), Fault.UNREACHABLE),
        (lambda scene: scene.server.faults.update({"/nar/": 403}), Fault.FORBIDDEN),
    ],
)
def test_what_a_host_would_not_get_is_told_apart(
    scene: Scene, change: Callable[[Scene], object], fault: Fault
) -> None:
    change(scene)
    checked = scene.check()
    assert fault in {each.fault for each in checked.wrong}
    cache = Cache("/cache", scene.server.url, None, (KEY.public,))
    with pytest.raises(NixferryError, match=str(fault)) as raised:
        refuse_wrong(cache, checked)
    assert "No pointer was written." in raised.value.remedy
    assert len(raised.value.text("host").splitlines()) <= 5


@pytest.mark.parametrize(("at_origin", "fault"), [(True, Fault.STALE), (False, Fault.ABSENT)])
def test_a_proxy_is_blamed_only_for_what_its_origin_has(
    scene: Scene, tmp_path: Path, at_origin: bool, fault: Fault
) -> None:
    """The path alone is asked for there: what it refers to has a verdict of its own."""
    if not at_origin:
        scene.cache.description(scene.top).unlink()
    with serving(tmp_path) as proxy:
        proxy.faults[scene.top[11:43]] = 404
        (wrong,) = check_closures(Web(f"{proxy.url}/cache"), [scene.top], keys=[KEY.public]).wrong
    judged = blame_proxy(wrong, Web(f"{scene.server.url}/cache"), [KEY.public], contents=True)
    assert (judged.path, judged.fault) == (scene.top, fault)
    assert not [request for request in scene.server.requests if scene.deep[11:43] in request]


def test_a_server_that_is_not_there(scene: Scene) -> None:
    web = Web("http://127.0.0.1:9")
    checked = check_closures(web, [scene.top], keys=[])
    assert [each.fault for each in checked.wrong] == [Fault.UNREACHABLE]
    assert "refused" in checked.wrong[0].told


def test_without_keys_signatures_are_not_looked_at(scene: Scene) -> None:
    scene.cache.add("deep", key=OTHER)
    assert scene.check(keys=()).wrong == ()
    assert scene.check(keys=(KEY.public, OTHER.public)).wrong == ()


def test_descriptions_that_refer_to_one_another_end(scene: Scene) -> None:
    one, other = store_path("one"), store_path("other")
    scene.cache.add("one", [other])
    scene.cache.add("other", [one])
    assert set(scene.check(one).found) == {one, other}


def test_a_cache_without_anything_is_left_soon(scene: Scene) -> None:
    many = [store_path(f"absent-{number}") for number in range(500)]
    checked = scene.check(*many)
    assert FAULTS_KEPT <= len(checked.wrong) < 200
    assert len(scene.server.requests) < 200


def test_a_thousand_paths(scene: Scene) -> None:
    """A chain and a fan, so that neither depth nor width has a limit."""
    last = scene.deep
    for number in range(200):
        last = scene.cache.add(f"chain-{number}", [last])
    fan = [scene.cache.add(f"fan-{number}") for number in range(800)]
    top = scene.cache.add("wide", sorted([last, *fan]))
    checked = check_closures(Web(f"file://{scene.cache.directory}"), [top], keys=[KEY.public])
    assert (len(checked.found), checked.wrong) == (1002, ())
