# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader of a request sees, and which revisions are too young."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import diff_closures
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.changes import MAX_ROWS, markdown
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pins.pins import Pin, too_young

DAY = 86400
NOW = 100 * DAY


def path(name: str) -> str:
    return f"/nix/store/{'a' * 32}-{name}"


def pin(**changes: Any) -> dict[str, Any]:
    return {
        "name": "nixpkgs",
        "changed": True,
        "old": {"revision": "1" * 40, "time": 1},
        "new": {"revision": "2" * 40, "time": DAY},
        **changes,
    }


def test_hosts_with_the_same_difference_share_a_table() -> None:
    diff = diff_closures({path("zlib-1.2"): 1024}, {path("zlib-1.3"): 2048})
    same = diff_closures({path("a-1"): 1}, {path("a-1"): 1})
    text = markdown(
        [pin(), pin(name="kept", changed=False)],
        {"web2": diff, "web1": diff, "db": same, "mail": same},
        changed=["web1", "web2", "mail"],
        unknown=["new"],
    )
    assert "| nixpkgs | 111111111111 | 222222222222 | 1970-01-02 |" in text
    assert "kept" not in text
    assert text.count("| zlib | 1.2 | 1.3 | +1.0 KiB |") == 1
    sections = [line for line in text.splitlines() if line.startswith("### ")]
    assert sections == ["### db", "### mail", "### web1, web2", "### new"]
    assert "The system stays as it is." in text.partition("### mail")[0]
    assert "another one" in text.partition("### mail")[2].partition("### web1")[0]


def test_a_long_difference_is_cut() -> None:
    old = {path(f"package{number}-1"): 1 for number in range(MAX_ROWS + 50)}
    new = {path(f"package{number}-2"): 1 for number in range(MAX_ROWS + 50)}
    diffs = {"web1": diff_closures(old, new), "web2": diff_closures(old, {**new, path("x-1"): 1})}
    text = markdown([], diffs, changed=list(diffs), unknown=())
    assert text.count("| package") == MAX_ROWS + 1
    assert "50 more are not shown." in text
    assert f"{MAX_ROWS + 51} more are not shown." in text
    assert len(text) < 65536


@pytest.mark.parametrize("name", ["a|b", "x\n## y", "![p](http://x)", "@team `rm`", "<img src=x>", "#12"])
def test_what_a_lock_file_says_is_text_only(name: str) -> None:
    text = markdown([pin(name=name, new={"revision": name, "time": None})], {}, changed=(), unknown=[name])
    for mark in ("|b", "\n## ", "![", "[p]", "@", "`", "<", "#1"):
        assert mark not in text.replace("### ", ""), text


def state(**times: int | None) -> dict[str, Pin]:
    return {
        name.replace("__", "/"): Pin(name, "github", revision=str(time), time=time)
        for name, time in times.items()
    }


def test_an_input_with_a_young_revision_is_held() -> None:
    old = state(mature=1, young=1, outer=1, outer__inner=1, same=NOW, unknown=1)
    new = state(mature=NOW - 3 * DAY, young=NOW - DAY, outer=2, outer__inner=NOW - 1, same=NOW, unknown=None)
    held = too_young(old, new, 2 * DAY, now=NOW)
    assert sorted(held) == ["outer", "unknown", "young"]
    assert "24 hours" in held["young"]
    assert "outer/inner" in held["outer"]
    # A clock that is behind makes nothing old.
    assert list(too_young({}, state(future=NOW + DAY), 1, now=NOW)) == ["future"]
    assert too_young(old, new, 0, now=NOW) == {}
