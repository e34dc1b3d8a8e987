# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for tests against real hosts. Run: python -m pytest tests/e2e

The lab is started once a session. NIXFERRY_LAB_KEEP=1 leaves it running for the next session;
NIXFERRY_LAB_NAME gives it another name than `e2e`, so that two sessions can run side by side. Each worker of a
parallel run has a lab of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import fault_table
import lab as lab_module
import pytest
from fault_rows import Fault
from fleets import lay_out
from hosts import CONTROLLERS, HOSTS
from lab import Lab, LabHost
from project import Project, make_project

# pytest calls the hooks that it finds here.
pytest_sessionfinish = fault_table.pytest_sessionfinish


# What a case is called after: a version of Nix, or the distribution that has it.
NIX_OF_A_CASE = re.compile(r"\bnix-2\.\d+|\b(?:bookworm|trixie|forky)\b")


# These build images and machines of their own. Of so many commits one runs a file of them.
COSTLY = ("builders", "mac")
TURNS = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the versions of Nix take turns, of cases that differ in nothing else, and the files of costly themes."""
    fault_table.begin_rows(items)
    for item in items:
        if item.path.parent.name in COSTLY:
            item.add_marker(pytest.mark.takes_turns(TURNS, among="costly themes", whole_file=True))
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if NIX_OF_A_CASE.search(item.name):
            groups.setdefault(NIX_OF_A_CASE.sub("nix", item.nodeid), []).append(item)
    for among, group in groups.items():
        for item in group:
            item.add_marker(pytest.mark.takes_turns(len(group), among=among))


def worker_of_this_process() -> tuple[str, ...]:
    """The worker's name, such as gw0, in a parallel run; nothing otherwise (variable of pytest-xdist)."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return (worker,) if worker else ()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The running lab. Its hosts may be in any state: use the fixtures below for clean ones."""
    name = "-".join((os.environ.get("NIXFERRY_LAB_NAME", "e2e"), *worker_of_this_process()))
    yield lab_module.start(name, HOSTS, CONTROLLERS)
    if os.environ.get("NIXFERRY_LAB_KEEP") != "1":
        lab_module.stop(name)


@pytest.fixture
def clean_host(lab: Lab) -> Callable[[str], LabHost]:
    """Gives a host in its first state, made anew: a stock system, or nothing at all for fresh1."""

    def make(name: str) -> LabHost:
        lab.hosts[name].make_anew()
        return lab.hosts[name]

    return make


@pytest.fixture
def web1(clean_host: Callable[[str], LabHost]) -> LabHost:
    """A stock host with Nix 2.8."""
    return clean_host("web1")


@pytest.fixture
def web2(clean_host: Callable[[str], LabHost]) -> LabHost:
    """A stock host with Nix 2.26."""
    return clean_host("web2")


@pytest.fixture
def web3(clean_host: Callable[[str], LabHost]) -> LabHost:
    """Another stock host with Nix 2.26."""
    return clean_host("web3")


@pytest.fixture
def fresh1(clean_host: Callable[[str], LabHost]) -> LabHost:
    """A host that never had a system."""
    return clean_host("fresh1")


@pytest.fixture(params=["web1", "web2"], ids=["nix-2.8", "nix-2.26"])
def each_host(request: pytest.FixtureRequest, clean_host: Callable[[str], LabHost]) -> LabHost:
    """A stock host, once with each Nix that targets may have."""
    return clean_host(request.param)


@pytest.fixture
def project(lab: Lab, tmp_path: Path) -> Project:
    """A user's project on this machine."""
    return make_project(tmp_path / "project", lab)


@pytest.fixture(params=CONTROLLERS, ids=["nix-2.8", "nix-2.26", "nix-2.34"])
def each_controller(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Project:
    """A user's project in a controller container, once with each Nix that controllers may have."""
    return make_project(tmp_path / "project", lab, lab.controller(request.param))


@pytest.fixture
def fault(request: pytest.FixtureRequest, lab: Lab, project: Project) -> Fault:
    """The row of a test with the marker `faults`."""
    return Fault(lab, project, fault_table.row_of(request.node))


@pytest.fixture(scope="session")
def fleet_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fleet files of every tool. No test changes them."""
    return lay_out(tmp_path_factory.mktemp("fleets"))


@pytest.fixture
def network(fleet_files: Path, tmp_path: Path) -> Path:
    """A directory in which a file may be written that finds nixpkgs beside it."""
    (tmp_path / "nixpkgs").symlink_to(fleet_files / "nixpkgs")
    (tmp_path / "nixus").symlink_to(fleet_files / "nixus/nixus")
    return tmp_path
