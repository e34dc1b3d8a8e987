# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_literal, nix_string

ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
# The tokens of Nix's lexer (src/libexpr/lexer.l) for numbers.
FLOAT = re.compile(r"(([1-9][0-9]*\.[0-9]*)|(0?\.[0-9]+))([Ee][+-]?[0-9]+)?")
INTEGER = re.compile(r"[0-9]+")


def read_string(literal: str) -> str:
    """What Nix makes of a string literal, as its lexer does it; an interpolation in it is a failure."""
    assert literal.startswith('"')
    assert literal.endswith('"')
    text, body = "", literal[1:-1]
    position = 0
    while position < len(body):
        character = body[position]
        if character == "\\":
            position += 1
            text += ESCAPES.get(body[position], body[position])
        else:
            assert character != '"', "the string ends early"
            assert not body.startswith("${", position), "an interpolation"
            assert character != "\r", "the lexer makes a newline of it"
            text += character
        position += 1
    return text


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_string_stays_what_it_is(text: str) -> None:
    assert read_string(nix_string(text)) == text


@pytest.mark.parametrize(
    "text", ['${builtins.exec [ "id" ]}', "$${x}", "\\${x}", '"', "''", "\\", "$", "/etc", "a\r\nb"]
)
def test_strings_that_look_like_code_stay_strings(text: str) -> None:
    assert read_string(nix_string(text)) == text


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-5, "(-5)"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "(-9223372036854775807 - 1)"),
        (1.5, "1.5"),
        (1e16, "1.0e16"),
        (-0.25, "(-0.25)"),
        (1e-7, "1.0e-7"),
        ([], "[ ]"),
        ({}, "{ }"),
        ([1, "a", [None]], '[ 1 "a" [ null ] ]'),
        ({"a.b": {"": True}, "or": 1}, '{ "a.b" = { "" = true; }; "or" = 1; }'),
        ((1, 2), "[ 1 2 ]"),
    ],
)
def test_values_become_literals(value: object, literal: str) -> None:
    assert nix_literal(value) == literal


class Tagged(str):
    """Like the subclass of str that Ansible gives to plugins."""


def test_subclasses_are_taken() -> None:
    assert nix_literal({Tagged("name"): Tagged("web")}) == '{ "name" = "web"; }'


@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_floats_are_numbers_that_nix_reads(value: float) -> None:
    literal = nix_literal(value).strip("(-)") if value < 0 or str(value)[0] == "-" else nix_literal(value)
    assert FLOAT.fullmatch(literal)
    assert float(literal) == abs(value)


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_integers_are_numbers_that_nix_reads(value: int) -> None:
    literal = nix_literal(value)
    assert INTEGER.fullmatch(literal.strip("(-)"))
    assert int(literal.strip("()")) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2**63, "64 bits"),
        (float("nan"), "not a number"),
        (float("inf"), "not a number"),
        (5e-324, "too close to zero"),
        ("a\0b", "null character"),
        ("\ud800", "UTF-8"),
        (b"bytes", "type bytes"),
        ({1: 2}, "attribute names are strings"),
        (object(), "type object"),
    ],
)
def test_what_nix_has_no_value_for_is_refused_with_its_place(value: object, words: str) -> None:
    with pytest.raises(NixferryError, match=words) as caught:
        nix_literal({"ports": [1, value]}, where="args")
    assert "args.ports[1]" in caught.value.cause


def test_what_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append({"again": endless})
    with pytest.raises(NixferryError, match="contains itself"):
        nix_literal(endless, where="args")
