# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what ends a POSIX shell: redirections of its special builtins.

A redirection that fails (no inode, no room, read-only, an I/O error) is an error of the command. For a special builtin
POSIX has the whole shell exit then, even in a condition or behind ``||`` ("Consequences of Shell Errors"). Measured
with dash, ``bash --posix`` and busybox, which agree: ``: >FILE`` ends the shell; ``true >FILE``, ``command : >FILE``,
``>FILE``, ``{ :; } >FILE``, ``x=1 >FILE`` and a function or a loop with a redirection fail like any other command.
``. FILE`` ends the shell if FILE cannot be read, and ``shift N`` (not in bash) if there are fewer arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SPECIAL = frozenset(
    [":", ".", "break", "continue", "eval", "exec", "exit", "export", "readonly", "return", "set", "shift"]
) | {"times", "trap", "unset"}
_RESERVED = frozenset(
    ("if", "then", "else", "elif", "fi", "while", "until", "do", "done", "case", "esac", "{", "}", "!")
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_REDIRECTION = re.compile(r"(\d*)(<<-?|<>|>>|>\||<&|>&|<|>)")
_SEPARATOR = re.compile(r"&&|\|\||;;|[;&|()\n]")


@dataclass
class Command:
    """A simple command: its words as they are written, and the targets of its redirections to files."""

    line: int
    words: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        words = [word for word in self.words if word not in _RESERVED]
        return next((word for word in words if not _ASSIGNMENT.match(word)), "")


class _Reader:
    """Reads a shell text; commands inside ``$(...)`` and backquotes count, too."""

    def __init__(self, text: str, line: int = 1) -> None:
        self.text = text
        self.at = 0
        self.first_line = line
        self.commands: list[Command] = []
        self.here_documents: list[str] = []

    @property
    def line(self) -> int:
        return self.first_line + self.text.count("\n", 0, self.at)

    def read(self, *, until: str = "") -> None:
        """Read commands up to an unmatched ``until``."""
        command = Command(self.line)
        depth = 0
        target = ""
        while self.at < len(self.text):
            rest = self.text[self.at :]
            if rest[0] in " \t":
                self.at += 1
            elif rest.startswith("\\\n"):
                self.at += 2
            elif rest[0] == "#":
                self.at += len(rest.partition("\n")[0])
            elif until and rest[0] == until and not depth:
                self.at += 1
                break
            elif found := _REDIRECTION.match(rest):
                self.at += found.end()
                target = found[2]
                self._skip_blanks()
                word = self._word()
                if target in ("<&", ">&"):
                    continue
                command.files.append(word)
                if target in ("<<", "<<-"):
                    self.here_documents.append(re.sub(r"[\\'\"]", "", word))
            elif found := _SEPARATOR.match(rest):
                self.at += found.end()
                depth += {"(": 1, ")": -1}.get(found[0], 0)
                self.commands.append(command)
                if found[0] == "\n":
                    self._skip_here_documents()
                command = Command(self.line)
            else:
                command.words.append(self._word())
        self.commands.append(command)

    def _skip_blanks(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1

    def _skip_here_documents(self) -> None:
        for end in self.here_documents:
            found = re.compile(rf"^\t*{re.escape(end)}$\n?", re.M).search(self.text, self.at)
            self.at = found.end() if found else len(self.text)
        self.here_documents = []

    def _word(self) -> str:
        begin = self.at
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "\\":
                self.at += 2
            elif character == "'":
                self.at = self._after("'", self.at + 1)
            elif character == '"':
                self.at += 1
                self._quoted()
            elif character in "$`":
                self._expansion()
            elif character in " \t\n;&|()<>":
                break
            else:
                self.at += 1
        if self.at == begin:
            self.at += 1
        return self.text[begin : self.at]

    def _after(self, end: str, begin: int) -> int:
        found = self.text.find(end, begin)
        return len(self.text) if found < 0 else found + len(end)

    def _quoted(self) -> None:
        while self.at < len(self.text) and self.text[self.at] != '"':
            if self.text[self.at] == "\\":
                self.at += 2
            elif self.text[self.at] in "$`":
                self._expansion()
            else:
                self.at += 1
        self.at += 1

    def _expansion(self) -> None:
        rest = self.text[self.at :]
        if rest.startswith("$(("):
            self.at = self._after("))", self.at)
        elif rest.startswith("$("):
            self.at += 2
            inner = _Reader(self.text, self.first_line)
            inner.at = self.at
            inner.read(until=")")
            self.commands += inner.commands
            self.at = inner.at
        elif rest.startswith("${"):
            self.at += 2
            while self.at < len(self.text) and self.text[self.at] != "}":
                if self.text[self.at] in "$`":
                    self._expansion()
                elif self.text[self.at] == "\\":
                    self.at += 2
                elif self.text[self.at] == '"':
                    self.at += 1
                    self._quoted()
                else:
                    self.at += 1
            self.at += 1
        elif rest[0] == "`":
            end = self._after("`", self.at + 1)
            inner = _Reader(self.text[self.at + 1 : end - 1], self.line)
            inner.read()
            self.commands += inner.commands
            self.at = end
        else:
            self.at += 1


def commands(text: str) -> list[Command]:
    """Every simple command of a shell text."""
    reader = _Reader(text)
    reader.read()
    return [command for command in reader.commands if command.words or command.files]


def deadly(text: str) -> Iterator[tuple[int, str]]:
    """Line and words of each special builtin whose redirection may end the shell.

    ``/dev/null`` counts as a file that can always be opened.
    """
    for command in commands(text):
        opens = any(file != "/dev/null" for file in command.files)
        reads = command.name == "." and command.words[-1] != "."
        if reads or (opens and command.name in SPECIAL):
            yield command.line, " ".join(command.words)
