# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find the attributes that a Nix file binds, and their lines, without evaluating anything.

The lexical rules are those of the Nix manual (language, "syntax"): comments, both kinds of strings with their
interpolations, paths, and attribute paths on the left of ``=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Name = str | None
"""A name in an attribute path; ``None`` for a computed one."""

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+|\#[^\n]*|/\*.*?\*/)
  | (?P<path>[a-zA-Z0-9._+-]*(?:/[a-zA-Z0-9._+-]+)+/?|~(?:/[a-zA-Z0-9._+-]+)+|<[a-zA-Z0-9._+/-]+>)
  | (?P<name>[a-zA-Z_][a-zA-Z0-9_'-]*)
  | (?P<number>\d+\.\d*|\d+)
  | (?P<string>"|'')
  | (?P<mark>\$\{|\.\.\.|==|!=|<=|>=|//|\+\+|->|&&|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING = {"{": "}", "${": "}", "(": ")", "[": "]"}
_WORDS = ("true", "false", "null")
_CLOSING = frozenset(_OPENING.values())


class Unreadable(Exception):
    """The text is not valid Nix, or uses syntax that is not understood here."""


@dataclass(frozen=True)
class Binding:
    """``path = ...;`` or an inherited name. ``own`` is the number of names of ``path`` written here, not around it."""

    path: tuple[Name, ...]
    own: int
    line: int
    literal: str | None
    """The value as JSON if it is a plain string, a number or a word; ``None`` for any other."""
    within: int
    """Identifies the set: bindings with the same number are in the same set."""
    computed: bool = False
    """Whether the content of the value is not visible here, as in ``import ./file.nix``."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


@dataclass
class _Frame:
    """A scope that a bracket or ``let`` has opened. ``semicolons`` counts those of ``with`` and ``assert``."""

    closing: str
    number: int
    path: tuple[Name, ...]
    binds: bool
    current: tuple[Name, ...] = ()
    beginning: bool = True
    semicolons: int = 0


def bindings_of(text: str) -> list[Binding]:
    """Return all attributes that ``text`` binds, also those of ``let``, in order. Raises ``Unreadable``."""
    return _Reader(list(_tokens(text))).read()


def _tokens(text: str) -> Iterator[_Token]:
    position, counted, line = 0, 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(text[position : position + 20])
        line += text.count("\n", counted, position)
        counted = position
        kind = str(match.lastgroup)
        position = match.end()
        if kind == "skip":
            continue
        if kind == "string":
            start = position
            position, plain = _string_end(text, position, match[0])
            yield _Token("string" if plain else "text", text[start : position - len(match[0])], line)
            continue
        yield _Token(kind, match[0], line)


def _string_end(text: str, position: int, quote: str) -> tuple[int, bool]:
    """Return the end of the string that begins before ``position``, and whether it is plain text."""
    plain = True
    # The start of escapes, with their length; two dollars do not begin an interpolation.
    escapes = {"\\": 2, "$$": 2} if quote == '"' else {"'''": 3, "''$": 3, "''\\": 4, "$$": 2}
    while position < len(text):
        escape = next((each for each in escapes if text.startswith(each, position)), None)
        if escape is not None:
            plain = False
            position += escapes[escape]
        elif text.startswith(quote, position):
            return position + len(quote), plain and quote == '"'
        elif text.startswith("${", position):
            plain = False
            position = _interpolation_end(text, position + 2)
        else:
            position += 1
    raise Unreadable("a string without an end")


def _interpolation_end(text: str, position: int) -> int:
    depth = 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            break
        position = match.end()
        if match.lastgroup == "string":
            position, _plain = _string_end(text, position, match[0])
        elif match[0] in ("{", "${"):
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return position
    raise Unreadable("an interpolation without an end")


@dataclass
class _Reader:
    tokens: Sequence[_Token]
    found: list[Binding] = field(default_factory=list)
    frames: list[_Frame] = field(default_factory=lambda: [_Frame("", 0, (), binds=False, beginning=False)])
    opened: int = 0
    position: int = 0

    def read(self) -> list[Binding]:
        while self.position < len(self.tokens):
            frame = self.frames[-1]
            if frame.binds and frame.beginning and self._binding(frame):
                continue
            self._other(frame, self.tokens[self.position])
            self.position += 1
        if len(self.frames) != 1:
            raise Unreadable("a bracket without an end")
        return self.found

    def _open(self, closing: str, *, binds: bool) -> None:
        around = self.frames[-1]
        self.opened += 1
        self.frames.append(_Frame(closing, self.opened, around.current or around.path, binds=binds))

    def _other(self, frame: _Frame, token: _Token) -> None:
        if token.kind == "name":
            if token.text == "let" and not self._next_is("{"):
                self._open("in", binds=True)
            elif token.text == "in":
                self._close("in")
            elif token.text in ("with", "assert"):
                frame.semicolons += 1
        elif token.kind == "mark":
            if token.text in _OPENING:
                self._open(_OPENING[token.text], binds=token.text == "{")
            elif token.text in _CLOSING:
                self._close(token.text)
            elif token.text == ";" and frame.semicolons:
                frame.semicolons -= 1
            elif token.text == ";":
                frame.current, frame.beginning = (), True
        if self.frames[-1] is frame and token.text != ";":
            frame.beginning = False

    def _close(self, closing: str) -> None:
        if self.frames[-1].closing != closing:
            raise Unreadable(f"{closing} closes nothing")
        self.frames.pop()

    def _next_is(self, text: str) -> bool:
        following = self.tokens[self.position + 1 : self.position + 2]
        return bool(following) and following[0].kind == "mark" and following[0].text == text

    def _binding(self, frame: _Frame) -> bool:
        """Read a binding at the beginning of a statement; return False if there is none."""
        first = self.tokens[self.position]
        if first.kind == "name" and first.text == "inherit":
            self._inherited(frame)
            return True
        if first.text in ("in", "}") and first.kind in ("name", "mark"):
            return False
        path, position = self._attribute_path(self.position)
        token = self.tokens[position] if path and position < len(self.tokens) else None
        if token is None or token.kind != "mark" or token.text != "=":
            return False
        frame.current, frame.beginning = (*frame.path, *path), False
        self.position = position + 1
        literal, computed = self._literal(), self._is_computed()
        self.found.append(Binding(frame.current, len(path), first.line, literal, frame.number, computed))
        return True

    def _attribute_path(self, position: int) -> tuple[tuple[Name, ...], int]:
        """Return the names from ``position`` on, and their end; no names without an attribute path."""
        path: list[Name] = []
        while position < len(self.tokens):
            token = self.tokens[position]
            if token.kind in ("name", "string"):
                path.append(token.text)
                position += 1
            elif token.kind == "text":
                path.append(None)
                position += 1
            elif token.text == "${":
                path.append(None)
                position = self._after_bracket(position)
            else:
                return (), position
            if position >= len(self.tokens) or self.tokens[position].text != ".":
                return tuple(path), position
            position += 1
        return (), position

    def _after_bracket(self, position: int) -> int:
        depth = 0
        while position < len(self.tokens):
            token = self.tokens[position]
            position += 1
            if token.kind == "mark" and token.text in ("{", "${"):
                depth += 1
            elif token.kind == "mark" and token.text == "}":
                depth -= 1
                if depth == 0:
                    return position
        raise Unreadable("a bracket without an end")

    def _inherited(self, frame: _Frame) -> None:
        self.position += 1
        if self.position < len(self.tokens) and self.tokens[self.position].text == "(":
            depth = 0
            while self.position < len(self.tokens):
                text = self.tokens[self.position].text
                depth += (text == "(") - (text == ")")
                self.position += 1
                if depth == 0:
                    break
        while self.position < len(self.tokens) and self.tokens[self.position].text != ";":
            token = self.tokens[self.position]
            name = token.text if token.kind in ("name", "string") else None
            self.found.append(Binding((*frame.path, name), 1, token.line, None, frame.number, computed=True))
            self.position += 1

    def _literal(self) -> str | None:
        value = self.tokens[self.position : self.position + 2]
        if len(value) < 2 or value[1].kind != "mark" or value[1].text != ";":
            return None
        token = value[0]
        if token.kind == "string":
            return f'"{token.text}"'
        return token.text if token.kind == "number" or token.text in _WORDS else None

    def _is_computed(self) -> bool:
        """Return True if the value contains names and no set."""
        names = False
        depth = 0
        for token in self.tokens[self.position :]:
            if token.kind == "mark":
                if token.text == "{" or (depth == 0 and token.text == ";"):
                    return names and token.text == ";"
                depth += (token.text in _OPENING) - (token.text in _CLOSING)
            names = names or (token.kind == "name" and token.text not in _WORDS)
        return names
