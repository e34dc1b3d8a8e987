# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host a message names when a task is delegated to another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import NixferryAction
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress


class OnHost(NixferryAction):
    specification: ClassVar[dict[str, Any]] = {"argument_spec": {"unreachable": {"type": "bool"}}}

    def perform(self, options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        kind = HostUnreachable if options["unreachable"] else NixferryError
        raise kind(f"for {self.subject} on {shell.host}", step=Step.HEALTH_CHECK)


class OnController(OnHost):
    on_controller = True


def action(kind: type[OnHost], delegate_to: str | None, *, unreachable: bool = False) -> OnHost:
    task = SimpleNamespace(
        delegate_to=delegate_to,
        no_log=False,
        async_val=0,
        check_mode=False,
        diff=False,
        args={"unreachable": unreachable},
        action="test",
        resolved_action="test",
        collections=[],
    )
    nothing = SimpleNamespace(transport="local", _shell=SimpleNamespace(tmpdir=None))
    return kind(task, nothing, SimpleNamespace(), None, None, None)


class Templar:
    """Templates one value only."""

    def template(self, given: object) -> object:
        return "/opt/nix/bin" if given == "{{ place }}" else given


class Shown(OnHost):
    def perform(self, _options: dict[str, Any], shell: RemoteShell, _progress: Progress) -> dict[str, Any]:
        return {"failed": False, "search_path": shell.search_path}


def test_the_directory_of_nix_is_that_of_the_host_that_a_task_works_on() -> None:
    others = {"db1": {"nixferry_nix_directory": "/db/bin"}, "db2": {}}
    variables = {**VARIABLES, "nixferry_nix_directory": "{{ place }}", "hostvars": others}

    def said(delegate_to: str | None) -> str:
        made = action(Shown, delegate_to)
        made._templar = Templar()
        return str(made.run(task_vars=variables)["search_path"])

    assert said(None).startswith("PATH=/opt/nix/bin${PATH:+:$PATH};")
    assert said("db1").startswith("PATH=/db/bin$")
    assert said("db2") == said("unknown") == ""
    wrong = action(Shown, None)
    wrong._templar = Templar()
    failed = wrong.run(task_vars={**VARIABLES, "nixferry_nix_directory": "bin"})
    assert "nixferry_nix_directory is not a valid directory" in failed["msg"]


VARIABLES = {"inventory_hostname": "web1", "ansible_play_batch": ["web1", "web2"]}


def test_the_host_that_a_task_works_on_is_named() -> None:
    own = action(OnHost, None).run(task_vars=VARIABLES)
    assert own["msg"].splitlines()[0] == "web1: health check failed: for web1 on web1"
    delegated = action(OnHost, "db1").run(task_vars=VARIABLES)
    assert delegated["msg"].splitlines()[0] == "db1: health check failed: for web1 on db1"
    assert delegated["where"] == "db1"
    with pytest.raises(AnsibleConnectionFailure, match=r"^db1: health check failed"):
        action(OnHost, "db1", unreachable=True).run(task_vars=VARIABLES)


def test_work_on_the_controller_is_named_by_the_host_that_it_is_for() -> None:
    delegated = action(OnController, "localhost").run(task_vars=VARIABLES)
    assert delegated["msg"].splitlines()[0] == "web1: health check failed: for web1 on localhost"
