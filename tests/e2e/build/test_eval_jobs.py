# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that nix-eval-jobs evaluates get what Nix itself gives them, and wrong ones fail with Nix's own words.

The nix-eval-jobs on PATH is used where there is one, a stand-in elsewhere: tests/fixtures/nix-eval-jobs.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from fleets import FIXTURES, FLEETS, HOSTS, LIMITS, fleet_in, lay_out
from guides import guide_blocks
from lab import REPOSITORY, nix_environment
from project import PlaybookRun, Project

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.attribute import (
    Attribute,
    file_attribute,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.evaluate import (
    Answers,
    Evaluation,
    evaluate,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.jobs import MODES
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

PROGRAM = shutil.which("nix-eval-jobs") or str(FIXTURES / "nix-eval-jobs/nix-eval-jobs")
STAND_IN = "fixtures" in PROGRAM
# Those that are files and not flakes.
FILES = [name for name, words in FLEETS.items() if not words[0].startswith(".")]
PAGE = REPOSITORY / "docs/docsite/rst/fleet_files.rst"
LOCAL = {"ansible_connection": "local"}
HOSTS_OF_A_FILE = """
{ greeting ? "hello" }:
let
  derive = name: more: derivation ({
    inherit name greeting;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "echo $greeting >$out" ];
  } // more);
in
{
  "db.example.org" = derive "db" { };
  web1.config.system.build.toplevel = derive "web1" { outputs = [ "out" "dev" ]; };
  web2 = throw "no such luck";
  web3 = 3;
  "7" = derive "seven" { };
}
"""


class Jobs:
    """Evaluates with nix-eval-jobs, and keeps what it was asked and what the user was told."""

    def __init__(self, directory: Path, program: str = PROGRAM) -> None:
        programs = directory / "programs"
        programs.mkdir()
        (programs / "nix-eval-jobs").symlink_to(program)
        self.log = directory / "runs"
        path = f"{programs}:{os.environ['PATH']}"
        self.nix = Nix(environment={**nix_environment(), "PATH": path, "NIX_EVAL_JOBS_LOG": str(self.log)})
        self.warnings: list[str] = []

    def answers(self, attributes: dict[str, Attribute], mode: str = "required") -> Answers:
        return evaluate(
            self.nix,
            attributes,
            limits=LIMITS,
            deadline=None,
            eval_jobs=mode,
            on_warning=self.warnings.append,
        )

    @property
    def runs(self) -> list[list[str]]:
        """The arguments of each run of the stand-in that was no question about its version."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [run for run in map(json.loads, lines) if "--expr" not in run]


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def hosts_of(directory: Path, *names: str, arguments: str = "{ }") -> dict[str, Attribute]:
    (directory / "hosts.nix").write_text(HOSTS_OF_A_FILE)
    return {
        name: file_attribute("hosts.nix", '"{host}"', name, directory=str(directory), arguments=arguments)
        for name in names
    }


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("fleets"))


@pytest.mark.parametrize("name", FILES)
def test_fleets_evaluate_to_the_same(fleets: Path, jobs: Jobs, name: str) -> None:
    fleet = fleet_in(fleets, *FLEETS[name])
    attributes = {host: fleet.attribute(host) for host in HOSTS[name][0]}
    answers = jobs.answers(attributes)
    assert all(isinstance(answer, Evaluation) for answer in answers.values()), answers
    assert answers == jobs.answers(attributes, "never")
    assert not jobs.warnings
    if STAND_IN:
        (run,) = jobs.runs
        # 4 GiB, a quarter of it for everything else, and for each of two what a further host costs on top.
        assert run[run.index("--workers") :][:4] == ["--workers", "2", "--max-memory-size", "896"]


def test_what_goes_wrong_is_said_as_without_it(tmp_path: Path, jobs: Jobs) -> None:
    attributes = hosts_of(
        tmp_path, "db.example.org", "web1", "web2", "web3", "7", arguments='{ "greeting" = "moin"; }'
    )
    answers, plain = jobs.answers(attributes), jobs.answers(attributes, "never")
    assert list(answers) == list(attributes)
    for host in ("db.example.org", "web1", "7"):
        assert isinstance(answers[host], Evaluation)
        assert answers[host] == plain[host]
    for host, message in (("web2", "no such luck"), ("web3", "attribute 'web3' is a int, not a derivation")):
        error, expected = answers[host], plain[host]
        assert isinstance(error, NixferryError)
        assert isinstance(expected, NixferryError)
        assert (error.cause, error.remedy, error.output) == (
            expected.cause,
            expected.remedy,
            expected.output,
        )
        assert message in error.cause
    assert not jobs.warnings
    # Its file is gone, and was nobody's but the user's.
    if STAND_IN:
        assert not Path(jobs.runs[0][-1]).exists()


def test_a_broken_file_is_explained_by_nix_itself(tmp_path: Path, jobs: Jobs) -> None:
    attributes = hosts_of(tmp_path, "web1", "web2")
    (tmp_path / "hosts.nix").write_text("{\n  web1 = ;\n}\n")
    answers, plain = jobs.answers(attributes), jobs.answers(attributes, "never")
    for host, answer in answers.items():
        expected = plain[host]
        assert isinstance(answer, NixferryError)
        assert isinstance(expected, NixferryError)
        assert answer.cause == expected.cause
        assert "hosts.nix:2:10" in answer.cause
    (warning,) = jobs.warnings
    assert "nix-eval-jobs gave no answer for web1, web2, evaluated without it: " in warning


NOT_USABLE = {
    "no program": ("#!/no/such/interpreter\n", "it does not start"),
    "nothing": (
        "#!/bin/sh\nexit 3\n",
        "it does not start (nix-eval-jobs ended with exit code 3 without any output)",
    ),
    "another version": (
        """#!/bin/sh\necho '{"attr":"version","attrPath":["version"],"error":"error: 1.99.3"}'\n""",
        "it evaluates like Nix 1.99, and this is Nix ",
    ),
}


