# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Closures that are compared at the end of a run: what the store has, in the time that there is, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from sample_reports import path, run_report
from schemas import schema_errors

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._report.closures import (
    CLOSURES_SECONDS,
    add_closures,
)

LIBRARY = "/nix/store/" + "c" * 32 + "-glibc-2.40"


class Store:
    """Answers as nix-store does; it has all paths but those in ``absent``."""

    def __init__(self, *absent: str) -> None:
        self.absent = absent
        self.asked: list[tuple[str, ...]] = []

    def run(self, arguments: Sequence[str], **_options: Any) -> SimpleNamespace:
        self.asked.append(tuple(arguments))
        _program, verb, option, *paths = arguments
        if verb == "--check-validity":
            return SimpleNamespace(stdout="\n".join(each for each in paths if each in self.absent))
        if option == "--requisites":
            return SimpleNamespace(stdout="\n".join([LIBRARY, *paths]))
        return SimpleNamespace(stdout="\n".join("1000" for _path in paths))


def report_of(**systems: tuple[Any, Any]) -> dict[str, Any]:
    found = run_report()
    template = found["hosts"]["web1"]
    found["hosts"] = {
        name: {**template, "old": old, "new": new, "closure": {}} for name, (old, new) in systems.items()
    }
    return found


def test_what_the_store_has_is_compared_once() -> None:
    pair = (path("a"), path("b"))
    report = report_of(web1=pair, web2=pair, same=(pair[0], pair[0]), away=(path("d"), pair[1]))
    store = Store(path("d"))
    add_closures(report, store)  # type: ignore[arg-type]  # all of it that is used
    found = {name: host["closure"] for name, host in report["hosts"].items()}
    assert found["web1"] == found["web2"]
    assert [package["change"] for package in found["web1"]["packages"]] == ["rebuilt"]
    assert found["web1"]["size_after"] == 2000
    assert found["same"] == found["away"] == {}
    assert len([asked for asked in store.asked if "--requisites" in asked]) == 2
    assert schema_errors("report", report) == []


@pytest.mark.parametrize("said", ["", "--option", "/nix/store/../etc", "/etc", path("a") + "\n--x", None, 7])
def test_what_is_not_a_store_path_is_not_asked_for(said: Any) -> None:
    store = Store()
    add_closures(report_of(web1=(said, path("b"))), store)  # type: ignore[arg-type]
    assert store.asked == []


def test_the_time_is_bounded() -> None:
    hosts = {f"web{number}": (path("a", str(number)), path("b", str(number))) for number in range(9)}
    report = report_of(**hosts)
    ticks = count(0, CLOSURES_SECONDS / 6)
    add_closures(report, Store(), clock=lambda: next(ticks))  # type: ignore[arg-type]
    compared = [name for name, host in report["hosts"].items() if host["closure"]]
    assert 1 <= len(compared) < 9


def test_without_nix_nothing_is_compared() -> None:
    class Missing(Store):
        def run(self, arguments: Sequence[str], **_options: Any) -> SimpleNamespace:
            raise NixferryError(f"{arguments[0]} is missing", step=Step.COMPARE_CLOSURES)

    report = report_of(web1=(path("a"), path("b")))
    add_closures(report, Missing())  # type: ignore[arg-type]
    assert report["hosts"]["web1"]["closure"] == {}
