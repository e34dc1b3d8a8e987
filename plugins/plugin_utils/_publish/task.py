# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Publish systems: closures into a cache, seen to be whole there, and only then the pointers that name them.

An interrupted publish leaves the old pointers valid: everything before the first pointer only adds to the cache, and
each pointer is replaced at once. Running it again writes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import Pointer
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import SigningKey
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import invalid_paths

from .cache import Cache, copy_to_cache, faults, refuse_wrong, sign_in_cache, verify_cache
from .closure import Checked, Fault
from .place import index_name
from .pointers import (
    Channel,
    check_names,
    history_of,
    index_text,
    is_due,
    next_serial,
    read_index,
)
from .waves import Revert

STEP = Step.PUBLISH
PREVIOUS = "previous"


@dataclass(frozen=True)
class PublishRequest:
    """What to publish.

    ``toplevels`` are the store paths by host. With ``to``, ``previous`` or a serial, they come from the channel's
    history instead, for the hosts in ``toplevels``, whose values then do not count. ``reverts`` takes hosts back to
    what an earlier publish has replaced, each by the serials of that. ``about`` is added to the index.

    ``only`` are the hosts whose pointers are written, None for all; the closures of all go to the cache. ``later`` are
    those of later waves.
    """

    toplevels: Mapping[str, str]
    cache: Cache
    channel: Channel
    to: str = ""
    reverts: Mapping[str, Revert] = field(default_factory=dict)
    only: frozenset[str] | None = None
    later: frozenset[str] = frozenset()
    renew: bool = False
    verify: bool = True
    timeout: float | None = None
    dry_run: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def goes_back(self) -> bool:
        """Whether hosts get earlier systems, which the cache has already."""
        return bool(self.to or self.reverts)


@dataclass(frozen=True)
class Published:
    """The pointers before and after, by host. ``checked`` is what the cache was seen to have, None without a look."""

    before: Mapping[str, Pointer | None]
    after: Mapping[str, Pointer]
    checked: Checked | None
    pending: tuple[str, ...] = ()
    """The hosts of later waves whose pointers are due."""

    @property
    def written(self) -> list[str]:
        """Return the hosts whose pointer is a new one."""
        return [host for host, pointer in self.after.items() if pointer != self.before[host]]

    def facts(self) -> dict[str, Any]:
        """Return the result for Ansible, always with the same keys."""
        hosts = {}
        for host, pointer in self.after.items():
            before = self.before[host]
            hosts[host] = {
                "toplevel": pointer.toplevel,
                "serial": pointer.serial,
                "expires": pointer.expires,
                "changed": pointer != before,
                "previous_toplevel": before.toplevel if before else None,
                "previous_serial": before.serial if before else None,
            }
        written = self.written
        return {
            "changed": bool(written),
            "published": hosts,
            "serial": max((self.after[host].serial for host in written), default=None),
            "verified_paths": len(self.checked.found) if self.checked else 0,
            "download_size": self.checked.download_size if self.checked else 0,
            "pending": list(self.pending),
        }

    def diff(self) -> dict[str, str]:
        """Return what changes in the pointers, for ``--diff``."""

        def text(pointers: Mapping[str, Pointer | None]) -> str:
            lines = [
                f"{host} {pointer.toplevel}"
                for host in self.written
                if (pointer := pointers[host]) is not None
            ]
            return "".join(f"{line}\n" for line in lines)

        return {
            "before_header": "pointers",
            "after_header": "pointers",
            "before": text(self.before),
            "after": text(self.after),
        }


def publish(request: PublishRequest, *, nix: Nix, progress: Progress) -> Published:
    """Copy, verify, and write the pointers that are due. Raises ``NixferryError``; then no host has a wrong pointer.

    A dry run reads the pointers and copies and writes nothing.
    """
    check_names(list(request.toplevels), request.channel.name)
    if request.dry_run:
        return _Publish(request, nix, progress).run()
    with request.channel.place.locked(
        request.channel.name,
        waiting=lambda: progress.line("waiting for another publisher of the same channel"),
    ):
        return _Publish(request, nix, progress).run()


