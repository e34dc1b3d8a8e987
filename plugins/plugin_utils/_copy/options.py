# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The request for a copy, its result, and the division into pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import size_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import Item

from .explain import STEP

TRANSFER_OPTIONS: dict[str, dict[str, Any]] = {
    "from": {"type": "str"},
    "substitute_on_destination": {"type": "bool", "default": True},
    "compress": {"type": "bool"},
    "check_sigs": {"type": "bool", "default": False},
    "retries": {"type": "int", "default": 3},
    "timeout": {"type": "int", "default": 7200},
    "list_paths": {"type": "bool", "default": False},
}
# The paths in each list of a result. A first copy has thousands, which Ansible keeps, prints and sends on.
LISTED_PATHS = 20
# The verbosity (-vvv) at which they are all listed.
FULL_VERBOSITY = 3
# Ansible holds the input of a command in memory as a whole, and serves several hosts at once.
PIECE_BYTES = 32 * 1024 * 1024
# An exported path is its NAR and a trailer with the names of its references.
TRAILER_BYTES = 4096
_SSH_STORE = re.compile(r"ssh(-ng)?://")


@dataclass(frozen=True)
class CopyRequest:
    """What to copy, and how.

    ``source`` is the address of a Nix store, None for the controller's. ``root`` is a directory on the host
    that has the store as ``root/nix/store``. ``compress`` None leaves that to the size and the link. ``retries`` are
    further attempts after the first. ``timeout`` is in seconds for everything; None means unlimited. ``absent`` says
    that the host most likely lacks ``paths``, so that it is not asked for them alone.
    """

    paths: tuple[str, ...]
    source: str | None = None
    root: str | None = None
    substitute: bool = True
    compress: bool | None = None
    check_signatures: bool = False
    retries: int = 3
    timeout: float | None = None
    dry_run: bool = False
    absent: bool = False

    @property
    def source_is_ssh(self) -> bool:
        """Return True if the source is another host, which the controller logs in to; the host itself reads a cache."""
        return self.source is not None and _SSH_STORE.match(self.source) is not None

    @property
    def host_fetches(self) -> bool:
        """Return True if the host itself reads the source, a binary cache."""
        return self.source is not None and not self.source_is_ssh


def copy_request(
    options: Mapping[str, Any], paths: Sequence[str], *, dry_run: bool, absent: bool = False
) -> CopyRequest:
    """Return the typed request for validated ``options``. Raises ``NixferryError`` for a wrong path or number."""
    for name in ("retries", "timeout"):
        if options[name] < 0:
            raise NixferryError(f"`{name}` must not be negative", step=STEP)
    root = options.get("to_root")
    if root is not None and not root.startswith("/"):
        raise NixferryError(f"`to_root` must be an absolute path, not {root!r}", step=STEP)
    return CopyRequest(
        paths=tuple(dict.fromkeys(parse_store_path(path, step=STEP).path for path in paths)),
        source=options["from"] or None,
        root=None if root is None or root.rstrip("/") == "" else root,
        substitute=options["substitute_on_destination"],
        compress=options["compress"],
        check_signatures=options["check_sigs"],
        retries=options["retries"],
        timeout=options["timeout"] or None,
        dry_run=dry_run,
        absent=absent,
    )


@dataclass(frozen=True)
class CopyResult:
    """The result of a copy, or in check mode what it would do.

    ``missing`` are the paths that the host lacked, ``copied`` those of them that travelled over the connection
    (the others were fetched by the host from its substituters), and ``transport`` is ``ssh``, ``stream``,
    ``local``, ``fetch`` (the host read a cache), or ``none`` when there was nothing to do. ``unbuilt`` are paths
    that do not exist yet, which a dry run counts among the missing ones with size 0.
    """

    transport: str
    missing: tuple[Item, ...] = ()
    copied: tuple[str, ...] = ()
    attempts: int = 0
    unbuilt: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.missing)

    @property
    def nar_size(self) -> int:
        """Return the uncompressed size of the copied paths in bytes."""
        wanted = set(self.copied)
        return sum(item.nar_size for item in self.missing if item.path in wanted)

    def facts(self, *, most: int | None = LISTED_PATHS) -> dict[str, Any]:
        """Return the result for Ansible, always with the same keys.

        Each list has the first ``most`` paths, or all of them for ``None``.
        """
        copied = set(self.copied)
        substituted = sorted({item.path for item in self.missing} - copied)
        return {
            "changed": self.changed,
            "failed": False,
            "transport": self.transport,
            "missing": [{"path": item.path, "nar_size": item.nar_size} for item in self.missing[:most]],
            "missing_paths": len(self.missing),
            "copied": list(self.copied[:most]),
            "copied_paths": len(copied),
            "substituted": substituted[:most],
            "substituted_paths": len(substituted),
            "nar_size": self.nar_size,
            "attempts": self.attempts,
            "unbuilt": list(self.unbuilt[:most]),
            "unbuilt_paths": len(self.unbuilt),
        }


def most_listed(*, every: bool, verbosity: int) -> int | None:
    """Return how many paths each list of a result has at most, ``None`` for all of them."""
    return None if every or verbosity >= FULL_VERBOSITY else LISTED_PATHS


def diff_text(result: CopyResult) -> str:
    """Return the paths to copy, with sizes, for ``--diff``."""
    sizes = {item.path: size_text(item.nar_size) for item in result.missing}
    sizes.update(dict.fromkeys(result.unbuilt, "not built yet, with its references"))
    lines = [f"+ {path} ({size})" for path, size in sizes.items()]
    return "\n".join([*lines, count_text(result.missing), ""])


def count_text(items: Sequence[Item]) -> str:
    """Return number and size of paths, such as ``3 paths, 2.0 MiB``."""
    noun = "path" if len(items) == 1 else "paths"
    return f"{len(items)} {noun}, {size_text(sum(item.nar_size for item in items))}"


def groups(items: Iterable[Item], limit: int = PIECE_BYTES) -> Iterator[list[Item]]:
    """Yield ``items`` in order, in groups that fit into ``limit`` bytes; a larger item comes alone."""
    group: list[Item] = []
    size = 0
    for item in items:
        weight = item.nar_size + TRAILER_BYTES
        if group and size + weight > limit:
            yield group
            group, size = [], 0
        group.append(item)
        size += weight
    if group:
        yield group
