# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Repeat a copy whose connection broke, within its timeout."""

from __future__ import annotations

import time
from collections.abc import Callable

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import AnswerLost
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress

from .explain import STEP, CopyError

# Seconds before the second, third, ... attempt: a router that reboots, an sshd that restarts.
BACK_OFF_SECONDS = (1.0, 3.0, 10.0, 30.0)
TIMEOUT_NAME = "the timeout of the copy"


class Attempts:
    """The attempts of one copy. ``timeout`` is in seconds for all of them together, None for no limit."""

    def __init__(
        self, shell: RemoteShell, progress: Progress, *, retries: int, timeout: float | None
    ) -> None:
        self.made = 0
        self._shell = shell
        self._progress = progress
        self._retries = retries
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline, None without one. Raises ``CopyError`` if it has passed."""
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise timeout_expired()
        return left

    def until_done(self, attempt: Callable[[], None]) -> None:
        """Call ``attempt`` until it succeeds, fails permanently, or the attempts are used up."""
        while True:
            self.made += 1
            try:
                if self.made > 1:
                    self._shell.reconnect(step=STEP)
                attempt()
                return
            except NixferryError as error:
                if self.made > self._retries or not is_transient(error):
                    raise
                pause = BACK_OFF_SECONDS[min(self.made, len(BACK_OFF_SECONDS)) - 1]
                left = self.seconds_left()
                self._progress.line(f"attempt {self.made} failed ({error.headline}); again in {pause:.0f} s")
                time.sleep(pause if left is None else min(pause, left))


def is_transient(error: NixferryError) -> bool:
    """Return True if the same attempt may succeed a moment later."""
    if isinstance(error, HostUnreachable | CopyError):
        return error.transient
    return isinstance(error, AnswerLost)


def timeout_expired() -> CopyError:
    """Return the error for a copy that takes too long."""
    return CopyError(
        f"{TIMEOUT_NAME} expired",
        remedy="Raise `timeout`, or run again: paths that have arrived are not sent a second time.",
    )
