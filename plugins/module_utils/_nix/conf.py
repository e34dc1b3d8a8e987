# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Edit settings of Nix as text: a file of our own, and the line in nix.conf that includes it.

Later lines win, and ``extra-NAME`` adds to the value of NAME so far. Therefore the include comes after all other lines,
and the file that users or installers edit keeps everything else, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

HEADER = "# Settings kept by nixferry.deploy.nix_conf.\n"
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]*$")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SETTING = re.compile(r"^\s*([A-Za-z0-9-]+)\s*=\s*(.*?)\s*$")
_INCLUDE = re.compile(r"^\s*!?include\s+(\S+)\s*$")
# nix.conf is world-readable.
SECRET = ("access-tokens",)


class ConfError(ValueError):
    """A setting that is not valid in nix.conf."""


def rendered(name: str, value: Any) -> str:
    """Return a setting's value as written in nix.conf. Raises ``ConfError`` if Nix would read it differently."""
    if not _NAME.match(name) or name == "include":
        raise ConfError(f"{name!r} is not a valid name of a setting")
    if name.replace("extra-", "", 1) in SECRET:
        raise ConfError(f"{name} is secret, and the files that this module writes are world-readable")
    if isinstance(value, bool):
        return "true" if value else "false"
    words = value if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, (list, tuple)) and any(len(str(word).split()) != 1 for word in words):
        raise ConfError(f"{name}: an item of the list is empty or contains white space")
    text = " ".join(str(word) for word in words).strip()
    if isinstance(value, dict) or "\n" in text or "#" in text:
        raise ConfError(f"{name}: nix.conf cannot hold {text.splitlines()[0][:60]!r}...")
    return text


def _lines(text: str) -> list[str]:
    return [match.group() for match in _LINE.finditer(text)]


def _setting(line: str) -> tuple[str, str] | None:
    match = _SETTING.match(line.partition("#")[0])
    return (match.group(1), match.group(2)) if match else None


def assigned(text: str) -> dict[str, str]:
    """Return the settings of a file; the last of several lines with one name wins."""
    found = (_setting(line) for line in _lines(text))
    return {pair[0]: pair[1] for pair in found if pair}


def with_settings(text: str, wanted: Mapping[str, str | None]) -> str:
    """Return the file with these settings, each on one line; None removes one. Comments and other lines stay."""
    left = {name: value for name, value in wanted.items() if value is not None}
    result = []
    for line in _lines(text):
        pair = _setting(line)
        if not pair or pair[0] not in wanted:
            result.append(line)
        elif pair[0] in left:
            value = left.pop(pair[0])
            result.append(line if pair[1] == value else f"{pair[0]} = {value}".rstrip() + "\n")
    body = "".join(result)
    if left:
        body = _ended(body) if body else HEADER
    return body + "".join(f"{name} = {value}".rstrip() + "\n" for name, value in left.items())


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def includes(text: str, name: str) -> bool:
    """Return True if a line of the file includes another one of the same directory."""
    return any(_included(line) == name for line in _lines(text))


def _included(line: str) -> str:
    match = _INCLUDE.match(line.partition("#")[0])
    return match.group(1).rpartition("/")[2] if match else ""


def with_include(text: str, name: str) -> str:
    """Return the file with one line that includes ``name``, after all settings. Nix ignores a missing file."""
    lines = _lines(text)
    own = [number for number, line in enumerate(lines) if _included(line) == name]
    # Other programs may include files after ours in the same way: two that both insist on being last would never
    # settle.
    if len(own) == 1 and not any(_setting(line) for line in lines[own[0] + 1 :]):
        return text
    return _ended(without_include(text, name)) + f"!include {name}\n"


def without_include(text: str, name: str) -> str:
    return "".join(line for line in _lines(text) if _included(line) != name)


def has_settings(text: str) -> bool:
    return bool(assigned(text))


def ineffective(
    wanted: Mapping[str, str],
    expected: Mapping[str, str],
    effective: Mapping[str, str],
    added_to: Iterable[str],
) -> list[str]:
    """Return the settings that another line or file overrides.

    ``expected`` has the effective values of the wanted settings alone, so that both sides have Nix's spelling;
    ``added_to`` are the names that a line extends with ``extra-``.
    """
    found = []
    for name, value in wanted.items():
        base = name[len("extra-") :] if name.startswith("extra-") and name not in expected else name
        if base not in expected:
            continue
        now = effective.get(base, "")
        if base != name:
            good = set(value.split()) <= set(now.split())
        elif base in added_to:
            good = set(expected[base].split()) <= set(now.split())
        else:
            good = sorted(now.split()) == sorted(expected[base].split())
        if not good:
            found.append(name)
    return found


def unknown(warnings: str) -> list[str]:
    """Return the names that Nix does not know, from its output."""
    return re.findall(r"unknown setting '([^']*)'", warnings)


def snippet(wanted: Mapping[str, Any], value_of: Any) -> str:
    """Return the settings as a module for the configuration of NixOS or nix-darwin."""
    lines = "".join(f'  nix.settings."{name}" = {value_of(value)};\n' for name, value in wanted.items())
    return f"{{\n{lines}}}\n"
