# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Let the hosts of a run share one look at the closures of their systems.

Each host is copied to by a process of its own, and the closures of a fleet have most paths in common. The task that
builds for all announces the systems. The first process that needs one of their closures reads those of all, and leaves
them for the others in Ansible's directory for temporary files (``local_tmp``), which only the user of the run can read.
A look that fails is not an error: then each process looks for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.lock import wait_for_lock
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import controller_temporary
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import (
    Item,
    Registered,
    closure_names,
    registered,
)

from .explain import STEP

# Seconds for one look at all closures; a process that waits for it looks for itself then.
LOOK_SECONDS = 300.0
POLL_SECONDS = 0.02

# The size of each path as a NAR, and the other paths that it refers to.
Graph = Mapping[str, tuple[int, Sequence[str]]]


def announce(toplevels: Sequence[str], directory: Path | None = None) -> None:
    """Note that the closures of ``toplevels`` may be asked for, each by another process of this run."""
    several = sorted(set(filter(None, toplevels)))
    if len(several) < 2:
        return
    place = _place(directory)
    name = sha256("\n".join(several).encode()).hexdigest()
    # Without room for it nothing is shared.
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, exist_ok=True)
        (place / f"{name}.json").write_text(json.dumps(several), encoding="utf-8")


def shared_closure(nix: Nix, toplevel: str, directory: Path | None = None) -> list[Item] | None:
    """Return the closure of ``toplevel``, every path behind those it refers to; None if it is not shared."""
    with contextlib.suppress(OSError, ValueError, NixferryError):
        for announced in sorted(_place(directory).glob("*.json")):
            toplevels = json.loads(announced.read_text(encoding="utf-8"))
            if toplevel in toplevels:
                graph = _graph(nix, announced, toplevels)
                return list(_behind(graph, toplevel)) if toplevel in graph else None
    return None


def _place(directory: Path | None) -> Path:
    return (directory or Path(controller_temporary())) / "nixferry-closures"


def _graph(nix: Nix, announced: Path, toplevels: Sequence[str]) -> Graph:
    """Return what the store says of the closures of ``toplevels``, empty if that cannot be read."""
    kept = announced.with_suffix(".graph")
    with announced.open("rb+") as lock:
        expired = NixferryError("another process reads the closures for too long", step=STEP)
        wait_for_lock(
            lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB),
            timeout=LOOK_SECONDS,
            poll=POLL_SECONDS,
            expired=expired,
        )
        if not kept.exists():
            graph: Graph = {}
            with contextlib.suppress(NixferryError):
                names = closure_names(nix, toplevels, step=STEP, timeout=LOOK_SECONDS)
                found = registered(nix, names, step=STEP, timeout=LOOK_SECONDS)
                graph = {path: (each.nar_size, _others(each)) for path, each in found.items()}
            unfinished = kept.with_suffix(".new")
            unfinished.write_text(json.dumps(graph), encoding="utf-8")
            unfinished.replace(kept)
            return graph
    return {
        path: (int(size), references)
        for path, (size, references) in json.loads(kept.read_text(encoding="utf-8")).items()
    }


def _others(each: Registered) -> list[str]:
    return [name for name in each.references if name != each.path]


def _behind(graph: Graph, toplevel: str) -> Iterator[Item]:
    """Yield the closure of ``toplevel``, every path behind those it refers to. Raises ``ValueError`` with a gap."""
    seen = {toplevel}
    stack = [(toplevel, iter(graph[toplevel][1]))]
    while stack:
        path, rest = stack[-1]
        for reference in rest:
            if reference not in graph:
                raise ValueError(reference)
            if reference not in seen:
                seen.add(reference)
                stack.append((reference, iter(graph[reference][1])))
                break
        else:
            stack.pop()
            yield Item(path, graph[path][0])
