# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.closure_diff import (
    UnitChanges,
    change_text,
    diff_closures,
)


def store_path(letter: str, name: str) -> str:
    return f"/nix/store/{letter * 32}-{name}"


def test_each_kind_of_change_has_its_word() -> None:
    before = {
        store_path("a", "openssh-9.6"): 100,
        store_path("b", "gone-1.0"): 50,
        store_path("c", "same-1.0"): 10,
        store_path("d", "etc"): 5,
    }
    after = {
        store_path("f", "openssh-9.7"): 164,
        store_path("g", "fresh-2.0"): 2048,
        store_path("c", "same-1.0"): 10,
        store_path("h", "etc"): 5,
    }
    diff = diff_closures(before, after)
    assert [(change.name, change.word, change.size_delta) for change in diff.changes] == [
        ("etc", "rebuilt", 0),
        ("fresh", "added", 2048),
        ("gone", "removed", -50),
        ("openssh", "changed", 64),
    ]
    text = diff.text()
    assert "openssh 9.6 -> 9.7 (+64 B)" in text
    assert "fresh 2.0 (+2.0 KiB)" in text
    assert "gone 1.0 (-50 B)" in text
    assert text.splitlines()[-1] == "closure  165 B -> 2.2 KiB (+2.0 KiB)"


def test_units_are_told_by_their_paths() -> None:
    before = [
        "unit-web.service",
        "unit-gone.timer",
        "unit-script-web-start",
        "unit-same.mount",
        "unit.service",
    ]
    after = ["unit-web.service", "unit-getty-.service", "unit-script-web-start", "unit-web.service-disabled"]
    old = {store_path("a", name): 1 for name in before}
    new = {store_path("b", name): 1 for name in after} | {store_path("a", "unit-same.mount"): 1}
    units = {"added": ["getty-.service"], "removed": ["gone.timer"], "changed": ["web.service"]}
    assert diff_closures(old, new).result()["units"] == units
    assert diff_closures(new, new).units == UnitChanges((), (), ())


_PATHS = st.dictionaries(
    st.builds(store_path, st.sampled_from("abcdfghijk"), st.sampled_from(["x-1", "x-2", "y-1", "z"])),
    st.integers(min_value=0, max_value=10**12),
    max_size=12,
)


@given(_PATHS)
def test_a_closure_does_not_differ_from_itself(closure: dict[str, int]) -> None:
    assert diff_closures(closure, closure).changes == ()


@given(_PATHS, _PATHS)
def test_sizes_of_the_changes_add_up_to_the_difference(before: dict[str, int], after: dict[str, int]) -> None:
    after = {path: before.get(path, size) for path, size in after.items()}
    diff = diff_closures(before, after)
    assert sum(change.size_delta for change in diff.changes) == diff.size_after - diff.size_before


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_sizes_stay_short(number_of_bytes: int) -> None:
    assert len(change_text(number_of_bytes)) <= 12
