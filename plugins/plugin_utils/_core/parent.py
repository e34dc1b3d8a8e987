# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What a child process does when the process that started it is gone."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

from .errors import NixferryError, Step

_PR_SET_PDEATHSIG = 1


class ParentWatch:
    """Detects that the process that started this one is gone."""

    def __init__(self) -> None:
        self._parent = os.getppid()

    def check(self) -> None:
        """Raise ``NixferryError`` if the original parent is gone."""
        if os.getppid() != self._parent:
            raise NixferryError(
                "ansible-playbook has ended; everything it started is stopped",
                step=Step.WATCH_CONTROLLER,
            )


def _load_prctl() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None
    return prctl


_PRCTL = _load_prctl()


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return the function that the child runs before it becomes the program; None if the system does not support it."""
    if _PRCTL is None:
        return None

    def prepare() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            # The parent died before the call above, so the signal would never come.
            os._exit(1)

    return prepare
