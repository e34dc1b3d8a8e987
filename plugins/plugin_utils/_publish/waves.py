# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Waves of a publish: some hosts get their pointers first, and go back to what they had if they are not well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

STEP = Step.PUBLISH
_SHARE = re.compile(r"([1-9][0-9]?|100)%")


def split_waves(
    waves: Sequence[Sequence[str]], hosts: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """Return the hosts of every wave, and at last those that no wave names.

    An item is a host, a group of the inventory, or a share of all hosts such as ``10%``, which is rounded up and takes
    the first hosts that are left. A host is in the first wave that names it. Raises ``NixferryError`` for another name.
    """
    rest = list(dict.fromkeys(hosts))
    count = len(rest)
    split = []
    for wave in waves:
        chosen: list[str] = []
        for item in map(str, wave):
            share = _SHARE.fullmatch(item)
            if share:
                left = [host for host in rest if host not in chosen]
                chosen += left[: -(-count * int(share[1]) // 100)]
            elif item in hosts:
                chosen.append(item)
            elif item in groups:
                chosen += [host for host in rest if host in groups[item]]
            elif item not in groups.get("all", ()):
                raise NixferryError(
                    f"{item!r} in `waves` is not a valid name of a host or a group",
                    step=STEP,
                    remedy="Name hosts, groups of the inventory, or a share of all hosts such as 10%.",
                )
        taken = [host for host in rest if host in chosen]
        split.append(taken)
        rest = [host for host in rest if host not in taken]
    return [*split, rest]


def wave_of(
    number: int | None,
    waves: Sequence[Sequence[str]],
    hosts: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return the hosts of the wave that is published, None for all hosts, and those of later waves.

    Raises ``NixferryError`` if there is no such wave, or one names what is not in the inventory.
    """
    if number is None:
        return None, frozenset()
    split = split_waves(waves, hosts, groups)
    if not 0 <= number < len(split):
        raise NixferryError(f"`wave` must be from 0 to {len(split) - 1}, not {number}", step=STEP)
    return frozenset(split[number]), frozenset(host for wave in split[number + 1 :] for host in wave)


@dataclass(frozen=True)
class Revert:
    """One host that goes back: only if its pointer is still the one with the serial ``written``."""

    written: int
    previous: int


def reverts_of(published: Mapping[str, Any]) -> tuple[dict[str, Revert], dict[str, str]]:
    """Return what to take back of a publish, by its result, and why other hosts stay as they are.

    Raises ``NixferryError`` if it is not the result of a publish.
    """
    reverts: dict[str, Revert] = {}
    left: dict[str, str] = {}
    for host, told in published.items():
        try:
            written, previous = told["serial"], told["previous_serial"]
            if not told["changed"] or told["toplevel"] == told["previous_toplevel"]:
                left[host] = "its system was not changed by this publish"
            elif previous is None:
                left[host] = "it had no pointer before"
            else:
                reverts[host] = Revert(int(written), int(previous))
        except (TypeError, KeyError, ValueError) as error:
            raise NixferryError(
                f"`revert` has no valid entry for {host}: {error!r}",
                step=STEP,
                remedy="Give `published` from the result of an earlier nix_publish.",
            ) from None
    return reverts, left
