# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import cast

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.limits import Limits
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.access import access_literal
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet import FlakeFleet
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.fleet_words import fleet_from
from ansible_collections.nixferry.deploy.plugins.plugin_utils._sources.profile import other_systems

LIMITS = Limits(memory_mib=4096, evaluators=1)


class Outputs:
    """Answers like Nix for two outputs of a flake; a host without a derivation there is an error."""

    def __init__(self, **outputs: dict[str, str]) -> None:
        self.outputs = outputs
        self.asked: list[str] = []

    def run_many(self, requests: Sequence[NixRequest], **_settings: object) -> list[NixResult]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: NixRequest) -> NixResult:
        output = request.arguments[-1].partition("#")[2]
        self.asked.append(output)
        text = request.arguments[request.arguments.index("--apply") + 1]
        hosts = dict(re.findall(r'"(\d+)" = \[ "(\w+)" "toplevel" \]', text))
        assert hosts, text
        known = self.outputs[output]
        if missing := [host for host in hosts.values() if host not in known]:
            return NixResult(1, "", f"error: attribute '{missing[0]}' missing", request.arguments)
        found = {}
        for number, host in hosts.items():
            path = f"/nix/store/{known[host]}"
            found[number] = {"drv_path": f"{path}.drv", "outputs": {"out": path}}
        return NixResult(0, json.dumps(found), "", request.arguments)


def fleet(access: dict[str, dict[str, str]]) -> FlakeFleet:
    found = fleet_from(["path:/f#deploy"], directory="/", access=access_literal(access))
    assert isinstance(found, FlakeFleet)
    return found


def test_access_is_added_where_the_profile_activates_the_configuration_of_that_name() -> None:
    nix = Outputs(deploy={"web": "a", "db": "b"}, nixosConfigurations={"web": "a", "db": "b"})
    fleets = dict.fromkeys(("web", "db"), fleet({"web": {}}))
    assert other_systems(cast(Nix, nix), fleets, limits=LIMITS, deadline=None) == {}
    assert sorted(set(nix.asked)) == ["deploy", "nixosConfigurations"]


def test_a_host_whose_profile_activates_another_configuration_is_refused_with_both() -> None:
    nix = Outputs(deploy={"web": "new", "db": "b"}, nixosConfigurations={"web": "old", "db": "b"})
    fleets = dict.fromkeys(("web", "db"), fleet({"web": {}}))
    errors = other_systems(cast(Nix, nix), fleets, limits=LIMITS, deadline=None)
    assert list(errors) == ["web"]
    assert "deploy.nodes.web.profiles.system activates /nix/store/new.drv" in errors["web"].cause
    assert "nixosConfigurations.web is /nix/store/old.drv" in errors["web"].cause


def test_a_node_without_a_configuration_of_its_name_is_refused() -> None:
    nix = Outputs(deploy={"web": "new"}, nixosConfigurations={})
    errors = other_systems(cast(Nix, nix), {"web": fleet({"web": {}})}, limits=LIMITS, deadline=None)
    assert "nixosConfigurations.web is not to be had" in errors["web"].cause


def test_without_access_nothing_is_asked() -> None:
    nix = Outputs()
    assert other_systems(cast(Nix, nix), {"web": fleet({})}, limits=LIMITS, deadline=None) == {}
    assert nix.asked == []
