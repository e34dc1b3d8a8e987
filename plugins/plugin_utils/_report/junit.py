# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The report of a run as JUnit XML, which CI systems show as test results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .facts import FAILED, NOT_ATTEMPTED, UNREACHABLE

# What XML 1.0 has no way to write, not even escaped.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TESTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def junit_text(report: Mapping[str, Any]) -> str:
    """Return the XML of a report (``RunReport.report``): a suite for each host, a case for each task on it.

    A failed host has a failure; one that was unreachable has an error; one that was not attempted is skipped. A task
    that failed and was rescued does not count.
    """
    name = PurePath(report["playbook"]).name or "nixferry.deploy"
    root = Element("testsuites", name=_text(name), time=_time(report["seconds"]))
    if report["result"] == "running":
        case = SubElement(_suite(root, name, report), "testcase", classname=_text(name), name="run")
        SubElement(case, "error", message="the run has begun and not ended", type="running")
    else:
        for host, found in report["hosts"].items():
            _host(_suite(root, host, report, found["seconds"]), host, found)
    for suite in root:
        _count(suite, suite.iter("testcase"))
    _count(root, root.iter("testcase"))
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, name: str, report: Mapping[str, Any], seconds: float = 0) -> Element:
    moment = str(report["started"]).removesuffix("+00:00")
    return SubElement(
        root, "testsuite", name=_text(name), hostname=_text(name), timestamp=moment, time=_time(seconds)
    )


def _host(suite: Element, name: str, host: Mapping[str, Any]) -> None:
    outcome = host["outcome"]
    later = host["failed_task"]
    bad = outcome in (*FAILED, UNREACHABLE) or later is not None
    message = host["message"] or (later or {}).get("message") or f"the outcome is {outcome}"
    told = False
    for step in host["steps"]:
        case = _case(suite, name, step["task"], step["seconds"])
        if bad and step["status"] in ("failed", UNREACHABLE):
            told = True
            kind = "error" if step["status"] == UNREACHABLE else "failure"
            _verdict(case, kind, step["message"] or message, host["step"] or outcome)
    if outcome == NOT_ATTEMPTED:
        _verdict(
            _case(suite, name, "deploy"), "skipped", "the run stopped before it reached this host", outcome
        )
    elif (bad and not told) or outcome == "awaiting-confirmation":
        kind = "error" if outcome == UNREACHABLE else "failure"
        _verdict(_case(suite, name, "deploy"), kind, message, host["step"] or outcome)
    elif not host["steps"]:
        _case(suite, name, "deploy")
    if host["log"]:
        SubElement(suite, "system-out").text = _text("\n".join(host["log"]))


def _case(suite: Element, host: str, task: str, seconds: float = 0) -> Element:
    return SubElement(suite, "testcase", classname=_text(host), name=_text(task), time=_time(seconds))


def _verdict(case: Element, kind: str, message: str, word: str) -> None:
    verdict = SubElement(case, kind, message=_text(message.partition("\n")[0]), type=_text(word))
    verdict.text = _text(message)


def _count(element: Element, cases: Any) -> None:
    found = list(cases)
    element.set("tests", str(len(found)))
    for kind, name in _TESTS.items():
        element.set(name, str(sum(case.find(kind) is not None for case in found)))


def _text(value: str) -> str:
    return _NOT_XML.sub("", value)


def _time(seconds: float | None) -> str:
    return f"{seconds or 0:.2f}"
