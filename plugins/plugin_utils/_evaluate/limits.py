# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Limit the number of hosts to evaluate at once, and the number of processes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Of the memory budget, what is kept for everything else, in MiB.
MEMORY_RESERVE_MIB = 1024
# A measured cost is not taken for less: the next host may be larger.
SMALLEST_COST_MIB = 64
_MIB = 1024 * 1024
_MEMORY_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """``memory_mib`` is the memory of all evaluators together; ``evaluators`` is the maximum number of them."""

    memory_mib: int
    evaluators: int


@dataclass(frozen=True)
class Cost:
    """The memory that an evaluator takes for its first host, and for each further one, in MiB.

    The defaults are those of hosts with a nixpkgs of 2024: 860 to 1100, and 400 to 800. Older ones take half of it.
    """

    first: int = 1024
    further: int = 640

    def of(self, hosts: int) -> int:
        """Return the memory of an evaluator for so many hosts."""
        return self.first + self.further * (max(1, hosts) - 1)

    def learned(self, measured: Iterable[tuple[int, int]]) -> Cost:
        """Return the cost that evaluators of so many hosts had, each with its peak in MiB; 0 was not measured."""
        known = [(hosts, peak) for hosts, peak in measured if peak > 0]
        alone = [peak for hosts, peak in known if hosts == 1]
        first = max(alone) if alone else min([self.first, *(peak for _hosts, peak in known)])
        # What an evaluator's first host took is not known: if it was the least, the further ones took the most.
        least = min([first, *alone])
        shares = [math.ceil((peak - least) / (hosts - 1)) for hosts, peak in known if hosts > 1]
        return Cost(
            max(SMALLEST_COST_MIB, first), max(SMALLEST_COST_MIB, max(shares) if shares else self.further)
        )


@dataclass
class Budget:
    """Says whether another evaluator may be started. It learns from those that run."""

    memory_mib: int
    expected_mib: int

    def may_start(self, peaks: Sequence[int]) -> bool:
        """Return whether another evaluator fits beside those that run, whose peaks so far are given in MiB.

        Each of them may still grow to what was expected, or to what another one has taken.
        """
        self.expected_mib = max([self.expected_mib, *peaks])
        return (len(peaks) + 1) * self.expected_mib <= self.memory_mib


def chunk_size(attributes: int, limits: Limits, cost: Cost | None = None) -> tuple[int, int]:
    """Return the number of ``attributes`` per evaluator process, and the number of parallel processes.

    An evaluator parses files once for all hosts of a chunk, so chunks are as large as memory and an even
    distribution among the processes allow.
    """
    cost = cost or Cost()
    memory = evaluator_memory_mib(limits)
    evaluators = max(1, min(limits.evaluators, memory // cost.first, attributes))
    even_share = -(-attributes // evaluators)
    fitting = 1 + max(0, memory // evaluators - cost.first) // cost.further
    return max(1, min(even_share, fitting)), evaluators


def evaluator_memory_mib(limits: Limits) -> int:
    """Return the memory that all evaluators together may take, in MiB."""
    return max(0, limits.memory_mib - MEMORY_RESERVE_MIB)


def worker_memory_mib(attributes: int, limits: Limits, cost: Cost | None = None) -> tuple[int, int]:
    """Return the number of workers for ``attributes``, and the memory in MiB at which a worker is replaced.

    A worker is checked after each host: the memory of one host may come on top.
    """
    cost = cost or Cost()
    _size, workers = chunk_size(attributes, limits, cost)
    return workers, max(0, evaluator_memory_mib(limits) // workers - cost.further)


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
