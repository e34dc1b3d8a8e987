# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nix.conf as text: settings that come and go, and everything else that stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.module_utils._nix import conf
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.conf import ConfError

NAME = "nixferry.conf"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (4, "4"),
        (["a", "b"], "a b"),
        ([], ""),
        ("  https://a https://b ", "https://a https://b"),
    ],
)
def test_values_as_nix_writes_them(value: Any, text: str) -> None:
    assert conf.rendered("max-jobs", value) == text


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Max Jobs", 1, "not a valid name"),
        ("include", "x", "not a valid name"),
        ("cores", "1\nsandbox = false", "cannot hold"),
        ("cores", "1 # one", "cannot hold"),
        ("cores", {"a": 1}, "cannot hold"),
        ("substituters", ["a b"], "white space"),
        ("access-tokens", "github.com=x", "secret"),
        ("extra-access-tokens", "github.com=x", "secret"),
    ],
)
def test_what_nix_would_read_differently_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfError, match=message):
        conf.rendered(name, value)


def test_settings_replace_remove_and_append() -> None:
    text = "# mine\nmax-jobs = 2 # two\ncores=1\n\nmax-jobs = 3\nsandbox = true"
    changed = conf.with_settings(text, {"max-jobs": "4", "cores": None, "keep-outputs": "true"})
    assert changed == "# mine\nmax-jobs = 4\n\nsandbox = true\nkeep-outputs = true\n"
    assert conf.assigned(changed) == {"max-jobs": "4", "sandbox": "true", "keep-outputs": "true"}


def test_a_line_that_says_it_already_stays_as_it_is() -> None:
    text = "  max-jobs=4   # four\n"
    assert conf.with_settings(text, {"max-jobs": "4"}) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "!include nixferry.conf\n"),
        ("max-jobs = 1", "max-jobs = 1\n!include nixferry.conf\n"),
        # Later lines would win.
        (
            "!include nixferry.conf\nmax-jobs = 1\n",
            "max-jobs = 1\n!include nixferry.conf\n",
        ),
        ("max-jobs = 1\n!include nixferry.conf\n# end\n", None),
        ("!include nixferry.conf\n!include other.conf\n", None),
        ("!include nixferry.conf\n!include nixferry.conf\n", "!include nixferry.conf\n"),
    ],
)
def test_the_include_stands_behind_all_settings_once(before: str, after: str | None) -> None:
    assert conf.with_include(before, NAME) == (before if after is None else after)


def test_two_files_are_included_side_by_side() -> None:
    both = conf.with_include(conf.with_include("cores = 1\n", "a.conf"), "b.conf")
    assert conf.with_include(both, "a.conf") == both


lines = st.sampled_from(
    [
        "# a comment; with = signs",
        "max-jobs = 2",
        "extra-trusted-users = alice # she",
        "!include nix.custom.conf",
        "!include nixferry.conf",
        "include nixferry.conf",
        "",
        "   ",
        "cores=1",
    ]
)
texts = st.lists(lines, max_size=8).flatmap(
    lambda rows: st.sampled_from(["\n".join(rows), "".join(f"{row}\n" for row in rows)])
)


@given(texts)
def test_the_include_comes_and_goes_without_a_trace(text: str) -> None:
    added = conf.with_include(text, NAME)
    assert conf.includes(added, NAME)
    assert conf.with_include(added, NAME) == added
    plain = conf.without_include(text, NAME)
    assert conf.without_include(added, NAME) in (plain, plain + "\n")
    assert conf.assigned(added) == conf.assigned(text)


@given(
    texts, st.dictionaries(st.sampled_from(["max-jobs", "cores", "sandbox"]), st.sampled_from(["1", None]))
)
def test_other_lines_stay_whatever_is_set(text: str, wanted: dict[str, str | None]) -> None:
    changed = conf.with_settings(text, wanted)
    stated = {name: value for name, value in wanted.items() if value is not None}
    found = conf.assigned(changed)
    assert {name: found.get(name) for name in wanted} == {**dict.fromkeys(wanted), **stated}
    others = [line for line in text.splitlines() if not line.startswith(tuple(wanted) or ("-",))]
    kept = [line for line in changed.splitlines() if not line.startswith(tuple(wanted) or ("-",))]
    assert [line for line in kept if line != conf.HEADER.strip()] == others
    assert conf.with_settings(changed, wanted) == changed


def test_what_another_line_overrides_is_found() -> None:
    expected = {"max-jobs": "3", "trusted-users": "root alice", "sandbox": "true"}
    wanted = {"max-jobs": "3", "extra-trusted-users": "alice", "sandbox": "true"}
    assert conf.ineffective(wanted, expected, {**expected, "trusted-users": "bob root alice"}, ()) == []
    assert conf.ineffective(wanted, expected, {**expected, "max-jobs": "7"}, ()) == ["max-jobs"]
    assert conf.ineffective(wanted, expected, {**expected, "trusted-users": "root"}, ()) == [
        "extra-trusted-users"
    ]
    more = {**expected, "trusted-users": "root alice eve"}
    assert conf.ineffective({"trusted-users": "root alice"}, expected, more, ()) == ["trusted-users"]
    assert conf.ineffective({"trusted-users": "root alice"}, expected, more, ("trusted-users",)) == []


def test_names_that_nix_does_not_know() -> None:
    text = "warning: unknown setting 'frob'\nwarning: unknown setting 'lazy-trees'\n"
    assert conf.unknown(text) == ["frob", "lazy-trees"]
