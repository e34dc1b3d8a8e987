# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Pins: the revisions of other sources that a project builds with, in flake.lock, niv's and npins' files.

Each format has a file of its own: ``_pins/flake.py``, ``_pins/niv.py``, ``_pins/npins.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
    """The type in the file: ``github``, ``tarball``, ``Git`` and so on."""
    url: str = ""
    """The URL, without passwords."""
    branch: str = ""
    revision: str = ""
    """The commit; empty for a source without one."""
    hash: str = ""
    time: int | None = None
    """The time of that revision in seconds since the epoch, if the file has it."""
    refusal: str = ""
    """Why it cannot be updated; empty if it can."""

    def state(self) -> dict[str, Any]:
        """Return the state that an update changes, as part of a task's result."""
        return {"revision": self.revision, "hash": self.hash, "time": self.time}


@dataclass(frozen=True)
class LockFile:
    """A file of pins on the disk; ``text`` is empty if it does not exist."""

    path: Path
    text: str

    def data(self) -> dict[str, Any]:
        """Return its content. Raises ``NixferryError`` if it is not a JSON object."""
        if not self.text:
            return {}
        try:
            found = json.loads(self.text)
        except ValueError as error:
            raise NixferryError(
                f"{self.path} is not JSON: {error}",
                step=STEP,
                remedy="Fix the error in it, for instance an unresolved merge.",
            ) from error
        if not isinstance(found, dict):
            raise NixferryError(f"{self.path} does not contain a JSON object", step=STEP)
        return found

    def written_like_this(self, data: object) -> str:
        """Return ``data`` with the indentation and the end of this file."""
        lines = self.text.splitlines()
        indent = len(lines[1]) - len(lines[1].lstrip()) if len(lines) > 1 else 2
        end = "\n" if self.text.endswith("\n") or not self.text else ""
        return json.dumps(data, indent=indent or 2, ensure_ascii=False) + end


class Format(Protocol):
    """The operations of one kind of file."""

    def pins(self, file: LockFile) -> dict[str, Pin]:
        """Return all pins by name. Raises ``NixferryError`` if the file is not valid."""

    def updated(self, file: LockFile, names: Sequence[str]) -> str:
        """Return the text of the file with new revisions of ``names``, or of all if empty. Writes nothing."""


def read_lock_file(path: Path) -> LockFile:
    """Read a file of pins; a missing one is empty. Raises ``NixferryError`` if it cannot be read."""
    try:
        return LockFile(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return LockFile(path, "")
    except (OSError, UnicodeDecodeError) as error:
        raise NixferryError(f"{path} cannot be read: {error}", step=STEP) from error


def write_lock_file(file: LockFile, text: str) -> None:
    """Replace the file as a whole, unless another process has changed it since it was read.

    Raises ``NixferryError`` if it was changed or cannot be written.
    """
    if read_lock_file(file.path).text != file.text:
        raise NixferryError(
            f"{file.path} was changed by another process meanwhile", step=STEP, remedy="Run it again."
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
    """Return the selected pins: those named, or all; for an update, those that can be updated.

    Raises ``NixferryError`` for an unknown name, and for a named pin that cannot be updated.
    """
    unknown = [name for name in names if name not in pins]
    if unknown:
        raise NixferryError(
            f"unknown pin {', '.join(unknown)}",
            step=STEP,
            remedy=f"The pins are: {', '.join(pins) or 'none'}.",
        )
    for name in names:
        if update and pins[name].refusal:
            raise NixferryError(f"{name} cannot be updated: {pins[name].refusal}", step=STEP)
    return [name for name in names or pins if not (update and pins[name].refusal)]


def pins_result(old: dict[str, Pin], new: dict[str, Pin], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the result of each pin for a task; ``names`` limits it, but changed pins are always included."""
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


def top_input(name: str) -> str:
    """Return the input of the flake itself that the input ``name`` belongs to."""
    return name.partition("/")[0]


def too_young(
    old: Mapping[str, Pin],
    new: Mapping[str, Pin],
    min_age: int,
    *,
    now: float,
    owner: Callable[[str], str] = top_input,
) -> dict[str, str]:
    """Return the pins whose update brings a revision of less than ``min_age`` seconds, with the reason.

    ``owner`` says which one a pin belongs to: an input of a flake counts with all its own inputs. The time of a
    revision is what its repository says.
    """
    found: dict[str, str] = {}
    for name, pin in new.items():
        if not min_age or old.get(name) == pin:
            continue
        if pin.time is None:
            found[owner(name)] = f"the time of the new revision of {name} is unknown"
        elif now - pin.time < min_age:
            found[owner(name)] = (
                f"the new revision of {name} is {max(0, int(now - pin.time)) // 3600} hours old"
            )
    return found


def summary(pins: dict[str, Pin]) -> str:
    """Return the pins, one per line, for a diff: the file may contain tokens, which must not be shown."""
    return "".join(f"{pin.name} {pin.revision} {pin.hash}".replace("  ", " ") + "\n" for pin in pins.values())


def without_password(url: str) -> str:
    """Return ``url`` without secrets."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    user, _at, host = parts.netloc.rpartition("@")
    shown = user.partition(":")[0] if parts.scheme.endswith("ssh") else ""
    return urlunsplit(parts._replace(netloc=f"{shown}@{host}" if shown else host))


def holds_password(url: str) -> bool:
    """Return True if ``url`` has more than a user and a host: the process list would show it."""
    parts = urlsplit(url)
    return "@" in parts.netloc and (
        not parts.scheme.endswith("ssh") or ":" in parts.netloc.rpartition("@")[0]
    )


def _umask() -> int:
    """Return this process's mask; reading it requires setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
