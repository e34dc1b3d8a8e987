# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Building for a fleet on one of its hosts: what goes there, what comes back, and whose failure is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._build import build_host as _build_host
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.build_host import BuildHostRealiser
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.realise import Target
from ansible_collections.nixferry.deploy.plugins.plugin_utils._build.result import HostBuild
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.back import Wanted
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.plan import Plan

HOSTS = ("web1", "web2", "web3")


def path_of(host: str) -> str:
    return f"/nix/store/{'a' * 32}-{host}"


NAMED = f"/nix/store/{'c' * 32}-named"
TARGETS = {host: Target(f"{path_of(host)}.drv", {"out": path_of(host)}, path_of(host)) for host in HOSTS}


class Here:
    """The Nix of the controller: which paths it has."""

    def __init__(self, *hosts: str) -> None:
        self.valid = {path_of(host) for host in hosts}

    def run(self, arguments: Sequence[str], **_limits: object) -> NixResult:
        match arguments:
            case ["nix-store", "--query", "--requisites", *derivations]:
                return NixResult(0, "\n".join(derivations), "", tuple(arguments))
            case ["nix-store", "--query", "--outputs", *derivations]:
                outputs = [each.removesuffix(".drv") for each in derivations]
                return NixResult(0, "\n".join(outputs), "", tuple(arguments))
        assert list(arguments[:3]) == ["nix-store", "--check-validity", "--print-invalid"]
        absent = [path for path in arguments[3:] if path not in self.valid]
        return NixResult(0, "\n".join(absent), "", tuple(arguments))

    def run_many(self, requests: Sequence[Any], **_limits: object) -> list[NixResult]:
        """The closures of derivations, which need nothing but themselves."""
        return [NixResult(0, request.arguments[-1], "", request.arguments) for request in requests]


class There:
    """The build host, which has what ``hosts`` need and cannot build ``broken``."""

    def __init__(self, *hosts: str, broken: Sequence[str] = (), fails: NixferryError | None = None) -> None:
        self.valid = {path_of(host) for host in hosts}
        self.broken = [f"{path_of(host)}.drv" for host in broken]
        self.fails = fails
        self.copied: list[str] = []
        self.realised: list[str] = []

    def missing(self, targets: Mapping[str, Target]) -> dict[str, Target]:
        if self.fails is not None:
            raise self.fails
        return {host: target for host, target in targets.items() if target.toplevel not in self.valid}

    def copy(self, derivations: Sequence[str], _nix: object, _deadline: float | None) -> None:
        self.copied += derivations

    def realise(self, realisables: Sequence[str], _deadline: float | None) -> NixResult:
        self.realised += realisables
        self.valid |= {each.removesuffix(".drv") for each in realisables if each not in self.broken}
        errors = tuple(f"error: builder for '{each}' failed with exit code 1" for each in self.broken)
        return NixResult(1 if errors else 0, "", "", ("nix-store",), errors=errors, where="big")

    def log_tail(self, _derivation: str) -> list[str]:
        return ["undefined reference"]


class Task:
    """As much of a task as the realiser asks for."""

    def __init__(self, *, dry_run: bool = False) -> None:
        self.options = self
        self.progress = self
        self.dry_run = dry_run
        self.phases: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def settled(
        self,
        _nix: object,
        targets: Mapping[str, Target],
        absent: Mapping[str, Target],
        errors: Mapping[str, Any],
    ) -> dict[str, HostBuild]:
        return {
            host: HostBuild(host, target, built=host in absent and host not in errors, error=errors.get(host))
            for host, target in targets.items()
        }


class Shell:
    host = "big"


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are brought to the controller."""
    found: list[str] = []

    def copy_back(_shell: object, wanted: Wanted, *, nix: object, timeout: float | None) -> None:
        assert nix is not None
        assert timeout is None
        if wanted.paths == (NAMED,):
            assert wanted.graph is None
            found.append(NAMED)
            return
        assert wanted.graph is not None
        assert set(wanted.paths) <= wanted.graph.outputs
        found.extend(wanted.paths)

    monkeypatch.setattr(_build_host, "copy_back", copy_back)
    return found


def builds(here: Here, there: There, task: Task | None = None) -> dict[str, HostBuild]:
    given: Any = task or Task()
    shell: Any = Shell()
    realiser = BuildHostRealiser(given, shell)
    realiser._place = there  # type: ignore[assignment]
    nix: Any = here
    return realiser(nix, TARGETS, None)


def test_what_is_missing_is_built_there_and_brought_here(brought: list[str]) -> None:
    there, task = There("web2"), Task()
    made = builds(Here("web1"), there, task)
    assert there.copied == there.realised == [TARGETS["web3"].realisable]
    assert brought == [path_of("web2"), path_of("web3")]
    assert [build.built for build in made.values()] == [False, True, True]
    assert task.phases == ["building web3 on big", "copying what was built from big"]


def test_what_has_no_derivation_here_is_brought_apart(
    brought: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller knows nothing about such a path: it needs a signature."""
    monkeypatch.setitem(TARGETS, "web2", Target(NAMED, {"out": NAMED}, NAMED))
    builds(Here("web1"), There())
    assert brought == [path_of("web3"), NAMED]


def test_nothing_is_asked_of_it_when_everything_is_here(brought: list[str]) -> None:
    made = builds(Here(*HOSTS), There(fails=HostUnreachable("down", step="probe")))
    assert not any(build.built or build.error for build in made.values())
    assert brought == []


def test_a_host_that_fails_to_build_fails_alone_and_says_where(brought: list[str]) -> None:
    made = builds(Here(), There(broken=["web2"]))
    assert brought == [path_of("web1"), path_of("web3")]
    error = made["web2"].error
    assert error is not None
    assert error.text("web2").startswith("web2: build on big failed: ")
    assert error.output == ["undefined reference"]
    assert made["web1"].error is made["web3"].error is None


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_build_host_that_is_down_fails_those_who_need_it(brought: list[str], dry_run: bool) -> None:
    down = HostUnreachable("Connection refused", step="build", remedy="")
    made = builds(Here("web1"), There(fails=down), Task(dry_run=dry_run))
    assert made["web1"].error is None
    for host in ("web2", "web3"):
        error = made[host].error
        assert not isinstance(error, HostUnreachable)
        assert error is not None
        assert "the build host big cannot be reached: Connection refused" in error.text(host)
        assert "ansible big -m raw" in error.remedy
    assert brought == []


def test_check_mode_tells_what_is_built_and_what_is_only_brought(brought: list[str]) -> None:
    there = There("web2")
    made = builds(Here("web1"), there, Task(dry_run=True))
    assert [build.plan for build in made.values()] == [
        Plan(),
        Plan(would_fetch=(path_of("web2"),)),
        Plan(would_build=(TARGETS["web3"].realisable,)),
    ]
    assert there.copied == there.realised == brought == []
