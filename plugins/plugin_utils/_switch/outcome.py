# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The outcome of a switch in one word, documented as ``outcome`` of nix_switch."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a switch ended."""

    UNCHANGED = "unchanged"
    AWAITING_CONFIRMATION = "awaiting-confirmation"
    COMMITTED = "committed"
    TESTED = "tested"
    DRY_ACTIVATED = "dry-activated"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def is_failure(self) -> bool:
        """Whether the host does not run the requested system, or cannot be reached."""
        return self in (Outcome.ROLLED_BACK, Outcome.FAILED, Outcome.UNKNOWN)
