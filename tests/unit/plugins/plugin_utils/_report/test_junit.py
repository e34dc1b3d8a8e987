# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as test results: a suite for each host, a case for each task, a verdict for what went wrong."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from sample_reports import BEGAN, a_run, run_report

from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.junit import junit_text
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.run import BUILD, DEPLOY, RunReport


def read(report: dict[str, Any]) -> ElementTree.Element:
    """The tree, whose numbers are those of its cases."""
    root = ElementTree.fromstring(junit_text(report).encode())
    for element in (root, *root):
        cases = list(element.iter("testcase"))
        assert element.get("tests") == str(len(cases))
        for kind, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert element.get(name) == str(sum(case.find(kind) is not None for case in cases))
        assert all(case.get("name") and case.get("classname") and len(case) <= 1 for case in cases)
    return root


def verdicts(root: ElementTree.Element) -> dict[str, list[str]]:
    return {
        suite.get("name", ""): [verdict.tag for case in suite.iter("testcase") for verdict in case]
        for suite in root
    }


def test_each_host_has_its_verdict() -> None:
    root = read(run_report())
    assert verdicts(root) == {
        "web1": [],
        "web2": [],
        "web3.example.org": ["failure"],
        "mail": ["failure"],
        "away": ["error"],
        "db1": ["failure"],
        "never": ["skipped"],
    }
    failure = root.find("testsuite[@name='mail']/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "mail: health check failed: port 25: Connection refused"
    assert (failure.text or "").endswith("What to do: See `log`.")
    log = root.findtext("testsuite[@name='mail']/system-out") or ""
    assert "postfix.service failed" in log
    names = [case.get("name") for case in root.findall("testsuite[@name='web2']/testcase")]
    assert names == ["Build all hosts together", "nixferry.deploy.nixos : Copy and activate"]
    # The words of tasks of others may be secret.
    assert "hunter2" not in junit_text(run_report())


def test_a_build_that_fails_for_all_fails_every_host() -> None:
    run = RunReport(playbook="deploy.yml", began=BEGAN)
    run.play(["a", "b"], ["a", "b"], deploys=True)
    run.task_begins("a", BUILD, BEGAN)
    failed = {"failed": True, "msg": "a: evaluate failed: no such flake", "step": "evaluate"}
    run.task_ends("a", BUILD, "Build", "failed", failed, BEGAN + 3)
    assert verdicts(read(run.report(BEGAN + 4, ["a"]))) == {"a": ["failure"], "b": ["failure"]}


def test_what_was_rescued_did_not_fail() -> None:
    run = RunReport(playbook="deploy.yml", began=BEGAN)
    run.play(["a"], ["a"], deploys=True)
    run.task_ends("a", DEPLOY, "Deploy", "ok", {"outcome": "committed", "profile": "/system"}, BEGAN + 3)
    run.task_ends("a", "ansible.builtin.uri", "Smoke test", "failed", {"failed": True}, BEGAN + 4)
    assert verdicts(read(run.report(BEGAN + 4, []))) == {"a": []}
    assert verdicts(read(run.report(BEGAN + 4, ["a"]))) == {"a": ["failure"]}


def test_a_run_that_has_not_ended_is_not_taken_for_one_that_went_well() -> None:
    assert verdicts(read(a_run().report(None))) == {"deploy.yml": ["error"]}


@given(
    st.text(st.sampled_from("<>&\"']]>\x00\x0b\x1b\ud800\ufffe\uffff\n\té"), max_size=20)
    | st.text(max_size=20)
)
def test_whatever_a_host_says_it_is_xml(said: str) -> None:
    assert len(read(run_report(said))) == 7
