# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Decide which pointers of a channel are written anew, and write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    LARGEST_NUMBER,
    NAME,
    Pointer,
    sign_pointer,
    verify_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey

from .place import Place, history_name, index_name, pointer_name

STEP = Step.PUBLISH
INDEX_FORMAT = 1
# Below this part of its life a pointer is signed again although its path is the same: only by the age of a pointer can
# a host tell a publisher that has nothing new from a server that withholds what is new.
RENEW_BELOW = 0.5


@dataclass(frozen=True)
class Channel:
    """The pointers of one channel in one place. ``keys`` are the public keys that may have signed them."""

    place: Place
    name: str
    key: SshKey
    keys: tuple[str, ...]
    lifetime: int
    """Seconds from the issue of a pointer until it expires."""
    keep: int
    """How many pointers of a host the history has, the current one included."""

    def current(self, host: str) -> Pointer | None:
        """Return the pointer that ``host`` reads, expired or not; None before the first.

        Raises ``NixferryError`` if it is not one of the publisher's: its serial is the floor for the next.
        """
        content = self.place.read(pointer_name(self.name, host))
        return None if content is None else self._verified(content, host)

    def kept(self, host: str, serial: int) -> Pointer | None:
        """Return the pointer with that serial from the history; None if it is not kept."""
        content = self.place.read(history_name(self.name, host, serial))
        if content is None:
            return None
        pointer = self._verified(content, host)
        if pointer.serial != serial:
            raise NixferryError(
                f"{self.place.address}/{history_name(self.name, host, serial)} has the serial {pointer.serial}",
                step=STEP,
                remedy="Find out who put it there: the publisher names each file by its serial.",
            )
        return pointer

    def _verified(self, content: bytes, host: str) -> Pointer:
        return verify_pointer(content, self.keys, host=host, channel=self.name)

    def write(self, pointer: Pointer, history: Sequence[int]) -> list[int]:
        """Sign and write ``pointer``; return the serials that the history now has, the newest first.

        The history comes first: a serial that a host has seen can be gone back to.
        """
        content = sign_pointer(pointer, self.key)
        self.place.write(history_name(self.name, pointer.host, pointer.serial), content)
        self.place.write(pointer_name(self.name, pointer.host), content)
        serials = sorted({pointer.serial, *history}, reverse=True)
        for serial in serials[self.keep :]:
            self.place.forget(history_name(self.name, pointer.host, serial))
        return serials[: self.keep]


def check_names(hosts: Sequence[str], channel: str) -> None:
    """Raise ``NixferryError`` for a name that is not one in a pointer and in a path below the place."""
    for kind, names in (("host", hosts), ("channel", [channel])):
        for name in names:
            if NAME.fullmatch(name) is None:
                raise NixferryError(
                    f"{name!r} is not a valid name of a {kind} in pointers",
                    step=STEP,
                    remedy="It may have letters, digits, dots, dashes and underscores, and begins with a letter, a "
                    "digit or an underscore.",
                )


def next_serial(before: Sequence[Pointer], now: int) -> int:
    """Return one serial for all hosts of a publish: the present time, unless an earlier serial is above it."""
    serial = max([now, *(pointer.serial + 1 for pointer in before)])
    if serial > LARGEST_NUMBER:
        raise NixferryError(
            f"the next serial would be {serial}, which is too large for a pointer",
            step=STEP,
            remedy="A clock was very wrong once: publish to a new channel.",
        )
    return serial


def is_due(before: Pointer | None, toplevel: str, now: int) -> bool:
    """Return True if a pointer to ``toplevel`` must be written: a new path, or one that is about to expire."""
    return before is None or before.toplevel != toplevel or before.life_left(now) < RENEW_BELOW


# --- the index ----------------------------------------------------------------------------------------------------


def read_index(place: Place, channel: str) -> dict[str, Any]:
    """Return the hosts in the channel's index. It is not signed: what is not as expected is left out."""
    content = place.read(index_name(channel))
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        found = {}
    hosts = found.get("hosts") if isinstance(found, Mapping) else None
    if not isinstance(hosts, Mapping):
        return {}
    return {
        name: dict(entry)
        for name, entry in hosts.items()
        if NAME.fullmatch(name) and isinstance(entry, Mapping)
    }


def history_of(index: Mapping[str, Any], host: str) -> list[int]:
    """Return the serials that the index names for a host, the newest first."""
    listed = index.get(host, {}).get("history")
    numbers = [whole_number(str(each)) for each in listed] if isinstance(listed, list) else []
    return sorted({number for number in numbers if number is not None}, reverse=True)


def index_text(channel: str, serial: int, hosts: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    """Return the file of an index: ``about`` the publish, then the hosts in order."""
    index = {"format": INDEX_FORMAT, "channel": channel, "serial": serial, **about, "hosts": hosts}
    return (json.dumps(index, indent=1, sort_keys=True) + "\n").encode()