@pytest.mark.parametrize("name", NOT_USABLE)
def test_without_a_usable_one_nix_evaluates(tmp_path: Path, name: str) -> None:
    text, reason = NOT_USABLE[name]
    (tmp_path / "program").write_text(text)
    (tmp_path / "program").chmod(0o755)
    jobs = Jobs(tmp_path, str(tmp_path / "program"))
    attributes = hosts_of(tmp_path, "db.example.org", "web1")
    answers = jobs.answers(attributes, "auto")
    assert all(isinstance(answer, Evaluation) for answer in answers.values())
    (warning,) = jobs.warnings
    assert warning.startswith("nix-eval-jobs is not used: ")
    assert reason in warning
    with pytest.raises(NixferryError, match="nix-eval-jobs cannot be used") as raised:
        jobs.answers(attributes)
    assert reason in raised.value.cause
    assert "nix_eval_jobs: auto" in raised.value.remedy


def test_a_missing_one_is_missed_only_where_it_is_required(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, str(tmp_path / "none"))
    if shutil.which("nix-eval-jobs"):
        pytest.skip("there is one on PATH")
    attributes = hosts_of(tmp_path, "db.example.org", "web1")
    assert all(isinstance(answer, Evaluation) for answer in jobs.answers(attributes, "auto").values())
    assert not jobs.warnings
    with pytest.raises(NixferryError, match="cannot be used: it is not on the PATH"):
        jobs.answers(attributes)


def test_one_host_needs_no_workers(tmp_path: Path, jobs: Jobs) -> None:
    assert isinstance(jobs.answers(hosts_of(tmp_path, "web1"))["web1"], Evaluation)
    assert not jobs.runs


def test_the_page_says_what_the_action_takes() -> None:
    (block,) = [block for block in guide_blocks(PAGE) if "nix_eval_jobs" in block]
    (play,) = yaml.safe_load(block)
    assert play["module_defaults"] == {"nixferry.deploy.nix_build": {"nix_eval_jobs": "never"}}
    assert "never" in MODES


def test_a_play_chooses_whether_it_is_used(tmp_path: Path, jobs: Jobs) -> None:
    """The program is found on the PATH of ansible-playbook; who has to use one that is broken is told why not."""
    hosts = ["web1", "db.example.org"]
    project = Project(directory=tmp_path / "project", lab=cast(Any, None))
    project.write("inventory.yml", json.dumps({"all": {"hosts": dict.fromkeys(hosts, LOCAL)}}))
    project.write("ansible.cfg", "[defaults]\ninventory = inventory.yml\n")
    project.write("hosts.nix", HOSTS_OF_A_FILE)
    project.write("broken/nix-eval-jobs", "#!/bin/sh\nexit 3\n").chmod(0o755)
    build = {"file": "hosts.nix", "attr": "{host}", "hosts": hosts}
    tasks = [
        {
            "name": mode,
            "nixferry.deploy.nix_build": {**build, "nix_eval_jobs": mode},
            "check_mode": True,
            "ignore_errors": True,
        }
        for mode in ("required", "never", "auto")
    ]
    play = [{"hosts": "web1", "gather_facts": False, "tasks": tasks}]

    def run_with(programs: Path) -> PlaybookRun:
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(project.directory / "state"),
            "NIX_EVAL_JOBS_LOG": str(jobs.log),
        }
        return project.run_playbook(play, environment=environment)

    ran = run_with(tmp_path / "programs").assert_ok()
    for result in map(ran.result, ("required", "never", "auto")):
        assert result["hosts"] == ran.result("never")["hosts"]
        assert all(host["drv_path"] for host in result["hosts"].values())
    assert len(jobs.runs) == (2 if STAND_IN else 0)

    ran = run_with(project.directory / "broken").assert_ok()
    assert "nix-eval-jobs cannot be used: it does not start" in ran.result("required")["msg"]
    assert ran.result("auto")["hosts"] == ran.result("never")["hosts"]
    (warning,) = ran.result("auto")["warnings"]
    assert "nix-eval-jobs is not used: it does not start" in str(warning)
