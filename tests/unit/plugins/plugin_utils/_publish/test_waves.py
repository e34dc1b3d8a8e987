# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host is in which wave, and which hosts a revert concerns."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._publish.waves import (
    Revert,
    reverts_of,
    split_waves,
    wave_of,
)

HOSTS = ["a", "b", "c", "d", "e"]
GROUPS = {"all": [*HOSTS, "f"], "canaries": ["d", "f", "b"], "empty": []}


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([["c"]], [["c"], ["a", "b", "d", "e"]]),
        ([["canaries"], ["b", "e"]], [["b", "d"], ["e"], ["a", "c"]]),
        ([["20%"], ["21%"]], [["a"], ["b", "c"], ["d", "e"]]),
        ([["e", "10%"]], [["a", "e"], ["b", "c", "d"]]),
        ([["1%"]], [["a"], ["b", "c", "d", "e"]]),
        ([["100%"]], [HOSTS, []]),
        # A host of the inventory that is left out of this publish is not a mistake.
        ([["f"], ["empty"]], [[], [], HOSTS]),
        ([], [HOSTS]),
    ],
)
def test_hosts_by_wave(waves: list[list[str]], expected: list[list[str]]) -> None:
    assert split_waves(waves, HOSTS, GROUPS) == expected


@pytest.mark.parametrize("item", ["unknown", "0%", "101%", "1.5%", "", "-1%"])
def test_an_unknown_name_is_refused(item: str) -> None:
    with pytest.raises(NixferryError, match="not a valid name"):
        split_waves([[item]], HOSTS, GROUPS)


def test_one_wave_and_those_after_it() -> None:
    waves = [["a"], ["b", "c"]]
    assert wave_of(None, waves, HOSTS, GROUPS) == (None, frozenset())
    assert wave_of(0, waves, HOSTS, GROUPS) == ({"a"}, {"b", "c", "d", "e"})
    assert wave_of(2, waves, HOSTS, GROUPS) == ({"d", "e"}, frozenset())
    for number in (-1, 3):
        with pytest.raises(NixferryError, match="from 0 to 2"):
            wave_of(number, waves, HOSTS, GROUPS)


def told(**changes: Any) -> dict[str, Any]:
    return {
        "toplevel": "new",
        "serial": 7,
        "changed": True,
        "previous_toplevel": "old",
        "previous_serial": 5,
        **changes,
    }


def test_what_is_reverted() -> None:
    published = {
        "moved": told(),
        "same": told(changed=False),
        "renewed": told(previous_toplevel="new"),
        "first": told(previous_toplevel=None, previous_serial=None),
    }
    reverts, left = reverts_of(published)
    assert reverts == {"moved": Revert(written=7, previous=5)}
    assert list(left) == ["same", "renewed", "first"]


@pytest.mark.parametrize("entry", [None, {}, {"changed": True}, told(serial="x"), told(serial=None)])
def test_what_is_not_a_result_is_refused(entry: Any) -> None:
    with pytest.raises(NixferryError, match="no valid entry for host"):
        reverts_of({"host": entry})
