# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Pins: which revisions of other sources a project builds with, in flake.lock, niv's and npins' files.

What is known about the formats is in a file each: ``_pins/flake.py``, ``_pins/niv.py``, ``_pins/npins.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

STEP = Step.UPDATE_PINS


@dataclass(frozen=True)
class Pin:
    """One pinned source."""

    name: str
    type: str
    """What the file itself calls it: ``github``, ``tarball``, ``Git`` and so on."""
    url: str = ""
    """Where it comes from, without passwords."""
    branch: str = ""
    revision: str = ""
    """The commit; empty for a source that has none."""
    hash: str = ""
    time: int | None = None
    """When that revision was made, in seconds since the epoch, where the file says so."""
    refusal: str = ""
    """Why it cannot be updated; empty when it can."""

    def state(self) -> dict[str, Any]:
        """What an update changes, as part of a task's result."""
        return {"revision": self.revision, "hash": self.hash, "time": self.time}


@dataclass(frozen=True)
class LockFile:
    """A file of pins as it lies on the disk; ``text`` is empty while there is none."""

    path: Path
    text: str

    def data(self) -> dict[str, Any]:
        """Its content. Raises ``NixferryError`` when it is not a JSON object."""
        if not self.text:
            return {}
        try:
            found = json.loads(self.text)
        except ValueError as error:
            raise NixferryError(
                f"{self.path} is not JSON: {error}",
                step=STEP,
                remedy="Resolve what is wrong in it, such as a merge.",
            ) from error
        if not isinstance(found, dict):
            raise NixferryError(f"{self.path} does not hold a JSON object", step=STEP)
        return found

    def written_like_this(self, data: object) -> str:
        """``data`` with the indentation and the end of this file."""
        lines = self.text.splitlines()
        indent = len(lines[1]) - len(lines[1].lstrip()) if len(lines) > 1 else 2
        end = "\n" if self.text.endswith("\n") or not self.text else ""
        return json.dumps(data, indent=indent or 2, ensure_ascii=False) + end


class Format(Protocol):
    """What one kind of file can do."""

    def pins(self, file: LockFile) -> dict[str, Pin]:
        """All pins by name. Raises ``NixferryError`` when the file makes no sense."""

    def updated(self, file: LockFile, names: Sequence[str]) -> str:
        """The text of the file with new revisions of ``names``, or of all when empty. Writes nothing."""


def read_lock_file(path: Path) -> LockFile:
    """Read a file of pins; a missing one is empty. Raises ``NixferryError`` when it cannot be read."""
    try:
        return LockFile(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return LockFile(path, "")
    except (OSError, UnicodeDecodeError) as error:
        raise NixferryError(f"{path} cannot be read: {error}", step=STEP) from error


def write_lock_file(file: LockFile, text: str) -> None:
    """Replace the file as a whole, unless somebody has changed it since it was read.

    Raises ``NixferryError`` when it was changed or cannot be written.
    """
    if read_lock_file(file.path).text != file.text:
        raise NixferryError(
            f"{file.path} was changed by somebody else meanwhile", step=STEP, remedy="Run it again."
        )
    path = file.path.resolve()
    temporary = ""
    try:
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask()
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise NixferryError(f"{file.path} cannot be written: {error}", step=STEP) from error


def chosen(pins: dict[str, Pin], names: Sequence[str], *, update: bool) -> list[str]:
    """The pins that are meant: those named, or all; to update, those that can be.

    Raises ``NixferryError`` for a name that there is none of, and for one that was named and cannot be updated.
    """
    unknown = [name for name in names if name not in pins]
    if unknown:
        raise NixferryError(
            f"there is no pin {', '.join(unknown)}",
            step=STEP,
            remedy=f"There are: {', '.join(pins) or 'none'}.",
        )
    for name in names:
        if update and pins[name].refusal:
            raise NixferryError(f"{name} cannot be updated: {pins[name].refusal}", step=STEP)
    return [name for name in names or pins if not (update and pins[name].refusal)]


def pins_result(old: dict[str, Pin], new: dict[str, Pin], names: Sequence[str]) -> list[dict[str, Any]]:
    """What became of each pin, as a task returns it; ``names`` limits it, and whatever changed is told anyway."""
    result = []
    for name, known in {**old, **new}.items():
        before, after = old.get(name), new.get(name)
        if names and name not in names and before == after:
            continue
        result.append(
            {
                "name": name,
                "type": known.type,
                "url": known.url,
                "branch": known.branch,
                "old": before.state() if before else None,
                "new": after.state() if after else None,
                "changed": before != after,
                "updatable": not known.refusal,
                "refusal": known.refusal,
            }
        )
    return result


def summary(pins: dict[str, Pin]) -> str:
    """The pins a line each, for a diff: a file may hold more than should be shown, such as tokens."""
    return "".join(f"{pin.name} {pin.revision} {pin.hash}".replace("  ", " ") + "\n" for pin in pins.values())


def without_password(url: str) -> str:
    """``url`` as it may be shown."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    user, _at, host = parts.netloc.rpartition("@")
    shown = user.partition(":")[0] if parts.scheme.endswith("ssh") else ""
    return urlunsplit(parts._replace(netloc=f"{shown}@{host}" if shown else host))


def holds_password(url: str) -> bool:
    """Whether ``url`` names more than a user and a host: it would be seen in the process list."""
    parts = urlsplit(url)
    return "@" in parts.netloc and (
        not parts.scheme.endswith("ssh") or ":" in parts.netloc.rpartition("@")[0]
    )


def _umask() -> int:
    """This process's mask; asking for it means setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
