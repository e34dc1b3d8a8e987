# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Wait for a lock that another process holds."""

from __future__ import annotations

import time
from collections.abc import Callable

from .errors import NixferryError
from .parent import ParentWatch


def wait_for_lock(
    take: Callable[[], object],
    *,
    timeout: float,
    poll: float,
    expired: NixferryError,
    waiting: Callable[[], None] = lambda: None,
) -> None:
    """Call ``take``, which raises ``BlockingIOError`` or ``PermissionError`` while the lock is held, until it returns.

    It is called every ``poll`` seconds; ``waiting`` is called once if the lock is not free at first. Raises ``expired``
    after ``timeout`` seconds, and ``NixferryError`` when the parent has gone.
    """
    deadline = time.monotonic() + timeout
    watch = ParentWatch()
    told = False
    while True:
        try:
            take()
            return
        except (BlockingIOError, PermissionError):
            if not told:
                waiting()
                told = True
            if time.monotonic() > deadline:
                raise expired from None
        watch.check()
        time.sleep(poll)
