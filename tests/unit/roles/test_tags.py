# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever tags select, a failure fails the host and the run, and the other hosts go on."""

from __future__ import annotations

from typing import Any

import pytest
from stage import Stage

BUILD = "Build the systems of all hosts together"
COPY = "Copy the missing paths to the host"
SWITCH = "Activate the system, and roll back if it is not healthy"
DECIDE = ["Decide for all hosts of the batch", "Check that all hosts are confirmed"]
FAILS = {"failed": True, "msg": "it does not work"}
# By the step that fails, the answers of a host.
TROUBLES: dict[str, dict[str, Any]] = {
    "build": {"nix_build": FAILS},
    "copy": {"nix_copy": FAILS},
    "switch": {"nix_switch": FAILS},
}
GROUPS: dict[str, dict[str, Any]] = {
    "nixos": {},
    "target": {"nixos_build_on": "target"},
    "profile": {"profile_kind": "home-manager"},
}
# The arguments, the steps of a healthy host, and the hosts that fail.
ALL, UNTIL_COPY, UNTIL_BUILD = [BUILD, COPY, SWITCH], [BUILD, COPY], [BUILD]
SELECTIONS = [
    ("", ALL, {"build", "copy", "switch"}),
    ("--tags build", UNTIL_BUILD, {"build"}),
    ("--tags copy", UNTIL_COPY, {"build", "copy"}),
    ("--tags activate", ALL, {"build", "copy", "switch"}),
    ("--tags collect_garbage", [], set()),
    ("--skip-tags activate", UNTIL_COPY, {"build", "copy"}),
    ("--skip-tags copy", [BUILD, SWITCH], {"build", "switch"}),
    ("--skip-tags copy,activate", UNTIL_BUILD, {"build"}),
]


def hosts() -> dict[str, dict[str, Any]]:
    """In each group a host whose build fails, or in the first one for each trouble, and a healthy one that is last."""
    made = {}
    for group, variables in GROUPS.items():
        for trouble, answers in TROUBLES.items():
            if trouble == "build" or group == "nixos":
                made[f"{group}_{trouble}"] = {**variables, "group": group, "answers": answers}
        made[f"{group}_well"] = {**variables, "group": group}
    return made


PLAYS = [
    {"hosts": group, "roles": [f"nixferry.deploy.{'profile' if group == 'profile' else 'nixos'}"]}
    for group in GROUPS
]


@pytest.mark.parametrize(
    ("arguments", "steps", "troubles"), SELECTIONS, ids=[selection[0] or "all" for selection in SELECTIONS]
)
def test_what_fails_is_told_and_the_others_go_on(
    stage: Stage, arguments: str, steps: list[str], troubles: set[str]
) -> None:
    everyone = hosts()
    done = stage.run(PLAYS, everyone, *arguments.split())
    assert (done.return_code != 0) is bool(troubles), done.output
    failing = {f"{group}_{trouble}" for group in GROUPS for trouble in troubles} & everyone.keys()
    assert done.failed == failing, done.output
    for group in GROUPS:
        # On a host that builds for itself there is nothing to copy.
        copies = group != "target"
        own = [step for step in done.steps[f"{group}_well"] if step != BUILD]
        assert own == [step for step in steps if step != BUILD and (copies or step != COPY)], done.output
    built = [host for host, done_there in done.steps.items() if BUILD in done_there]
    assert bool(built) is (BUILD in steps)


def test_without_the_build_nothing_goes_on(stage: Stage) -> None:
    done = stage.run(PLAYS[:1], {name: {"group": "nixos"} for name in ("one", "two")}, "--skip-tags", "build")
    assert done.return_code != 0
    assert done.failed == {"one", "two"}, done.output
    # The step says what it lacks, and does not begin.
    assert not any(done.steps.values())
    assert "Nothing was built" in done.output


@pytest.mark.parametrize("arguments", ["", "--tags activate", "--skip-tags activate"])
def test_what_a_transaction_begins_it_also_decides(stage: Stage, arguments: str) -> None:
    plays = [{"hosts": "all", "roles": ["nixferry.deploy.nixos"]}]
    pair = {name: {"nixos_transaction": True} for name in ("one", "two")}
    done = stage.run(plays, pair, *arguments.split())
    assert done.return_code == 0, done.output
    begun = [host for host, steps in done.steps.items() if SWITCH in steps]
    assert begun == (["one", "two"] if arguments in ("", "--tags activate") else [])
    # Once to confirm all, and once to see that all were.
    assert [step for step in done.steps["one"] if step in DECIDE] == (DECIDE if begun else [])


@pytest.mark.parametrize("entry", ["build", "build_together"])
def test_an_entry_point_that_is_used_alone_fails_unless_it_says_otherwise(stage: Stage, entry: str) -> None:
    task = {"ansible.builtin.import_role": {"name": "nixferry.deploy.nixos", "tasks_from": entry}}
    pair = {"bad": {"answers": TROUBLES["build"]}, "well": {}}
    done = stage.run([{"hosts": "all", "tasks": [task]}], pair)
    assert done.failed == ({"bad"} if entry == "build" else set()), done.output
    assert (done.return_code != 0) is (entry == "build")
