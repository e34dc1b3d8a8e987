# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Measure the memory of processes."""

from __future__ import annotations

import re
from pathlib import Path

# proc(5): the peak resident set size.
_PEAK = re.compile(r"^VmHWM:\s+(\d{1,15}) kB$", re.MULTILINE)


def peak_memory_mib(pid: int, processes: Path = Path("/proc")) -> int:
    """Return the most memory that a process has held so far, in MiB; 0 where the system does not tell (macOS)."""
    try:
        found = _PEAK.search((processes / str(pid) / "status").read_text(encoding="ascii", errors="replace"))
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0
