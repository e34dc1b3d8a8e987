# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: each error names host, step, cause and remedy, and the host is as it was."""

from __future__ import annotations

from typing import Any

import pytest
from fault_systems import FAULTS
from lab import LabHost
from plays import BUILD, SWITCH, defaults, deploy_play, task_play
from project import PlaybookRun, Project

MISSING = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nowhere"


def failure(run: PlaybookRun, host: LabHost) -> str:
    """The message of the only failed task; checks what every message must have."""
    assert run.return_code != 0, str(run)
    failures = [entry for entry in run.results if entry.status == "failed"]
    assert len(failures) == 1, str(run)
    message = failures[0].result["msg"]
    assert isinstance(message, str)
    assert host.name in message
    assert "What to do" in message
    assert len(message.splitlines()) <= 5, message
    return message


def switch(project: Project, host: LabHost, **options: Any) -> PlaybookRun:
    return project.run_playbook(task_play(host.name, SWITCH, options))


@pytest.mark.parametrize("action", ["nix_switch", "nix_copy"])
@pytest.mark.parametrize("path", ["not-a-path", "/etc/passwd", f"{MISSING}/bin", "$(reboot)", ""])
def test_what_is_no_store_path(web2: LabHost, project: Project, action: str, path: str) -> None:
    options: dict[str, Any] = {"toplevel": path} if action == SWITCH else {"paths": [path]}
    message = failure(project.run_playbook(task_play("web2", action, options)), web2)
    assert "not a store path" in message


def test_a_path_that_the_host_does_not_have(each_host: LabHost, project: Project) -> None:
    before = each_host.snapshot()
    message = failure(switch(project, each_host, toplevel=MISSING), each_host)
    assert "not in this host's store" in message
    assert "nix_copy" in message
    assert each_host.snapshot() == before


def test_a_path_that_the_controller_does_not_have(each_host: LabHost, project: Project) -> None:
    run = project.run_playbook(task_play(each_host.name, "nix_copy", {"paths": [MISSING]}))
    assert MISSING in failure(run, each_host)
    message = failure(project.run_playbook(deploy_play(each_host.name, store_path=MISSING)), each_host)
    assert "build" in message


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("wrong_platform", "was built for riscv64-linux"),
        ("no_switch_program", "bin/switch-to-configuration"),
    ],
)
def test_a_system_that_does_not_fit(each_host: LabHost, project: Project, fault: str, cause: str) -> None:
    before = each_host.snapshot()
    project.build(each_host.name, {"version": "2", **FAULTS[fault]})
    run = project.run_playbook(deploy_play(each_host.name, file="systems/default.nix", attr="{host}"))
    assert cause in failure(run, each_host)
    assert each_host.snapshot() == before


def test_an_unknown_specialisation(web2: LabHost, project: Project) -> None:
    before = web2.snapshot()
    project.build("web2", {"version": "2"})
    night = defaults(SWITCH, specialisation="night")
    play = deploy_play("web2", night, file="systems/default.nix", attr="{host}")
    assert "no specialisation night" in failure(project.run_playbook(play), web2)
    assert web2.snapshot() == before


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ({"file": "systems/default.nix", "attr": "no.such.thing"}, "no"),
        ({"flake": "path:{root}/systems#nixosConfigurations.nobody"}, "nobody"),
        ({"expr": 'throw "out of ideas"'}, "out of ideas"),
        ({"expr": "{ a = "}, "syntax error"),
        ({"file": "nowhere.nix"}, "nowhere.nix does not exist"),
        (
            {
                "expr": 'derivation { name = "doomed"; system = builtins.currentSystem; builder = "/bin/sh";'
                ' args = [ "-c" "echo this is why; exit 3" ]; }'
            },
            "doomed",
        ),
    ],
    ids=["attribute", "flake-attribute", "evaluation", "syntax", "file", "build"],
)
def test_what_cannot_be_evaluated_or_built(
    web2: LabHost, project: Project, source: dict[str, str], cause: str
) -> None:
    given = {name: value.replace("{root}", project.root) for name, value in source.items()}
    run = project.run_playbook(task_play("web2", BUILD, given))
    assert cause in failure(run, web2)
    result = run.result(BUILD)
    assert result["step"] in ("evaluate", "build")
    if "derivation" in source.get("expr", ""):
        assert any("this is why" in line for line in result["output"])


def test_options_that_make_no_sense(web2: LabHost, project: Project) -> None:
    toplevel = web2.current_system()
    assert "timeout_confirm" in failure(switch(project, web2, toplevel=toplevel, timeout_confirm=0), web2)
    assert "profile" in failure(switch(project, web2, toplevel=toplevel, kind="profile"), web2)
    assert "no generation 99" in failure(
        project.run_playbook(task_play("web2", "nix_rollback", {"to": "99"})), web2
    )
    assert "no earlier generation" in failure(
        project.run_playbook(task_play("web2", "nix_rollback", {})), web2
    )
    unknown = switch(project, web2, toplevel=toplevel, health_checks=[{"name": "nothing to check"}])
    assert unknown.return_code != 0
