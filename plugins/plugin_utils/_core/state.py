# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The collection's own directory on the controller, and locks in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .errors import NixferryError, Step
from .lock import wait_for_lock

# Seconds that another process with the same task may take, and between two checks of its lock.
LOCK_TIMEOUT_SECONDS = 3600.0
LOCK_POLL_SECONDS = 0.2


def state_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Return the directory of the collection's state for this user."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_STATE_HOME", "")
    # The specification requires ignoring relative values (XDG Base Directory Specification, "Basics").
    if base.startswith("/"):
        return Path(base, "nixferry")
    try:
        home = Path.home()
    except RuntimeError:
        # Neither HOME nor an entry in the password database: nothing can be kept, which callers cope with.
        home = Path(os.devnull)
    return home / ".local/state/nixferry"


@contextlib.contextmanager
def locked(
    name: str,
    state: Path,
    *,
    waiting: Callable[[], None] = lambda: None,
    timeout: float = LOCK_TIMEOUT_SECONDS,
) -> Iterator[None]:
    """Hold the lock named ``name`` among this user's processes; ``waiting`` is called if another one holds it.

    With strategy free a ``run_once`` task runs for every host: the same work must not run many times at once.
    Raises ``NixferryError`` if the lock is not free within ``timeout`` seconds. If the state directory is not
    writable, the work is done without a lock.
    """
    directory = state / "locks"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / file_name(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        expired = NixferryError(
            f"the lock timeout expired: another process has been busy with the same build for {timeout:.0f} seconds",
            step=Step.WAIT_FOR_BUILD,
            remedy="Look for another ansible-playbook that builds the same, and end it or wait for it.",
        )
        wait_for_lock(
            lambda: fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB),
            timeout=timeout,
            poll=LOCK_POLL_SECONDS,
            expired=expired,
            waiting=waiting,
        )
        yield
    finally:
        os.close(descriptor)


def file_name(text: str) -> str:
    """Return ``text`` as a file name: special characters are replaced, and a digest keeps different names apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".")[:100]
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