class _Publish:
    def __init__(self, request: PublishRequest, nix: Nix, progress: Progress) -> None:
        self.request = request
        self.channel = request.channel
        self.nix = nix
        self.progress = progress
        self.index: dict[str, Any] = {}

    def run(self) -> Published:
        request = self.request
        before = {host: self.channel.current(host) for host in request.toplevels}
        self.index = read_index(self.channel.place, self.channel.name)
        wanted = self.wanted(before)
        checked = None
        if not request.dry_run:
            checked = self.fill_cache(sorted(set(wanted.values())))
        now = int(time.time())
        serial = next_serial([pointer for pointer in before.values() if pointer], now)
        after: dict[str, Pointer] = {}
        pending = []
        for host, toplevel in wanted.items():
            old = before[host]
            is_old = old is not None and not request.renew and not is_due(old, toplevel, now)
            if request.only is not None and host not in request.only:
                if host in request.later and not is_old:
                    pending.append(host)
                continue
            if old is not None and is_old:
                after[host] = old
                continue
            after[host] = Pointer(host, self.channel.name, serial, now, now + self.channel.lifetime, toplevel)
        published = Published(before, after, checked, tuple(pending))
        if not request.dry_run:
            self.write(published)
        return published

    def wanted(self, before: Mapping[str, Pointer | None]) -> dict[str, str]:
        """Return the store path for each host."""
        if self.request.reverts:
            return {host: self.replaced(host, before[host]) for host in self.request.toplevels}
        if not self.request.to:
            return dict(self.request.toplevels)
        return {host: self.earlier(host, before[host]) for host in self.request.toplevels}

    def replaced(self, host: str, current: Pointer | None) -> str:
        """Return the path that an earlier publish has replaced; the present one if another publish came after it."""
        revert = self.request.reverts[host]
        if current is not None and current.serial != revert.written:
            return current.toplevel
        pointer = self.channel.kept(host, revert.previous)
        if pointer is None:
            raise NixferryError(
                f"the pointer of {host} with serial {revert.previous} is not kept any more",
                step=STEP,
                remedy="Publish an earlier system with `to`, and keep more pointers with `keep`.",
            )
        return pointer.toplevel

    def earlier(self, host: str, current: Pointer | None) -> str:
        """Return the path of an earlier pointer: of that serial, or of the last one with another path than now."""
        known = history_of(self.index, host)
        if self.request.to != PREVIOUS:
            pointer = self.channel.kept(host, int(self.request.to))
            if pointer is not None:
                return pointer.toplevel
        elif current is not None:
            for serial in known:
                pointer = self.channel.kept(host, serial) if serial < current.serial else None
                if pointer is not None and pointer.toplevel != current.toplevel:
                    return pointer.toplevel
        listed = ", ".join(map(str, known)) or "none"
        raise NixferryError(
            f"{host} has no pointer to go back to with `to: {self.request.to}`",
            step=STEP,
            remedy=f"The history of channel {self.channel.name} has these serials for it: {listed}.",
        )

    def fill_cache(self, paths: list[str]) -> Checked | None:
        """Copy what is missing, and return what hosts will find; mend what can be mended, and refuse the rest."""
        request = self.request
        cache = request.cache
        if not request.goes_back:
            self.progress.phase(f"copying to {cache.shown}")
            self.copy(paths)
        if not request.verify:
            return None
        self.progress.phase(f"verifying {cache.shown}")
        checked = verify_cache(cache, paths, progress=self.progress)
        if Fault.ABSENT in faults(checked) and not request.goes_back:
            self.copy(paths, again=True)
            checked = verify_cache(cache, paths, progress=self.progress)
        if Fault.UNSIGNED in faults(checked) and cache.key is not None:
            self.sign(cache.key, paths)
            checked = verify_cache(cache, paths, progress=self.progress)
        refuse_wrong(cache, checked)
        return checked

    def copy(self, paths: list[str], *, again: bool = False) -> None:
        """Copy what is missing."""
        request = self.request
        copy_to_cache(
            self.nix, request.cache, paths, timeout=request.timeout, progress=self.progress, again=again
        )

    def sign(self, key: SigningKey, paths: list[str]) -> None:
        """Sign what the cache has of the closures of ``paths``, unless this machine has them not, to compare."""
        request = self.request
        if not invalid_paths(self.nix, paths, step=STEP):
            sign_in_cache(
                self.nix, request.cache, key, paths, timeout=request.timeout, progress=self.progress
            )

    def write(self, published: Published) -> None:
        """Write the pointers, and then the index, also if an earlier publish ended between the two."""
        listed = dict(self.index)
        for host, pointer in published.after.items():
            history = history_of(self.index, host)
            if host in published.written:
                history = self.channel.write(pointer, history)
            elif self.index.get(host, {}).get("serial") == pointer.serial:
                continue
            listed[host] = {
                "toplevel": pointer.toplevel,
                "serial": pointer.serial,
                "issued": pointer.issued,
                "expires": pointer.expires,
                "history": sorted({pointer.serial, *history}, reverse=True),
            }
        if listed == self.index:
            return
        serial = max(pointer.serial for pointer in published.after.values())
        content = index_text(self.channel.name, serial, listed, self.request.about)
        self.channel.place.write(index_name(self.channel.name), content)
