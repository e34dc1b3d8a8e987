# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The words that the controller and the guard exchange, spelled as in a request."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """The requested action."""

    SWITCH = "switch"
    """Activate, confirm, commit."""
    BOOT = "boot"
    """Commit only."""
    TEST = "test"
    """Activate and confirm, without a commit."""
    DRY_ACTIVATE = "dry-activate"


class Phase(StrEnum):
    """The phase of an activation."""

    NONE = "none"
    """A ``start`` that started nothing: no change was needed, or it was a dry activation."""
    PREPARED = "prepared"
    ACTIVATING = "activating"
    AWAITING_CONFIRMATION = "awaiting-confirmation"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self in (Phase.NONE, Phase.COMMITTED, Phase.ROLLED_BACK, Phase.FAILED)


# The phases in which the guard works and the controller only waits.
UNDER_WAY = (Phase.PREPARED, Phase.ACTIVATING, Phase.COMMITTING, Phase.ROLLING_BACK)


class FailedUnits(StrEnum):
    """The consequence of newly failed units."""

    ROLLBACK = "rollback"
    IGNORE = "ignore"


class Reboot(StrEnum):
    """Whether the new system is booted, once, before it is confirmed."""

    NEVER = "never"
    IF_REQUIRED = "if-required"
    ALWAYS = "always"


class RebootProgress(StrEnum):
    """The progress of a reboot inside an activation."""

    NONE = ""
    PLANNED = "planned"
    UNDER_WAY = "under-way"
    DONE = "done"
