# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy and activate in one task: what it costs a host, and what it does where one of both does not happen."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab import LabHost
from plays import SWITCH, file_play
from project import PlaybookRun, Project
from sessions import Sessions, counted

# Where each task of a play has left the host: the running system, and whether the new one is in its store.
LOOK = "readlink -f /run/current-system; ls -d {} 2>/dev/null; true"


@contextmanager
def first_login() -> Iterator[dict[str, Any]]:
    """Variables with which a run finds no open connection of another one."""
    # The path of a socket may be short only.
    with tempfile.TemporaryDirectory(prefix="nixferry-", ignore_cleanup_errors=True) as directory:
        yield {
            "ansible_control_path": f"{directory}/%%C",
            "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=5s",
        }


def test_logins_and_round_trips_of_a_deploy(web2: LabHost, project: Project) -> None:
    """A round trip more is a good part of a second on a real link, so none comes in unnoticed."""

    def deploy(version: str) -> Sessions:
        project.describe_hosts({"web2": {"version": version}})
        with first_login() as variables, counted(web2) as sessions:
            run = project.run_playbook(file_play(web2), variables=variables).assert_ok()
        assert run.result(SWITCH)["new"] == web2.current_system()
        assert web2.http("/version") == (200, version)
        return sessions

    # It also sends the guard.
    deploy("2")
    # Built by this run, so that the host lacks it.
    version = secrets.token_hex(8)
    # What is missing, the copy, the start, the wait for the activation; over a login of its own the confirmation.
    assert deploy(version) == Sessions(logins=2, commands=5)
    assert deploy(version) == Sessions(logins=1, commands=1)


def task(name: str, toplevel: str, *, variables: dict[str, Any] | None = None, **keywords: Any) -> list[Any]:
    """A deploy, and a look at where it has left the host."""
    options = {"toplevel": toplevel, **keywords.pop("options", {})}
    return [
        {"name": name, "nixferry.deploy.nix_deploy": options, "vars": variables or {}, **keywords},
        {"name": f"after {name}", "ansible.builtin.raw": LOOK.format(toplevel)},
    ]


def result(run: PlaybookRun, name: str) -> dict[str, Any]:
    """The whole result, of the copy and of the switch."""
    return next(entry.result for entry in run.results if entry.task == name)


def after(run: PlaybookRun, name: str) -> list[str]:
    return str(result(run, f"after {name}")["stdout"]).split()


def test_what_is_not_copied_is_not_activated(web2: LabHost, project: Project) -> None:
    old, before = web2.current_system(), web2.snapshot()
    new = project.build("web2", {"version": "2", "payload": {"paths": 2, "kibibytes": 64, "salt": "deploy"}})
    run = project.run_playbook(
        [
            {
                "hosts": "web2",
                "gather_facts": False,
                "tasks": [
                    *task("foretold", new, check_mode=True, diff=True),
                    # The host's Nix takes nothing unsigned from this user.
                    *task("refused", new, variables={"ansible_user": "deploy"}, ignore_errors=True),
                    *task("copied", new, options={"phases": ["copy"]}),
                    *task("activated", new, options={"phases": ["activate"]}),
                    *task("again", new),
                ],
            }
        ]
    ).assert_ok()
    foretold = result(run, "foretold")
    assert (foretold["outcome"], foretold["changed"]) == ("committed", True)
    assert new in [entry["path"] for entry in foretold["transfer"]["missing"]]
    assert after(run, "foretold") == [old]

    refused = result(run, "refused")
    assert (refused["step"], "outcome" in refused) == ("copy", False)
    assert [entry.status for entry in run.results if entry.task == "refused"] == ["ignored"]
    assert refused["remedy"]
    assert after(run, "refused") == [old]

    copied = result(run, "copied")
    assert (copied["changed"], new in copied["transfer"]["copied"], "outcome" in copied) == (
        True,
        True,
        False,
    )
    assert after(run, "copied") == [old, new]

    activated = result(run, "activated")
    assert (activated["outcome"], activated["old"], activated["new"]) == ("committed", old, new)
    assert "transfer" not in activated
    assert after(run, "activated") == [new, new]

    again = result(run, "again")
    assert (again["outcome"], again["changed"]) == ("unchanged", False)
    assert web2.boot_default() == web2.profile() == new
    assert web2.snapshot() != before
