# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""How many hosts may be evaluated at once, and by how many processes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# What evaluating a NixOS configuration takes at its peak, and what is left for everything else, in MiB.
MEMORY_PER_HOST_MIB = 512
MEMORY_RESERVE_MIB = 1024
_MIB = 1024 * 1024
_MEMORY_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """``memory_mib`` is what all evaluators together may take; ``evaluators`` is how many may run at once."""

    memory_mib: int
    evaluators: int


def chunk_size(attributes: int, limits: Limits) -> tuple[int, int]:
    """How many of ``attributes`` one evaluator process gets, and how many such processes run at once.

    Evaluators share what they have parsed among the hosts of a chunk, so chunks are as large as memory and
    an even share between the processes allow.
    """
    at_once = max(1, (limits.memory_mib - MEMORY_RESERVE_MIB) // MEMORY_PER_HOST_MIB)
    evaluators = max(1, min(limits.evaluators, at_once, attributes))
    even_share = -(-attributes // evaluators)
    return max(1, min(even_share, at_once // evaluators)), evaluators


def worker_memory_mib(attributes: int, limits: Limits) -> tuple[int, int]:
    """How many workers may evaluate ``attributes`` one by one, and the memory at which each is to be replaced, in MiB.

    A worker is looked at when it has evaluated a host: what one host takes may come on top.
    """
    _size, workers = chunk_size(attributes, limits)
    share = (limits.memory_mib - MEMORY_RESERVE_MIB) // workers
    return workers, max(0, share - MEMORY_PER_HOST_MIB)


def default_limits(memory_mib: int | None = None, evaluators: int | None = None) -> Limits:
    """The limits that the user gave, completed from what this machine has."""
    return Limits(
        memory_mib=available_memory_mib() if memory_mib is None else memory_mib,
        evaluators=available_processors() if evaluators is None else max(1, evaluators),
    )


def available_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_mib(root: Path = Path("/")) -> int:
    """Memory that programs may still take, in MiB: of the machine, or of the container when that is less.

    Where the system does not tell what is available (macOS), half of what it has is assumed. ``root`` is
    the directory that has proc and sys in it.
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
    """What is left of the memory limit of the control group (version 2) of a container; None without a limit."""
    try:
        limit = int((directory / "memory.max").read_text(encoding="ascii"))
        used = int((directory / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return max(0, limit - used) // _MIB
