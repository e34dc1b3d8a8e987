# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks as a task of their own, which is how those before a deploy run."""

from __future__ import annotations

from typing import Any

import pytest
from local_shell import LocalShell, checks, option

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.task import check_host, wait_for_login
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import HostUnreachable
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class Host(LocalShell):
    host = "web1"


class Silent:
    def display(self, *_text: object, **_how: object) -> None:
        """Nothing is looked at."""


def check(*options: dict[str, Any], check_mode: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The task's result, and the scripts that the host was sent."""
    shell = Host(["sh"])
    progress = Progress(Silent(), prefix="web1", muted=True, mode="none")
    result = check_host(
        checks(*options),
        shell,  # type: ignore[arg-type]
        progress,
        title="pre-deploy check",
        check_mode=check_mode,
        sleep=lambda _seconds: None,
    )
    return result, shell.scripts


def test_all_that_pass() -> None:
    result, scripts = check(option(command="true"), option(name="second", command="echo fine"))
    assert (result["failed"], result["changed"], result["not_run"]) == (False, False, [])
    assert [(each["name"], each["healthy"]) for each in result["health_checks"]] == [
        ("command true", True),
        ("second", True),
    ]
    assert len(scripts) == 1


def test_every_one_that_fails_is_named() -> None:
    result, _scripts = check(
        option(name="at work", command="echo ann is; exit 3"),
        option(command="true"),
        option(name="the port", port=1),
    )
    assert result["failed"]
    assert result["changed"] is False
    assert result["msg"].startswith("web1: pre-deploy check failed: at work: exit code 3: ann is; the port: ")
    assert "What to do: " in result["msg"]
    assert [each["healthy"] for each in result["health_checks"]] == [False, True, False]


def test_a_check_whose_time_is_over_says_what_to_do() -> None:
    result, _scripts = check(option(name="slow", command="sleep 60", timeout=1), option(command="false"))
    assert "slow: it did not end within its timeout of 1 s; command false: exit code 1" in result["msg"]
    assert result["remedy"].startswith("Find out why the check 'slow' hangs, or raise its timeout")


def test_check_mode_runs_no_command_and_says_so() -> None:
    result, scripts = check(
        option(name="at work", command="false"), option(name="the port", port=1), check_mode=True
    )
    assert scripts == []
    assert result["not_run"] == ["at work"]
    assert "pre-deploy check failed: the port: " in result["msg"]
    passed, _scripts = check(option(command="false"), check_mode=True)
    assert (passed["failed"], passed["health_checks"]) == (False, [])


def test_no_check_asks_nobody() -> None:
    result, scripts = check()
    assert (result["failed"], scripts) == (False, [])


class Booting:
    """A host that refuses so many logins before it takes one; it may refuse them for good."""

    host = "web1"

    def __init__(self, refusals: int, *, transient: bool = True) -> None:
        self.refusals, self.transient, self.logins = refusals, transient, 0

    def run(self, _script: str, *, step: Step) -> None:
        self.logins += 1
        if self.logins <= self.refusals:
            raise HostUnreachable("Connection refused", step=step, transient=self.transient)


def wait(host: Booting) -> None:
    clock = iter(range(0, 1000, 10))
    wait_for_login(
        host,  # type: ignore[arg-type]
        Progress(Silent(), prefix="web1", muted=True, mode="none"),
        seconds=60,
        title=Step.HEALTH_CHECK,
        sleep=lambda _seconds: None,
        now=lambda: float(next(clock, 1000)),
    )


def test_a_host_that_boots_is_waited_for() -> None:
    host = Booting(3)
    wait(host)
    assert host.logins == 4


def test_a_host_that_does_not_boot_fails_the_task() -> None:
    """As unreachable, it would skip the rescue that goes back to the disk before."""
    with pytest.raises(NixferryError, match=r"within 60 seconds .*Connection refused") as caught:
        wait(Booting(1000))
    assert not isinstance(caught.value, HostUnreachable)


def test_a_login_that_is_refused_is_not_tried_again() -> None:
    host = Booting(1000, transient=False)
    with pytest.raises(NixferryError, match="Connection refused"):
        wait(host)
    assert host.logins == 1
