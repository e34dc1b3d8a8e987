# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Change text files that other programs change too: under a lock, by rename, keeping what is not ours."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LOCK_DEADLINE = 60  # seconds that another run may keep the directory locked
STORE = "/nix/store/"


class EditError(Exception):
    """A file cannot be changed; ``remedy`` says how to fix it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class Change(NamedTuple):
    """A file's text before and after; None stands for no file."""

    path: str
    before: str | None
    after: str | None
    mode: int = 0o644

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def diff(self) -> dict[str, str]:
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": shown(self.before or ""),
            "after": shown(self.after or ""),
        }

    def reversed(self) -> Change:
        return Change(self.path, self.after, self.before, self.mode)


def shown(text: str) -> str:
    """Return printable text, whatever bytes the file has."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def read_text(path: str) -> str | None:
    """Return a file's content, so that ``write`` can restore every byte; None without a file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise EditError(f"{path} cannot be read", "Use `become: true` for this task.") from error


def generated(path: str) -> bool:
    """Return True if the configuration of NixOS or nix-darwin makes this file: a link into the store or /etc/static."""
    real = os.path.realpath(path)
    return real.startswith(STORE) or "/etc/static/" in real


@contextlib.contextmanager
def locked(directory: str, deadline: float = LOCK_DEADLINE) -> Iterator[None]:
    """Lock a directory against other runs. The lock is on the directory itself, so no file is left behind."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        end = time.monotonic() + deadline
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                    raise
            if time.monotonic() > end:
                raise EditError(
                    f"{directory} is locked by another run since {deadline:.0f} seconds",
                    f"Wait for the other run, or end it: `fuser {directory}` names its process.",
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def write(module: Any, change: Change) -> None:
    """Change a file from one text to the other. Readers see the old file or the new one, never a part."""
    # Keep the link; replace its target.
    path = Path(change.path).resolve()
    try:
        if change.after is None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        exists = path.exists()
        make_directory(path.parent)
        descriptor, temporary = tempfile.mkstemp(prefix=".ansible_tmp", dir=str(path.parent))
        module.add_cleanup_file(temporary)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(change.after)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unchangeable(str(path), error) from error
    # Keeps owner, mode and security context of an existing file.
    module.atomic_move(temporary, str(path))
    if not exists:
        module.set_mode_if_different(str(path), change.mode, False)


def make_directory(directory: Path) -> None:
    """Like ``mkdir -p``, for world-readable directories."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with contextlib.suppress(FileExistsError):
        directory.mkdir()
        directory.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


def unchangeable(path: str, error: OSError) -> EditError:
    """Return the error for a change that the system refuses."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    remedy = "Use `become: true` for this task." if denied else "Check the file system of the host."
    return EditError(f"{path} cannot be changed: {error.strerror}", remedy)
