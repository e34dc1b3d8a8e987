# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""List a fleet's hosts: addresses, logins, tags. Their systems stay unevaluated."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.flake_places import FlakePlaces
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import available_processors
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.places import with_places
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.explain import code_remedy
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.warnings import EvaluationWarnings

from .fleet import Fleet
from .outputs import STEP

TIMEOUT_NAME = "the timeout for reading the fleet"
REMEDY = "Correct the fleet file."
# A file with a line.
_PLACE = re.compile(r"\.nix:\d+")


@dataclass(frozen=True)
class FleetListing:
    """A fleet's hosts by name. ``errors`` has the hosts that could not be read, with the reason.

    ``words`` and ``format`` name the fleet for a build.
    """

    words: tuple[str, ...]
    format: str
    meta: Mapping[str, Any]
    hosts: Mapping[str, Mapping[str, Any]]
    errors: Mapping[str, NixferryError] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return the listing as data for a cache. A listing with errors must not be cached."""
        return {
            "words": list(self.words),
            "format": self.format,
            "meta": dict(self.meta),
            "hosts": {name: dict(host) for name, host in self.hosts.items()},
        }

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> FleetListing:
        """Return the listing that ``data`` was made from."""
        return cls(tuple(data["words"]), str(data["format"]), data["meta"], data["hosts"])


def read_fleet(
    nix: Nix, fleet: Fleet, *, timeout: float | None = None, said: EvaluationWarnings | None = None
) -> FleetListing:
    """List the hosts of ``fleet``. A host that cannot be read does not affect the others.

    Places in ``said``, which listens to ``nix``, become those in the fleet's flake, as they do in errors.
    Raises ``NixferryError`` if the fleet as a whole cannot be read.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    fleet = fleet.settled(nix)
    places, root = FlakePlaces(nix, STEP), fleet.attribute("").root
    try:
        listing = _read_fleet(nix, fleet, deadline)
    except NixferryError as error:
        raise places.in_error(root, error) from None
    finally:
        if said is not None:
            places.in_warnings([root], said)
    errors = {name: places.in_error(root, error) for name, error in listing.errors.items()}
    return replace(listing, errors=errors)


def _read_fleet(nix: Nix, fleet: Fleet, deadline: float | None) -> FleetListing:
    result = _ask(nix, fleet, [None], deadline)[0]
    if result.return_code == 0 and not result.timed_out:
        answer = _read(result)
        return _listing(fleet, answer, answer["hosts"], {})
    # The names of hosts are known without evaluating any of them, unless the file itself is broken.
    names = _ask(nix, fleet, [[]], deadline)[0]
    if names.return_code != 0 or names.timed_out:
        raise _error(names)
    answer = _read(names)
    hosts, errors = _read_apart(nix, fleet, answer["names"], deadline)
    for name, error in list(errors.items()):
        place = answer["places"][name]
        if place and not _PLACE.search(error.cause):
            errors[name] = error.with_(cause=f"{error.cause}\n{name} is defined at {place}")
    return _listing(fleet, answer, hosts, errors)


def _read_apart(
    nix: Nix, fleet: Fleet, names: Sequence[str], deadline: float | None
) -> tuple[dict[str, Any], dict[str, NixferryError]]:
    """Find the hosts that cannot be read by bisection, so that most hosts are read together."""
    hosts: dict[str, Any] = {}
    errors: dict[str, NixferryError] = {}
    groups = _halves(names) if len(names) > 1 else [list(names)]
    while groups:
        failed: list[list[str]] = []
        for group, result in zip(groups, _ask(nix, fleet, groups, deadline), strict=True):
            if result.return_code == 0 and not result.timed_out:
                hosts.update(_read(result)["hosts"])
            elif len(group) == 1:
                request = replace(fleet.list_request(group), deadline=deadline)
                errors[group[0]] = with_places(nix, request, _error(result), step=STEP)
            elif result.timed_out:
                errors.update(dict.fromkeys(group, _error(result)))
            else:
                failed.append(group)
        groups = [half for group in failed for half in _halves(group)]
    return hosts, errors


def _halves(names: Sequence[str]) -> list[list[str]]:
    middle = len(names) // 2
    return [list(names[:middle]), list(names[middle:])]


def _ask(
    nix: Nix, fleet: Fleet, groups: Sequence[Sequence[str] | None], deadline: float | None
) -> list[NixResult]:
    requests = [replace(fleet.list_request(group), deadline=deadline) for group in groups]
    return nix.run_many(requests, step=STEP, parallel=available_processors())


def _read(result: NixResult) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(result.stdout)
    except ValueError as error:
        raise NixferryError(
            f"the evaluator's answer cannot be read: {error}", step=STEP, output=result.stdout.splitlines()
        ) from error
    return answer


def _listing(
    fleet: Fleet, answer: Mapping[str, Any], hosts: Mapping[str, Any], errors: Mapping[str, NixferryError]
) -> FleetListing:
    ordered = {name: hosts[name] for name in answer["names"] if name in hosts}
    return FleetListing(tuple(fleet.words), str(answer["format"]), answer["meta"], ordered, errors)


def _error(result: NixResult) -> NixferryError:
    error = result.error(step=STEP, deadline_name=TIMEOUT_NAME)
    return error.with_(remedy=error.remedy or code_remedy(error.cause, REMEDY))
