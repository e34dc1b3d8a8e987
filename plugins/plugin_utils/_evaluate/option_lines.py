# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find the line of a definition that the module system of nixpkgs refuses: its messages name only the file.

A line is only shown if it is unambiguous. The messages are those of ``showDefs`` and
``mergeDefinitions`` in nixpkgs' lib/modules.nix.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .bindings import (
    Binding,
    Unreadable,
    bindings_of,
)

# Larger files are generated.
SIZE_LIMIT_BYTES = 256 * 1024
_OPTION = re.compile(
    r"\boption `(?P<option>[^`\n]+)' (?:does not exist|is not of type|has conflicting definition)"
)
_DEFINITION = re.compile(r"^(?P<before>\s*- In `)(?P<file>/[^'\n:,]+)'(?P<value>: .*)?$", re.MULTILINE)
_NAME = re.compile(r"\"(?P<quoted>[^\"]*)\"|(?P<bare>[^.\"]+)")
# Names that contain modules anywhere.
_MODULES = ("imports", "config", "configuration", "modules")
_LITERAL = re.compile(r'"[^"\\]*"|-?\d+(?:\.\d+)?|true|false|null')


def with_lines(message: str) -> str:
    """Return ``message`` with the line after each file if the line is certain."""
    option = _OPTION.search(message)
    if option is None:
        return message
    path = option_path(option["option"])

    def located(match: re.Match[str]) -> str:
        line = line_of(Path(match["file"]), path, (match["value"] or "").removeprefix(": "))
        return match[0] if line is None else f"{match['before']}{match['file']}:{line}'{match['value'] or ''}"

    return message[: option.end()] + _DEFINITION.sub(located, message[option.end() :])


def option_path(shown: str) -> tuple[str, ...]:
    """Return the names in ``shown``, without placeholders for an element of a list or set."""
    names = (match["bare"] or match["quoted"] or "" for match in _NAME.finditer(shown))
    return tuple(name for name in names if not name.startswith(("[", "<")))


def line_of(file: Path, path: Sequence[str], value: str) -> int | None:
    """Return the line where ``file`` defines the option ``path`` as ``value``; ``None`` unless that is certain."""
    try:
        if not path or file.stat().st_size > SIZE_LIMIT_BYTES:
            return None
        bindings = bindings_of(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Unreadable):
        return None
    # The module system treats adjacent definitions with the same first names as one.
    found: dict[tuple[object, ...], Binding] = {}
    for binding in bindings:
        for end in range(len(binding.path) - binding.own + 1, len(binding.path) + 1):
            if _may_be(binding, end, path[-1], value):
                found.setdefault((binding.within, binding.path[:end]), binding)
    if len(found) != 1:
        return None
    (_within, names), binding = next(iter(found.items()))
    certain = (binding.literal == value and names == binding.path) or not _hidden(bindings, path)
    return binding.line if certain and _leads_to(names, path) else None


def _may_be(binding: Binding, end: int, name: str, value: str) -> bool:
    """Return True if the first ``end`` names of ``binding`` may lead to an option named ``name``."""
    found = binding.path[end - 1]
    if found is None:
        return True
    literal = binding.literal if end == len(binding.path) else None
    differs = literal is not None and _LITERAL.fullmatch(value) is not None and literal != value
    return found == name and not differs


def _leads_to(names: object, path: Sequence[str]) -> bool:
    """Return True if the names in the path are those of the option, as far as they are in one place."""
    if not isinstance(names, tuple) or names[-1] != path[-1]:
        return False
    common = min(len(names), len(path))
    return list(names[-common:]) == list(path[-common:])


def _hidden(bindings: Sequence[Binding], path: Sequence[str]) -> bool:
    """Return True if a computed part of a host may define the option as well."""
    return any(
        binding.computed
        and (len(binding.path) == 1 or binding.path[-1] in _MODULES or binding.path[-1] in path[:-1])
        for binding in bindings
    )
