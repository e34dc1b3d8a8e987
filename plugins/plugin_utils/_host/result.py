# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What came of a command on the host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteResult:
    """The output of a script on the host, cleaned (``_core/said.py``) and bounded.

    Replacement characters stand for what is not UTF-8.
    """

    return_code: int
    stdout: str
    stderr: str
