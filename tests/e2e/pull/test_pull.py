# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host pulls: what a signed pointer names is fetched, activated by the guard, and proved before it stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import LabHost
from project import Project
from pulling import STATE, Pulling, pulling


@pytest.fixture
def puller(web2: LabHost, project: Project, tmp_path: Path) -> Iterator[Pulling]:
    """A stock host that can reach a publisher."""
    with pulling(web2, project, tmp_path) as made:
        yield made
        print(made.story())  # noqa: T201 - pytest shows it when a test fails


def test_publish_pull_again_and_roll_back(puller: Pulling) -> None:
    """From a host without an agent to a new system, the same again, a bad one, and the way out of quarantine."""
    host = puller.host
    stock = host.current_system()
    planned = puller.install("--check", "--diff")
    assert planned.changed(host.name)
    assert not host.ask(f"ls -A {STATE} 2>/dev/null || true")
    assert puller.install().changed(host.name)
    assert not puller.install().changed(host.name)

    # Nothing is published yet.
    assert puller.pull()["outcome"] == "absent"
    good = puller.publish({"version": "2"})
    assert not host.has_path(good)
    done = puller.pull()
    assert (done["outcome"], done["serial"], done["wanted"]) == ("committed", str(puller.serial), good)
    assert (host.current_system(), host.profile(), host.boot_default()) == (good, good, good)
    assert host.http() == (200, "2")
    assert stock != good

    assert puller.pull()["outcome"] == "unchanged"
    assert len(host.generations()) == 2

    # A system that fails to activate, and then one that cuts the host off from its publisher.
    bad = puller.publish({"version": "3", "activationScripts": {"fails": "false"}})
    assert puller.pull()["outcome"] == "rolled-back"
    assert (host.current_system(), host.profile(), host.boot_default()) == (good, good, good)
    puller.offer(puller.pointer(bad))
    done = puller.pull()
    assert (done["outcome"], done["quarantined"]) == ("quarantined", bad)
    assert len(host.generations()) == 2

    puller.agent("clear", bad)
    assert puller.pull()["outcome"] == "rolled-back"

    # Back to an earlier system under a new serial is an ordinary publish.
    puller.offer(puller.pointer(good))
    assert puller.pull()["outcome"] == "unchanged"

    # An image for many hosts has no name in it: the host is called what the machine is.
    assert puller.install(pull_agent_host="@hostname").changed(host.name)
    named = puller.publish({"version": "4"})
    assert (puller.pull()["outcome"], host.current_system()) == ("committed", named)
    assert not host.failed_units() or all(unit.startswith("nixferry-") for unit in host.failed_units())
