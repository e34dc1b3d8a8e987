# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The hosts of a fleet file, for a build of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import read_fleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.source import STEP, source_from
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.variables import left_out


@dataclass(frozen=True)
class EveryHost:
    """The names of the hosts to build for, and of those that the file excludes from deploys, with the reason."""

    names: tuple[str, ...]
    left_out: Mapping[str, str]


def every_host(
    options: Mapping[str, Any], nix: Nix, directory: str, said: EvaluationWarnings | None = None
) -> EveryHost:
    """Return the hosts of ``fleet`` in a task's options. Relative paths are relative to ``directory``.

    ``said`` is what listens to ``nix``. A host that cannot be read is among the hosts: its build says why. Raises
    ``NixferryError`` if the fleet as a whole cannot be read, or has no hosts.
    """
    given = [name for name in ("hosts", "sources") if options[name] is not None]
    if given or not options["fleet"]:
        raise NixferryError(
            f"`all_hosts` goes with `fleet`{f', and not with `{given[0]}`' if given else ''}", step=STEP
        )
    fleet = source_from(options, ("fleet",)).fleet_in(directory, write_lock_file=False)
    listing = read_fleet(nix, fleet, timeout=options["timeout"] or None, said=said)
    absent = left_out(listing)
    names = tuple(name for name in (*listing.hosts, *listing.errors) if name not in absent)
    if not names:
        raise NixferryError(
            f"the fleet {' '.join(listing.words)}, read in the format {listing.format}, has no hosts to deploy"
            + (f"; it excludes {', '.join(absent)}" if absent else ""),
            step=STEP,
            remedy="Name the file or the output that has the hosts, or set `fleet_format`.",
        )
    return EveryHost(names, absent)
