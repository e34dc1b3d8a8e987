# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that follows a branch of git and builds its system by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from guides import guide_blocks
from lab import REPOSITORY, Lab, LabHost
from plays import task_play
from project import Project
from pulling import STATE, Pulling, pulling
from repositories import Repository, give_git


@dataclass
class Following:
    """A host with an agent, and the repository that it follows."""

    puller: Pulling
    repository: Repository


@pytest.fixture
def following(lab: Lab, web2: LabHost, project: Project, tmp_path: Path) -> Iterator[Following]:
    """A host with git and an agent. Only signed commits count."""
    give_git(lab, web2)
    with pulling(web2, project, tmp_path) as puller:
        repository = Repository(project, puller.server.directory / "systems.git", puller.keys / "pointer")
        repository.begin()
        puller.variables = {
            "pull_agent_url": "",
            "pull_agent_public_keys": [],
            "pull_agent_pointer_keys": [],
            "pull_agent_repository": f"{puller.server.url}/systems.git",
            "pull_agent_commit_keys": [(puller.keys / "pointer.pub").read_text()],
        }
        yield Following(puller, repository)
        print(puller.story())  # noqa: T201 - pytest shows it when a test fails


PAGE = REPOSITORY / "docs/docsite/rst/pull_from_git.rst"


def plays_of_the_page(following: Following) -> tuple[str, str]:
    """To set up, and to forget, for the host and the repository of this test."""
    host, key = following.puller.host, following.puller.keys / "pointer.pub"
    following.puller.project.write("committer.pub", key.read_text())
    address = following.puller.variables["pull_agent_repository"]
    set_up, _ssh, _openpgp, forget = (
        play.replace("hosts: nixos", f"hosts: {host.name}").replace(
            "https://git.example.org/systems.git", address
        )
        for play in guide_blocks(PAGE)
    )
    return set_up, forget


@pytest.mark.takes_turns(2, among="pulls")
def test_a_host_builds_what_its_branch_says(following: Following) -> None:
    """Signed commits, a testing branch, a bad system, commits that do not count, and a branch that is rewritten."""
    puller, repository = following.puller, following.repository
    host = puller.host
    set_up, forget = plays_of_the_page(following)
    assert puller.project.run_playbook(set_up, "--check").assert_ok().changed(host.name)
    assert puller.install().changed(host.name)
    assert not puller.install().changed(host.name)
    assert puller.pull()["outcome"] == "absent"

    first = repository.commit({"web2": {"version": "2"}})
    repository.push()
    done = puller.pull()
    assert (done["outcome"], done["commit"], done["branch"]) == ("committed", first, "main"), done
    good = host.current_system()
    assert (host.profile(), host.boot_default(), host.http()) == (good, good, (200, "2"))
    assert done["wanted"] == good
    assert puller.pull()["outcome"] == "unchanged"
    assert len(host.generations()) == 2

    # Tested, and not what boots; the main branch alone again when the testing branch is gone.
    repository.git("switch", "--quiet", "--create", "testing-web2")
    testing = repository.commit({"web2": {"version": "3"}})
    repository.push("main", "testing-web2")
    done = puller.pull()
    assert (done["outcome"], done["commit"], done["branch"]) == ("committed", testing, "testing"), done
    assert (host.profile(), host.boot_default(), host.http()) == (good, good, (200, "3"))
    assert puller.pull()["outcome"] == "unchanged"
    bad = repository.commit({"web2": {"version": "4", "activationScripts": {"fails": "false"}}})
    repository.push("testing-web2")
    done = puller.pull()
    assert (done["outcome"], done["commit"]) == ("rolled-back", bad)
    # The branch is kept back from now on, so that the main one counts.
    done = puller.pull()
    assert (done["outcome"], done["commit"], host.current_system()) == ("committed", first, good)
    repository.git("switch", "--quiet", "main")

    # Unsigned, or signed by another key: nothing happens.
    for how in ({"signed": False}, {"key": puller.keys / "foreign"}):
        repository.commit({"web2": {"version": "evil"}}, **how)
        repository.push()
        assert puller.pull()["outcome"] == "signature"
        repository.git("reset", "--quiet", "--hard", first)
    broken = repository.commit({"web2": {"version": "5", "etc": {"a": "a file", "a/b": "another"}}})
    repository.push()
    assert [puller.pull()["outcome"] for _attempt in range(3)] == [
        "build-failed",
        "build-failed",
        "quarantined",
    ]
    second = repository.commit({"web2": {"version": "6"}})
    repository.push()
    assert puller.pull()["outcome"] == "committed"
    assert host.http() == (200, "6")
    waits = task_play(host.name, "nix_pull_status", {"wait_for_commit": second, "timeout": 20, "delay": 1})
    told = puller.project.run_playbook(waits).assert_ok().result("nix_pull_status")["pull"]
    assert (told["commit"], told["branch"], told["accepted_commit"]) == (second, "main", second)

    # Back, or rewritten: refused, until an administrator says that it is meant.
    for commit in (first, broken):
        repository.git("reset", "--quiet", "--hard", commit)
        repository.push()
        assert puller.pull()["outcome"] == "replayed"
    repository.git("reset", "--quiet", "--hard", first)
    rewritten = repository.commit({"web2": {"version": "7"}})
    repository.push()
    assert puller.pull()["outcome"] == "replayed"
    assert host.http() == (200, "6")
    assert puller.project.run_playbook(forget).assert_ok().changed(host.name)
    assert not puller.project.run_playbook(forget).assert_ok().changed(host.name)
    done = puller.pull()
    assert (done["outcome"], done["accepted_commit"]) == ("committed", rewritten)
    assert host.http() == (200, "7")
    assert second not in (first, rewritten)
    assert host.ask(f"stat -c %U {STATE}/built {STATE}/bundle") == "root\nroot"
