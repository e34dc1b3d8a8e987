# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which phases of a deploy the tags of a run select: those of two tasks, as Ansible itself selects them."""

from __future__ import annotations

import itertools

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play

from ansible_collections.nixferry.deploy.plugins.plugin_utils._switch.phases import (
    PHASES,
    selected_phases,
)

WORDS = ("copy", "activate", "web", "all", "tagged")
SKIPPED = ((), ("copy",), ("activate",), ("copy", "activate"))


def as_two_tasks(role_tags: list[str], run_tags: list[str], skip_tags: list[str]) -> tuple[str, ...]:
    """What Ansible runs of two tasks, the first of which the second one needs."""
    needed = [tag for tag in ("copy", "activate") if tag == "copy" or tag not in skip_tags]
    tasks = [
        {"name": "copy", "debug": {}, "tags": needed},
        {"name": "activate", "debug": {}, "tags": ["activate"]},
    ]
    source = {"hosts": "all", "tags": role_tags, "tasks": tasks}
    play = Play().load(source, loader=DataLoader(), variable_manager=None)
    found = [task for block in play.tasks for task in block.block]
    return tuple(task.name for task in found if task.evaluate_tags(run_tags, skip_tags, {}))


@pytest.mark.parametrize("role_tags", [[], ["web"], ["always"], ["web", "always"]], ids=str)
@pytest.mark.parametrize("skip_tags", SKIPPED, ids=str)
def test_one_task_does_what_two_would(role_tags: list[str], skip_tags: tuple[str, ...]) -> None:
    runs = [list(chosen) for count in (1, 2) for chosen in itertools.combinations(WORDS, count)]
    for run_tags in runs:
        expected = as_two_tasks(role_tags, run_tags, [*skip_tags])
        own = [phase for phase in PHASES if phase not in skip_tags] or [*PHASES]
        # If Ansible does not run the task at all, nothing has to be selected.
        if expected:
            assert selected_phases(PHASES, [*own, *role_tags], run_tags, skip_tags) == expected, run_tags


def test_the_tags_of_a_task_without_those_of_the_phases_select_nothing() -> None:
    assert selected_phases(PHASES, ["web"], ["web"], ["copy"]) == PHASES
    assert selected_phases(PHASES, [], ["all"], []) == PHASES


def test_what_was_not_asked_for_is_not_selected() -> None:
    assert selected_phases(["copy"], [*PHASES], ["activate"], []) == ("copy",)
    assert selected_phases([], [*PHASES], ["all"], []) == ()
    assert selected_phases(["activate", "copy"], [], ["all"], []) == PHASES
