# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Limit the number of hosts to evaluate at once, and the number of processes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# The peak memory of evaluating a NixOS configuration, and the reserve for everything else, in MiB.
MEMORY_PER_HOST_MIB = 512
MEMORY_RESERVE_MIB = 1024
_MIB = 1024 * 1024
_MEMORY_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """``memory_mib`` is the memory of all evaluators together; ``evaluators`` is the maximum number of them."""

    memory_mib: int
    evaluators: int


def chunk_size(attributes: int, limits: Limits) -> tuple[int, int]:
    """Return the number of ``attributes`` per evaluator process, and the number of parallel processes.

    An evaluator parses files once for all hosts of a chunk, so chunks are as large as memory and an even
    distribution among the processes allow.
    """
    at_once = max(1, (limits.memory_mib - MEMORY_RESERVE_MIB) // MEMORY_PER_HOST_MIB)
    evaluators = max(1, min(limits.evaluators, at_once, attributes))
    even_share = -(-attributes // evaluators)
    return max(1, min(even_share, at_once // evaluators)), evaluators


def worker_memory_mib(attributes: int, limits: Limits) -> tuple[int, int]:
    """Return the number of workers for ``attributes``, and the memory in MiB at which a worker is replaced.

    A worker is checked after each host: the memory of one host may come on top.
    """
    _size, workers = chunk_size(attributes, limits)
    share = (limits.memory_mib - MEMORY_RESERVE_MIB) // workers
    return workers, max(0, share - MEMORY_PER_HOST_MIB)


def default_limits(memory_mib: int | None = None, evaluators: int | None = None) -> Limits:
    """Return the user's limits, completed by those of this machine."""
    return Limits(
        memory_mib=available_memory_mib() if memory_mib is None else memory_mib,
        evaluators=available_processors() if evaluators is None else max(1, evaluators),
    )


def available_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_mib(root: Path = Path("/")) -> int:
    """Return the available memory in MiB: of the machine, or of the container if that is less.

    If the system does not report it (macOS), half of the memory is assumed. ``root`` is the directory with proc and
    sys.
    """
    try:
        match = _MEMORY_AVAILABLE.search((root / "proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        match = None
    if match is None:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 // _MIB
    available = int(match[1]) // 1024
    group = _control_group_memory_mib(root / "sys/fs/cgroup")
    return available if group is None else min(available, group)


def _control_group_memory_mib(directory: Path) -> int | None:
    """Return the rest of the memory limit of a container's control group (version 2); None without a limit."""
    try:
        limit = int((directory / "memory.max").read_text(encoding="ascii"))
        used = int((directory / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return max(0, limit - used) // _MIB
