# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Read Nix's machines file as Nix does, and change one builder's entry while all else stays byte for byte.

Entries end with a line or with ``;``, ``#`` begins a comment, and fields are separated by white space. Nix before
2.24.15 and 2.28.2, and Lix, look for ``;`` in comments too; ``hazards`` reports lines that they read differently.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, NamedTuple

# The characters that Nix strips from an entry's ends, and that separate its fields.
_SPACE = " \t\r"
_FIELD = re.compile(r"[^ \t\r]+")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_URI = re.compile(
    r"^(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:(?P<user>[^@/?]*)@)?(?P<host>\[[^\]]*\]|[^:/?]+)"
    r"(?::(?P<port>\d+))?(?:[/?].*)?$"
)
_TOML = re.compile(r"^\s*(?:\[\s*machines\b|version\s*=)", re.MULTILINE)
DEFAULT_SCHEME = "ssh"
FIELDS = (
    "uri",
    "systems",
    "ssh_key",
    "max_jobs",
    "speed_factor",
    "features",
    "mandatory_features",
    "host_key",
)


class MachinesError(ValueError):
    """The file cannot be changed safely."""


class Machine(NamedTuple):
    """One builder, as its entry describes it; missing fields have Nix's defaults."""

    uri: str
    systems: tuple[str, ...] = ()
    ssh_key: str = ""
    max_jobs: int = 1
    speed_factor: float = 1.0
    supported_features: tuple[str, ...] = ()
    mandatory_features: tuple[str, ...] = ()
    # "TYPE BASE64", as in known_hosts
    host_key: str = ""

    @property
    def scheme(self) -> str:
        """``ssh`` or ``ssh-ng``, also for an address without a scheme, as Nix reads it."""
        match = _URI.match(self.uri)
        return (match["scheme"] if match else None) or DEFAULT_SCHEME

    @property
    def host(self) -> str:
        """Return the host name for ssh, without user and port."""
        match = _URI.match(self.uri)
        return match["host"] if match else self.uri

    @property
    def user(self) -> str:
        match = _URI.match(self.uri)
        return (match["user"] if match else None) or ""

    @property
    def port(self) -> str:
        match = _URI.match(self.uri)
        return (match["port"] if match else None) or ""

    @property
    def parameters(self) -> str:
        """Return the part after the question mark."""
        return self.uri.partition("?")[2]

    def line(self) -> str:
        """Return the entry, with as few fields as possible."""
        factor = self.speed_factor
        fields = [
            self.uri,
            ",".join(self.systems) or "-",
            self.ssh_key or "-",
            str(self.max_jobs),
            str(int(factor)) if factor == int(factor) else repr(factor),
            # A builder must support its mandatory features.
            ",".join(_merged(self.supported_features, self.mandatory_features)) or "-",
            ",".join(self.mandatory_features) or "-",
            base64.b64encode(self.host_key.encode()).decode() if self.host_key else "-",
        ]
        while fields[-1] == "-":
            fields.pop()
        return " ".join(fields)


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


class Entry(NamedTuple):
    """One entry and its place: ``text[start:end]``."""

    text: str
    line: int
    start: int
    end: int


def entries(text: str) -> list[Entry]:
    """Return all entries, in order. ``@FILE`` is one of them; Nix reads that file in its place."""
    found = []
    for number, start, line in _lines(text):
        position = start
        for piece in line.rstrip("\n").partition("#")[0].split(";"):
            stripped = piece.strip(_SPACE)
            if stripped:
                begin = position + len(piece) - len(piece.lstrip(_SPACE))
                found.append(Entry(stripped, number, begin, begin + len(stripped)))
            position += len(piece) + 1
    return found


def _lines(text: str) -> list[tuple[int, int, str]]:
    """Return number, position and text of every line, with its end."""
    return [
        (number, match.start(), match.group()) for number, match in enumerate(_LINE.finditer(text), start=1)
    ]


def parse(text: str) -> Machine:
    """Return the builder that an entry describes. Raises ``MachinesError`` if Nix would refuse it."""
    fields = _FIELD.findall(text)
    if len(fields) > len(FIELDS):
        raise MachinesError(f"{fields[0]}: more than {len(FIELDS)} fields")
    given = {FIELDS[number]: "" if field == "-" else field for number, field in enumerate(fields)}
    uri = given.get("uri", "")
    if not uri:
        raise MachinesError("an entry without an address")
    return Machine(
        uri=uri,
        systems=_words(given.get("systems")),
        ssh_key=given.get("ssh_key", ""),
        max_jobs=_number(uri, "max jobs (field 4)", given.get("max_jobs"), int),
        speed_factor=_number(uri, "speed factor (field 5)", given.get("speed_factor"), float) or 1.0,
        supported_features=_words(given.get("features")),
        mandatory_features=_words(given.get("mandatory_features")),
        host_key=_host_key(uri, given.get("host_key")),
    )


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word for word in (text or "").split(",") if word)


