# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Nix files bind, read without Nix."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.bindings import (
    Binding,
    Unreadable,
    bindings_of,
)

REPOSITORY = Path(__file__).parents[5]


def shown(text: str) -> list[str]:
    """Each binding as ``line: path``, with ``?`` for a name that is computed."""
    return [
        f"{each.line}: {'.'.join('?' if name is None else name for name in each.path)}"
        for each in bindings_of(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ a.b = 1;\n c = { d = 2; }; }", ["1: a.b", "2: c", "2: c.d"]),
        # Functions, their arguments and what they call.
        ("{ lib, a ? 1, ... }@all: { x = f { y = 1; } (z: { y = z; }); }", ["1: x", "1: x.y", "1: x.y"]),
        # `let` and `with` have semicolons of their own, and `inherit` binds.
        ("let a = with b; { c = 1; }; in { inherit a; inherit (d) e f; }", [
            "1: a", "1: a.c", "1: a", "1: e", "1: f",
        ]),
        ("{ a = assert b; let c = 1; in c; d = 2; }", ["1: a", "1: a.c", "1: d"]),
        ("{ a = [ { b = 1; } ({ ... }: { b = 2; }) ]; }", ["1: a", "1: a.b", "1: a.b"]),
        # Comparisons, comments, strings and paths bind nothing.
        ("{ a = b == c; # d = 1;\n /* e = 2;\n */ f = \"g = 3; ${h \"}\" { i = 4; }}\"; }", ["1: a", "3: f"]),
        ("{ a = ''\n b = 1; ''' ''${ $${ ''\\n ${c { d = 2; }} '';\n e = ./f/g.nix; }", ["1: a", "3: e"]),
        ('{ a = "\\"; b = 1; \\${"; c = <nixpkgs/nixos>; d = x // y; }', ["1: a", "1: c", "1: d"]),
        ('{ "a.b".c = 1; ${d}.e = 2; "f${g}" = 3; }', ["1: a.b.c", "1: ?.e", "1: ?"]),
        ("rec { a = 1; }", ["1: a"]),
        ("3", []),
        ("", []),
    ],
)  # fmt: skip
def test_bindings(text: str, expected: list[str]) -> None:
    assert shown(text) == expected


def test_plain_values_are_known() -> None:
    text = '{ a = "x"; b = 22; c = true; d = x; e = "${x}"; f = -1; g = "a" + "b"; h.i = null; }'
    literals = {each.path[-1]: each.literal for each in bindings_of(text)}
    assert literals == {
        "a": '"x"', "b": "22", "c": "true", "d": None, "e": None, "f": None, "g": None, "i": "null",
    }  # fmt: skip


def test_what_cannot_be_seen() -> None:
    text = "{ a = import ./a.nix; b = ./b.nix; c = [ ./c.nix ]; d = f { x = 1; }; e = 1; g = [ (import ./g.nix) ]; }"
    assert [each.path[-1] for each in bindings_of(text) if each.computed] == ["a", "g"]


def test_what_stands_in_a_place_and_what_around_it() -> None:
    assert bindings_of("{ a.b = { c.d = 1; }; }")[1] == Binding(("a", "b", "c", "d"), 2, 1, "1", within=2)


@pytest.mark.parametrize("text", ["{ a = 1;", "{ a = (1; }", '{ a = "x', "{ a = ''x", "in", '"${x'])
def test_what_is_no_nix(text: str) -> None:
    with pytest.raises(Unreadable):
        bindings_of(text)


@given(st.text(alphabet="{}()[]=;.\"'$\\/ #*a1\n"))
def test_any_text_ends(text: str) -> None:
    try:
        bindings_of(text)
    except Unreadable:
        return


def test_the_nix_files_of_this_repository_are_understood() -> None:
    files = [*REPOSITORY.glob("plugins/**/*.nix"), *REPOSITORY.glob("tests/fixtures/**/*.nix")]
    assert len(files) > 30
    for file in files:
        bindings_of(file.read_text(encoding="utf-8"))
