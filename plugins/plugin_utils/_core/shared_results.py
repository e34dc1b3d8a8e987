# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Results shared by the worker processes of one ansible-playbook run.

Under the free strategy a task with ``run_once`` still runs for every host, each time in a process of its own, and
Ansible registers each result for all hosts (``get_task_hosts`` in ansible-core's ``plugins/strategy/__init__.py``).
The last process overwrites the results of the others, although it may have started when it knew fewer hosts.
Therefore each process adds its own result to the earlier ones, and returns all of them.

The memory is an anonymous file: Ansible's main process loads the action plugin, and with it this file, before it
forks the first process that uses it, and it is gone when the last of them ends. If a strategy works differently, each
process only has a memory of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from typing import Any

from .errors import NixferryError, Step
from .lock import wait_for_lock

# Seconds until the holder of the lock must have ended; it only returns its result, unless the task is repeated
# (`until`).
LOCK_TIMEOUT_SECONDS = 600.0
LOCK_POLL_SECONDS = 0.02
_CHUNK_BYTES = 1 << 20


def new_memory() -> int:
    """Return the descriptor of an empty memory for this process and its forks."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nixferry")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_MEMORY = new_memory()


def add_findings(
    key: str,
    own: Mapping[str, Any],
    *,
    of: Collection[str],
    memory: int = _MEMORY,
    timeout: float = LOCK_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Add ``own``, a JSON value per host, to the values under ``key``; return all values of the hosts in ``of``.

    The lock that this takes is held until the process ends, which it does once Ansible has its result: the order in
    which results are registered is that in which this returns. The same process may call it again.
    Raises ``NixferryError`` when another process holds the lock for more than ``timeout`` seconds.
    """
    expired = NixferryError(
        f"the result lock timeout expired: the same task of another host has not ended for {timeout:.0f} seconds",
        step=Step.RETURN_RESULT,
        remedy="Run it again; if it hangs again, without the keyword `until`.",
    )
    # A lock of the process, not of the open file, which all processes share.
    wait_for_lock(
        lambda: fcntl.lockf(memory, fcntl.LOCK_EX | fcntl.LOCK_NB),
        timeout=timeout,
        poll=LOCK_POLL_SECONDS,
        expired=expired,
    )
    everything: dict[str, dict[str, Any]] = {}
    # A process that was killed while writing leaves a partial value.
    with contextlib.suppress(ValueError):
        everything = json.loads(_read(memory))
    found = everything.setdefault(key, {})
    found.update(own)
    _write(memory, json.dumps(everything).encode())
    return {**{host: found[host] for host in found if host in of}, **own}


def _read(descriptor: int) -> bytes:
    # All processes share the file position, so do not use it.
    text = b""
    while chunk := os.pread(descriptor, _CHUNK_BYTES, len(text)):
        text += chunk
    return text


def _write(descriptor: int, text: bytes) -> None:
    os.ftruncate(descriptor, 0)
    written = 0
    while written < len(text):
        written += os.pwrite(descriptor, text[written:], written)
