# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Stage the root of an image in a directory: the closure, Nix's database, the system profile, and nothing else.

What makes a host that one host is absent: no key of sshd, no random seed, and an empty machine-id, which systemd fills
at the first boot (machine-id(5)).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import closure

from .boot import in_tree
from .tools import ROOM, STEP, STORE_TIME

PROFILES = "/nix/var/nix/profiles"
DIRECTORIES = {
    "dev": 0o755,
    "proc": 0o755,
    "sys": 0o755,
    "run": 0o755,
    "boot": 0o755,
    "etc": 0o755,
    "var": 0o755,
    "home": 0o755,
    "root": 0o700,
    "tmp": 0o1777,
}
# What Nix makes anew when it needs it.
_SCRATCH = (
    "temproots",
    "db/reserved",
    "db/big-lock",
    "gc.lock",
    "gc-socket",
    "daemon-socket",
    "userpool",
    "userpool2",
)
_BLOCK = 4096
_FULL = re.compile(r"No space left on device|disk is full")


@dataclass(frozen=True)
class Staged:
    """A staged root. Sizes are in bytes: ``nar_size`` of the closure, ``disk_size`` of all files in blocks."""

    tree: Path
    paths: tuple[str, ...]
    nar_size: int
    disk_size: int
    files: int


def stage(nix: Nix, toplevel: str, tree: Path, *, timeout: float) -> Staged:
    """Copy the closure of ``toplevel`` below ``tree`` and make the rest of a root. Raises ``NixferryError``."""
    items = closure(nix, [toplevel], step=STEP)
    tree.mkdir(mode=0o755)
    try:
        nix.run(
            ["nix", "copy", "--no-check-sigs", "--to", f"local?root={tree}", toplevel],
            step=STEP,
            timeout=timeout,
            deadline_name="the timeout for the copy of the closure",
        )
    except NixferryError as error:
        if _FULL.search(error.cause):
            # Nix's own store is on another disk.
            raise error.with_(
                cause=f"the disk of {tree.parent.parent} is full", remedy=ROOM, output=[error.cause]
            ) from None
        raise
    state = tree / "nix/var/nix"
    for name in _SCRATCH:
        place = state / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    _settle_database(state / "db/db.sqlite")
    _make_profile(tree, toplevel)
    for directory, mode in DIRECTORIES.items():
        (tree / directory).mkdir(exist_ok=True)
        (tree / directory).chmod(mode)
    # For switch-to-configuration, which refuses another system.
    (tree / "etc/NIXOS").touch()
    (tree / "etc/machine-id").touch()
    for place in (tree, *(tree / name for name in ("nix", "nix/store", "nix/var", "nix/var/nix"))):
        place.chmod(0o755)
    refuse_host_keys(tree, toplevel)
    size, files = measure(tree)
    return Staged(
        tree=tree,
        paths=tuple(sorted(item.path for item in items)),
        nar_size=sum(item.nar_size for item in items),
        disk_size=size,
        files=files,
    )


def _make_profile(tree: Path, toplevel: str) -> None:
    profiles = tree / PROFILES.lstrip("/")
    profiles.mkdir(parents=True, exist_ok=True)
    (profiles / "system-1-link").symlink_to(toplevel)
    (profiles / "system").symlink_to("system-1-link")
    roots = tree / "nix/var/nix/gcroots"
    roots.mkdir(exist_ok=True)
    # Nix has made it as it is seen from here.
    (roots / "profiles").unlink(missing_ok=True)
    (roots / "profiles").symlink_to(PROFILES)


def _settle_database(file: Path) -> None:
    """Make the database of equal closures equal: rows by path, registered at the time of the store, one file.

    Signatures stay: a host that wants signed paths asks for those of the paths that it has as well.
    """
    try:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
            columns = [row[1] for row in database.execute("PRAGMA table_info(ValidPaths)") if row[1] != "id"]
            names = ", ".join(columns)
            paths = database.execute(f"SELECT id, {names} FROM ValidPaths ORDER BY path").fetchall()  # noqa: S608
            number = {row[0]: position for position, row in enumerate(paths, 1)}
            references = sorted(
                (number[one], number[other])
                for one, other in database.execute("SELECT referrer, reference FROM Refs")
            )
            database.execute("BEGIN")
            database.execute("DELETE FROM Refs")
            database.execute("DELETE FROM DerivationOutputs")
            database.execute("DELETE FROM ValidPaths")
            marks = ", ".join("?" * (len(columns) + 1))
            database.executemany(
                f"INSERT INTO ValidPaths (id, {names}) VALUES ({marks})",  # noqa: S608
                [(number[row[0]], *row[1:]) for row in paths],
            )
            database.execute("UPDATE ValidPaths SET registrationTime = ?", (STORE_TIME,))
            database.executemany("INSERT INTO Refs (referrer, reference) VALUES (?, ?)", references)
            database.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'ValidPaths'", (len(paths),))
            database.execute("COMMIT")
            database.execute("VACUUM")
    except sqlite3.Error as error:
        raise NixferryError(
            f"the database of the copied store cannot be settled: {error}",
            step=STEP,
            remedy="Report it with the version of Nix on the controller.",
        ) from None
    for suffix in ("-wal", "-shm", "-journal"):
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


def refuse_host_keys(tree: Path, toplevel: str, *, step: Step = STEP) -> None:
    """Refuse a system with a secret key of sshd in it, which all who get the system could read."""
    directory = tree / in_tree(tree, f"{toplevel}/etc/ssh").lstrip("/")
    if not directory.is_dir():
        return
    for file in sorted(directory.glob("ssh_host_*")):
        if not file.name.endswith(".pub"):
            raise NixferryError(
                f"the system has a secret key of sshd in it (/etc/ssh/{file.name}), which others could read",
                step=step,
                remedy="Remove it from the configuration: sshd makes keys of its own at the first boot.",
            )


def measure(tree: Path) -> tuple[int, int]:
    """Return the bytes of all files in ``tree`` in whole blocks, and how many files there are."""
    size = files = 0
    pending = [str(tree)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    size += _BLOCK
                    pending.append(entry.path)
                elif not entry.is_symlink():
                    size += -(-entry.stat(follow_symlinks=False).st_size // _BLOCK) * _BLOCK
    return size, files


def clean_up(tree: Path) -> None:
    """Remove a staged root, whose store has directories that are not writable. Of a link remove the link alone."""
    if tree.is_symlink():
        tree.unlink()
        return
    for directory, _names, _files in os.walk(tree):
        os.chmod(directory, 0o700)  # noqa: PTH101  (a string)
    shutil.rmtree(tree, ignore_errors=True)