def _number(uri: str, what: str, text: str | None, kind: Callable[[Any], Any]) -> Any:
    if not text:
        return kind(1)
    # int() and float() accept more than Nix: signs, underscores, "nan".
    if not re.match(r"^\d+$" if kind is int else r"^(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$", text):
        raise MachinesError(f"{uri}: {what} is {text!r}, which is not a number that Nix accepts")
    return kind(text)


def _host_key(uri: str, text: str | None) -> str:
    if not text:
        return ""
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MachinesError(f"{uri}: the host key (field 8) is not base64") from error
    decoded = blob.decode("utf-8", "replace").strip()
    if not decoded.startswith(("ssh-", "ecdsa-", "sk-")):
        # The key of a .pub file is base64 already: Nix would accept it and then trust whatever ssh trusts.
        raise MachinesError(f"{uri}: the host key (field 8) is not base64 of 'TYPE KEY'")
    return decoded


def host_of(entry: Entry) -> str:
    """Return the host name of the builder of an entry for ssh; empty for ``@FILE``."""
    uri = _FIELD.findall(entry.text)[0]
    return "" if uri.startswith("@") else Machine(uri).host


def is_toml(text: str) -> bool:
    """Return True if Lix would read the file as TOML (from version 2.95 on)."""
    return bool(_TOML.search("\n".join(line.partition("#")[0] for line in text.splitlines())))


def with_entry(text: str, name: str, line: str) -> str:
    """Return ``text`` with ``line`` as the only entry of the builder ``name``, in the place of its first one.

    Without a line the builder is removed. All other bytes stay, except that a last line gets its missing newline.
    """
    if is_toml(text):
        raise MachinesError("the file is TOML, which only Lix reads; add the builder by hand")
    own = [entry for entry in entries(text) if host_of(entry) == name]
    kept, doomed = (own[:1], own[1:]) if line else ([], own)
    for entry in reversed(doomed):
        text = _without(text, entry)
    if kept:
        return text[: kept[0].start] + line + text[kept[0].end :]
    if line:
        return text + ("\n" if text and not text.endswith("\n") else "") + line + "\n"
    return text


def _without(text: str, entry: Entry) -> str:
    start = text.rfind("\n", 0, entry.start) + 1
    end = text.find("\n", entry.end)
    end = len(text) if end < 0 else end + 1
    before, after = text[start : entry.start], text[entry.end : end]
    if not before.strip(_SPACE) and not after.strip(_SPACE + "\n"):
        return text[:start] + text[end:]
    # The line has more than this entry: another one, or a comment. Remove one separator with the entry.
    following = after.lstrip(_SPACE)
    if following.startswith(";"):
        return text[: entry.start] + following[1:].lstrip(_SPACE) + text[end:]
    preceding = before.rstrip(_SPACE)
    if preceding.endswith(";"):
        return text[:start] + preceding[:-1].rstrip(_SPACE) + after + text[end:]
    return text[:start] + after.lstrip(_SPACE) + text[end:]


def hazards(text: str, version: tuple[int, ...] | None = None, lix: bool = False) -> list[str]:
    """Describe lines that make builds fail or hang; ``version`` is that of this machine's Nix, if it is known."""
    found = []
    for number, _start, line in _lines(text):
        _body, mark, comment = line.rstrip("\n").partition("#")
        if old_splitting(version, lix):
            if mark and ";" in comment:
                found.append(f"line {number}: this Nix reads the text after ';' in the comment as a builder")
            elif line.rstrip("\n") and not line.strip() and not mark:
                found.append(f"line {number}: this Nix reads a line of spaces as a builder")
    for entry in entries(text):
        if entry.text.startswith("@"):
            continue
        try:
            machine = parse(entry.text)
        except MachinesError as error:
            found.append(f"line {entry.line}: {error}")
            continue
        place = f"line {entry.line}: {machine.uri}"
        if machine.max_jobs == 0:
            found.append(f"{place} has no job slots (field 4 is 0): builds wait forever")
        if machine.host == "localhost" and not machine.user:
            found.append(f"{place} is this machine itself: builds wait for their own lock")
        if machine.speed_factor != int(machine.speed_factor) and integers_only(version):
            found.append(f"{place} has a speed factor that this Nix does not accept")
    return found


def old_splitting(version: tuple[int, ...] | None, lix: bool = False) -> bool:
    """Return True if this Nix looks for ``;`` before it strips comments."""
    if lix:
        return True
    if not version:
        return False
    return version < (2, 24, 15) or (2, 25) <= version < (2, 28, 2)


def integers_only(version: tuple[int, ...] | None) -> bool:
    """Return True if this Nix accepts only whole numbers as speed factor."""
    return version is not None and version < (2, 20)
