# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The whole nix_lock_update task, without Ansible."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import intend_to_add
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.state import locked, state_directory
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

from .flake import FlakeLock
from .niv import NivSources
from .npins import NpinsSources
from .pins import (
    STEP,
    Format,
    LockFile,
    chosen,
    pins_result,
    read_lock_file,
    summary,
    too_young,
    top_input,
    write_lock_file,
)
from .sources import Sources

# The place of each kind of file in a project.
PLACES = {"flake": "flake.lock", "npins": "npins/sources.json", "niv": "nix/sources.json"}


@dataclass(frozen=True)
class LockRequest:
    """The file and the operation. ``timeout`` is in seconds.

    ``min_age`` is how old a new revision must be, in seconds; an input with a younger one is left as it is.
    """

    path: Path
    format: str
    inputs: tuple[str, ...]
    update: bool
    timeout: float | None
    check_mode: bool
    min_age: int = 0


def find_lock_file(path: Path, format: str) -> tuple[str, Path]:
    """Return the kind of a file of pins, and the file itself, for a project's directory or such a file.

    Raises ``NixferryError`` if there is none, or more than one.
    """
    if not path.is_dir():
        if not path.exists():
            raise NixferryError(f"{path} does not exist", step=STEP)
        return (format if format != "auto" else _format_of(path)), path
    if format != "auto":
        return format, path / PLACES[format]
    found = [name for name, place in PLACES.items() if (path / place).exists()]
    if "flake" not in found and (path / "flake.nix").exists():
        found.insert(0, "flake")
    if len(found) != 1:
        raise NixferryError(
            f"{path} has {' and '.join(PLACES[name] for name in found)}"
            if found
            else f"{path} has none of {', '.join(PLACES.values())}",
            step=STEP,
            remedy="Select one with `format`." if found else "Name the project's directory in `path`.",
        )
    return found[0], path / PLACES[found[0]]


def run_lock_task(
    request: LockRequest, nix: Callable[[Path], Nix], *, waiting: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Show or update the pins, and return the task's result. ``nix`` runs Nix in a directory.

    Raises ``NixferryError`` if a requested update is not possible.
    """
    name, path = find_lock_file(request.path, request.format)
    if name == "flake" and not (path.parent / "flake.nix").exists():
        raise NixferryError(f"flake.nix is missing beside {path}", step=STEP)
    if name != "flake" and not path.exists():
        raise NixferryError(f"{path} does not exist", step=STEP)
    deadline = None if request.timeout is None else time.monotonic() + request.timeout
    known = _format(name, nix(path.parent), deadline, ages=request.min_age > 0)
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    with locked(f"pins-{digest}", state_directory(), waiting=waiting):
        file = read_lock_file(path)
        old = known.pins(file)
        # Inputs that are new in flake.nix are not in the lock file yet.
        names = (
            request.inputs
            if name == "flake" and request.update
            else chosen(old, request.inputs, update=request.update)
        )
        text = file.text
        if request.update and (names or name == "flake"):
            text = known.updated(file, names)
        new = known.pins(type(file)(path, text))
        # In a flake, the inputs of an input belong to it.
        owner = top_input if name == "flake" else str
        held = too_young(old, new, request.min_age, now=time.time(), owner=owner) if request.update else {}
        if held:
            rest = sorted({owner(pin) for pin in new if old.get(pin) != new[pin]} - held.keys())
            text = known.updated(file, rest) if rest else file.text
            new = known.pins(LockFile(path, text))
        if name == "flake":
            chosen(new, request.inputs, update=False)
        changed = type(file)(path, text).data() != file.data()
        notes = []
        if changed and not request.check_mode:
            write_lock_file(file, text)
            if not file.text:
                # As in Nix: a flake in a git checkout consists of the files that git knows.
                notes = intend_to_add(path)
    return {
        "failed": False,
        "changed": changed,
        "format": name,
        "path": str(path),
        "inputs": pins_result(old, new, request.inputs),
        "held": held,
        "notes": notes,
        "before": summary(old),
        "after": summary(new),
    }


def diff_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the difference between the pins before and after, for Ansible."""
    header = str(result["path"])
    return {
        "before": result["before"],
        "after": result["after"],
        "before_header": header,
        "after_header": header,
    }


def _format_of(path: Path) -> str:
    if path.name == "flake.lock":
        return "flake"
    data = read_lock_file(path).data()
    return "npins" if isinstance(data.get("pins"), dict) and "version" in data else "niv"


def _format(name: str, nix: Nix, deadline: float | None, *, ages: bool) -> Format:
    if name == "flake":
        return FlakeLock(nix, deadline)
    sources = Sources(nix, deadline, ages)
    return NpinsSources(sources) if name == "npins" else NivSources(sources)
