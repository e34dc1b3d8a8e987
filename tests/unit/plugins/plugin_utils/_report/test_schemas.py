# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schemas describe what is written, and each key of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sample_reports import BEGAN, a_plan, a_run, a_status, run_report
from schemas import SCHEMAS, schema_errors

from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.status import PullStatus
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.facts import OUTCOMES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.fleet import STATUS, FleetStatus

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "report": [run_report(), run_report(check_mode=True), a_run().report(None)],
    "status": [a_status()],
    "plan": [json.loads(a_plan().text())],
}


def test_the_schemas_are_shipped() -> None:
    assert set(EXAMPLES) <= set(SCHEMAS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_written_follows_the_schema(name: str) -> None:
    for example in EXAMPLES[name]:
        assert schema_errors(name, example) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_key_more_or_less_is_noticed(name: str) -> None:
    found = json.loads(json.dumps(EXAMPLES[name][0]))
    host = found["hosts"]["web1"]
    host["another"] = 1
    assert schema_errors(name, found)
    del host["another"]
    assert schema_errors(name, found) == []
    host.popitem()
    assert schema_errors(name, found)


def test_a_host_with_several_systems_and_one_that_never_had_any() -> None:
    run = a_run()
    run.hosts["web1"].activations["/home"] = {
        **next(iter(run.hosts["web1"].activations.values())),
        "revision": None,
    }
    assert schema_errors("report", run.report(BEGAN + 41)) == []
    fleet = FleetStatus()
    fleet.play(["web1"])
    fleet.task_ends("web1", STATUS, "ok", {"current": "", "deployed": {}, "history": []})
    assert schema_errors("status", fleet.report(BEGAN)) == []


def test_the_outcomes_and_the_keys_of_a_pull_are_those_of_the_code() -> None:
    host = SCHEMAS["report"]["properties"]["hosts"]["additionalProperties"]
    assert host["properties"]["outcome"]["enum"] == list(OUTCOMES)
    pull = SCHEMAS["status"]["properties"]["hosts"]["additionalProperties"]["properties"]["pull"]
    assert set(pull["properties"]) == {*PullStatus.__dataclass_fields__, "pulls", "pointer_age"}
