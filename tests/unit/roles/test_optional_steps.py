# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deploy does no step that was not asked for: every combination of the switches, and what was done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from stage import REPOSITORY, Setting, Stage, combinations, flag

BUILD = "Build the systems of all hosts together"
COPY = "Copy the missing paths to the host"
CHECKS = "Run the pre-deploy checks"
STAGE_SECRETS = "Prepare the secrets for the new system"
SWITCH = "Activate the system, and roll back if it is not healthy"
SECRETS_AFTER = "Place the secrets that come after the activation"
CONFIRM = "Confirm every host, or roll back every host"
GARBAGE = "Delete old generations and what only they need"
# These run once for all hosts.
FOR_ALL = (
    BUILD,
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


def tasks_in(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All tasks and blocks, those inside of blocks as well."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_in(task.get(part, []))


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


def test_a_step_that_no_host_needs_costs_one_process(stage: Stage) -> None:
    """Each line of a skipped task is a process of the controller."""
    hosts: dict[str, dict[str, Any]] = {f"plain_{number}": {"group": "plain"} for number in range(4)}
    secrets = {"group": "secret", "nixos_secrets": {"token": {"text": "x"}}}
    hosts.update({f"secret_{number}": secrets for number in range(4)})
    plays = [{"hosts": pattern, "roles": ROLE} for pattern in ("plain", "secret")]
    done = stage.run(plays, hosts, shows_skipped=True)
    assert done.return_code == 0, done.output
    skipped = [line.split()[1] for line in done.output.splitlines() if line.startswith("skipping: ")]
    # All of them in one; the checks, four steps of a transaction, and the garbage.
    assert [name[:6] for name in skipped] == ["[plain"] + ["[secre"] * 6, done.output


def test_a_result_is_not_registered_for_other_hosts() -> None:
    """Ansible takes a template for a yes when it registers: each host's result would replace that of all others.

    A build says in each result what the others of the batch have built.
    """
    wrong = [
        task["name"]
        for path in sorted(REPOSITORY.glob("roles/*/tasks/*.yml"))
        for task in tasks_in(yaml.safe_load(path.read_text()) or [])
        if isinstance(task.get("run_once", False), str)
        and ("register" in task or "import" in "".join(task))
        and task["name"] != BUILD
    ]
    assert wrong == []


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
    assert done.steps == {
        "profile_0": [BUILD, COPY, SWITCH],
        "profile_1": [BUILD, SWITCH],
        "secrets_0": ["Place the secrets"],
    }
