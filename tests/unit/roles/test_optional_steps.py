# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deploy does no step that was not asked for: every combination of the switches, and what was done with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stage import Setting, Stage, combinations, flag

COPY = "Copy the missing paths to the host"
CHECKS = "Run the pre-deploy checks"
STAGE_SECRETS = "Prepare the secrets for the new system"
SWITCH = "Activate the system, and roll back if it is not healthy"
SECRETS_AFTER = "Place the secrets that come after the activation"
CONFIRM = "Confirm every host, or roll back every host"
GARBAGE = "Delete old generations and what only they need"
# These run once for all hosts.
FOR_ALL = (
    "Build the systems of all hosts together",
    "Decide for all hosts of the batch",
    "Check that all hosts are confirmed",
)

DECLARED: dict[str, Setting] = {"": {}, "on": {"nixos_secrets": {"token": {"text": "x"}}}}
CHECKS_BEFORE: dict[str, Setting] = {"": {}, "on": {"nixos_pre_deploy_checks": [{"command": "true"}]}}
# Further ways to say that there are secrets, or that there are none.
SOURCES: dict[str, Setting] = {
    "fleet": {"nixos_fleet": "hive.nix"},
    "exclusive": {"nixos_secrets_exclusive": True},
    "": {"nixos_fleet": "hive.nix", "fleet_keys": []},
}
COLLECT = flag("nixos_collect_garbage")
ROLE = ["nixferry.deploy.nixos"]


def steps_of(host: Mapping[str, Any]) -> list[str]:
    """What the role does on a host, in order, by what was chosen for it."""
    chosen, together = host["chosen"], host.get("nixos_transaction", False)
    real = "dry" not in host["group"]
    secrets, garbage = bool(chosen["secrets"]) and real, bool(chosen.get("garbage")) and real
    return (
        [COPY] * (host.get("nixos_build_on") != "target")
        + [CHECKS] * bool(chosen.get("checks"))
        + [STAGE_SECRETS] * secrets
        + [SWITCH]
        + [CONFIRM] * together
        + [SECRETS_AFTER] * secrets
        + [GARBAGE] * garbage
    )


def test_every_combination_does_what_was_asked_for_and_nothing_else(stage: Stage) -> None:
    product = {"secrets": DECLARED, "checks": CHECKS_BEFORE, "garbage": COLLECT}
    sources = {"secrets": SOURCES, "garbage": COLLECT}
    alone = {
        **combinations("alone", {}, **product),
        **combinations("alone_sources", {}, **sources),
        **combinations("alone_dry", {"nixos_action": "dry-activate"}, secrets=DECLARED, garbage=COLLECT),
    }
    together = combinations("together", {"nixos_transaction": True}, **product)
    target = combinations("target", {"nixos_build_on": "target"}, secrets=DECLARED)
    hosts = {**alone, **together, **target}
    plays = [{"hosts": pattern, "roles": ROLE} for pattern in ("alone*", "together*", "target*")]
    done = stage.run(plays, hosts)
    assert done.return_code == 0, done.output
    for name, host in hosts.items():
        steps = [step for step in done.steps[name] if step not in FOR_ALL]
        assert steps == steps_of(host), f"{host}"


def test_what_does_not_run_is_not_missed_where_it_was_not_asked_for(stage: Stage) -> None:
    """Role profile knows neither secrets nor garbage, whatever variables of role nixos a host has."""
    hosts = combinations(
        "profile",
        {
            "profile_kind": "home-manager",
            "nixos_collect_garbage": True,
            "nixos_secrets": {"a": {"text": "x"}},
        },
        build={"here": {}, "there": {"profile_build_on": "target"}},
    )
    placed = {"secrets_0": {"group": "secrets", "secrets_declared": {"a": {"text": "x"}}}}
    plays = [
        {"hosts": "profile", "roles": ["nixferry.deploy.profile"], "serial": 1},
        {"hosts": "secrets", "roles": ["nixferry.deploy.secrets"]},
    ]
    done = stage.run(plays, {**hosts, **placed})
    assert done.return_code == 0, done.output
    built = "Build the systems of all hosts together"
    assert done.steps == {
        "profile_0": [built, COPY, SWITCH],
        "profile_1": [built, SWITCH],
        "secrets_0": ["Place the secrets"],
    }
