# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import FileFleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.listing import FleetListing, read_fleet

FLEET = FileFleet(("/srv/network.nix",), "auto")


class Evaluators:
    """Answers for hosts as the evaluator does; of ``broken`` ones it cannot."""

    def __init__(
        self, hosts: Sequence[str], broken: Collection[str] = (), *, file_is_broken: bool = False
    ) -> None:
        self.hosts = hosts
        self.broken = broken
        self.file_is_broken = file_is_broken
        self.processes = 0
        self.places: dict[str, str] = {}
        self.words = "is wrong"

    def run_many(self, requests: Sequence[NixRequest], **_settings: object) -> list[NixResult]:
        return [self.answer(request) for request in requests]

    def answer(self, request: NixRequest) -> NixResult:
        self.processes += 1
        text = (request.input or b"").decode()
        asked = re.search(r"\.list (null|\[.*\])$", text)
        assert asked is not None
        names = self.hosts if asked[1] == "null" else re.findall(r'"([^"]*)"', asked[1])
        bad = [name for name in names if name in self.broken]
        if self.file_is_broken or bad:
            message = f"error: {bad[0] if bad else 'the file'} {self.words}"
            return NixResult(1, "", message, request.arguments, errors=(message,))
        answer = {
            "format": "nixops",
            "meta": {},
            "names": list(self.hosts),
            "places": {name: self.places.get(name) for name in self.hosts},
            "hosts": {name: {"tags": []} for name in names},
        }
        return NixResult(0, json.dumps(answer), "", request.arguments)


def read(evaluators: Evaluators) -> FleetListing:
    return read_fleet(cast(Nix, evaluators), FLEET)


def test_all_hosts_are_listed_by_one_evaluator() -> None:
    evaluators = Evaluators(["a", "b", "c"])
    listing = read(evaluators)
    assert list(listing.hosts) == ["a", "b", "c"]
    assert (listing.format, listing.words) == ("nixops", ("/srv/network.nix",))
    assert evaluators.processes == 1


@given(st.sets(st.integers(0, 30)), st.integers(0, 31))
def test_broken_hosts_are_told_from_the_others(broken: set[int], number: int) -> None:
    hosts = [f"host{each}" for each in range(number)]
    bad = [f"host{each}" for each in sorted(broken) if each < number]
    listing = read(Evaluators(hosts, bad))
    assert sorted(listing.errors) == sorted(bad)
    assert list(listing.hosts) == [host for host in hosts if host not in bad]
    for host in bad:
        assert listing.errors[host].cause == f"{host} is wrong"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("is wrong", "web1 is wrong\nweb1 is defined at /srv/network.nix:4"),
        ("is wrong at /srv/web.nix:7:3", "web1 is wrong at /srv/web.nix:7:3"),
        ("is wrong\n- In `/srv/web.nix:7': 3", "web1 is wrong\n- In `/srv/web.nix:7': 3"),
    ],
)
def test_a_mistake_without_a_place_is_told_with_that_of_the_host(words: str, message: str) -> None:
    evaluators = Evaluators(["web1", "web2"], ["web1"])
    evaluators.places = {"web1": "/srv/network.nix:4"}
    evaluators.words = words
    assert read(evaluators).errors["web1"].cause == message


def test_one_broken_host_of_many_costs_few_evaluators() -> None:
    evaluators = Evaluators([f"host{number}" for number in range(128)], ["host77"])
    assert list(read(evaluators).errors) == ["host77"]
    assert evaluators.processes <= 2 + 2 * 7


def test_a_broken_file_is_an_error_of_the_fleet() -> None:
    evaluators = Evaluators(["a", "b"], file_is_broken=True)
    with pytest.raises(NixferryError, match="the file is wrong") as raised:
        read(evaluators)
    assert raised.value.remedy
    assert evaluators.processes == 2


def test_a_listing_survives_a_cache() -> None:
    listing = read(Evaluators(["a"]))
    data: dict[str, Any] = json.loads(json.dumps(listing.data()))
    assert FleetListing.of_data(data) == listing
