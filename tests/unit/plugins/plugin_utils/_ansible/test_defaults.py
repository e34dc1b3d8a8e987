# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The defaults of other actions, as Ansible's own loader leaves them in a task."""

from __future__ import annotations

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.template import Templar

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.defaults import defaults_of

COPY, SWITCH, DEPLOY = (f"nixferry.deploy.nix_{name}" for name in ("copy", "switch", "deploy"))


def task_of(*blocks: dict[str, Any]) -> Any:
    """A task in blocks with these defaults, the outermost first."""
    tasks: list[dict[str, Any]] = [{"ansible.builtin.debug": {}, "name": "deploy"}]
    for defaults in reversed(blocks[1:]):
        tasks = [{"block": tasks, "module_defaults": defaults}]
    source = {"hosts": "all", "module_defaults": blocks[0], "tasks": tasks}
    found: Any = Play().load(source, loader=DataLoader(), variable_manager=None).tasks[0]
    while hasattr(found, "block"):
        found = found.block[0]
    return found


def defaults(task: Any, *known: str, **variables: Any) -> dict[str, Any]:
    templar = Templar(loader=DataLoader(), variables=variables)
    return defaults_of(task, templar, (COPY, SWITCH), known)


def test_those_of_both_parts_apply_and_no_others() -> None:
    task = task_of(
        {COPY: {"compress": True, "to_root": "/mnt"}, SWITCH: {"settle": 9}, DEPLOY: {"retries": 1}}
    )
    assert defaults(task, "compress", "settle", "retries") == {"compress": True, "settle": 9}


def test_values_are_templates_of_the_host() -> None:
    from ansible.template import trust_as_template

    task = task_of({SWITCH: {"timeout_reboot": trust_as_template("{{ minutes * 60 }}")}})
    assert defaults(task, "timeout_reboot", minutes=3) == {"timeout_reboot": 180}


def test_an_inner_block_replaces_those_of_an_outer_one() -> None:
    task = task_of({COPY: {"compress": True, "retries": 1}}, {COPY: {"compress": False}})
    assert defaults(task, "compress", "retries") == {"compress": False}


def test_none() -> None:
    assert defaults(task_of({}), "compress") == {}
