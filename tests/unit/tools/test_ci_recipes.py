# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes for CI: what they run, in which order, and where their keys are."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = (Path(__file__).parents[3] / "docs/docsite/rst/ci.rst").read_text(encoding="utf-8")
BLOCKS = {
    block.split("\n", 1)[0].removeprefix("# ").partition(":")[0]: block
    for block in (
        textwrap.dedent(text)
        for text in re.findall(r"^\.\. code-block:: (?:yaml|shell)\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    )
}
GITHUB = yaml.safe_load(BLOCKS[".github/workflows/deploy.yml"])
GITLAB = yaml.safe_load(BLOCKS[".gitlab-ci.yml"])
WOODPECKER = yaml.safe_load(BLOCKS[".woodpecker/deploy.yml"])
CANARY = "canary-of-the-secret-key"
SECONDS_OF_A_STEP = 20
# It stands in for Ansible: notes its arguments and its environment, writes a plan, reads it, and refuses a key that
# users other than the owner may read.
STAND_IN = f"""#!/bin/sh
printf '%s\\n' "$*" >>"$NOTES/calls"
env >>"$NOTES/environment"
case $* in *inventory.yml*)
    if [ -n "$WANTS_KEY" ]; then
        [ "$(stat -c %a "$ANSIBLE_PRIVATE_KEY_FILE")" = 600 ] || exit 3
        grep -q {CANARY} "$ANSIBLE_PRIVATE_KEY_FILE" || exit 4
        case $ANSIBLE_SSH_COMMON_ARGS in
            *"UserKnownHostsFile=$PWD/known_hosts"*StrictHostKeyChecking=yes*) ;;
            *) exit 5 ;;
        esac
    fi
esac
case $* in
    *deploy.plan*) echo planned >plan.json; echo '# Plan' >plan.md ;;
    *deploy.deploy*nixferry_plan=plan.json*) grep -q planned plan.json || exit 6 ;;
esac
"""


class Runner:
    """Runs steps in one directory, as a runner does that keeps the plan for the second job."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.notes = directory / "checkout", directory / "notes"
        programs = directory / "programs"
        for each in (self.directory, self.notes, programs, directory / "temp"):
            each.mkdir()
        for name, text in {
            "ansible-playbook": STAND_IN,
            "ansible-galaxy": "#!/bin/sh\n",
            "pipx": "#!/bin/sh\n",
            "git": '#!/bin/sh\nprintf "git %s\\n" "$*" >>"$NOTES/calls"\n',
        }.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (self.directory / "known_hosts").touch()
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
            "NOTES": str(self.notes),
            "WANTS_KEY": "1",
            "RUNNER_TEMP": str(directory / "temp"),
            "GITHUB_STEP_SUMMARY": str(directory / "summary"),
        }

    def run(self, text: str, **environment: str) -> None:
        """Run a step, which must succeed."""
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", text],
            cwd=self.directory,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS_OF_A_STEP,
            check=False,
        )
        assert done.returncode == 0, (text, done.returncode, done.stderr)

    @property
    def calls(self) -> list[str]:
        return (self.notes / "calls").read_text().splitlines()

    def assert_planned_and_deployed(self) -> None:
        """The deploy takes the plan, and no key was told to Ansible or left behind."""
        plan, deploy = (
            next((number for number, call in enumerate(self.calls) if f"deploy.{name}" in call), -1)
            for name in ("plan", "deploy -e")
        )
        assert 0 <= plan < deploy, self.calls
        assert "nixferry_plan=plan.json" in self.calls[deploy]
        for file in self.notes.iterdir():
            assert CANARY not in file.read_text()
        left = [path for place in ("checkout", "temp") for path in (self.directory.parent / place).iterdir()]
        assert [path for path in left if CANARY in path.read_text()] == []


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_github_deploys_what_was_planned(runner: Runner) -> None:
    for job in ("check", "plan", "deploy"):
        for step in GITHUB["jobs"][job]["steps"]:
            secrets = {name: CANARY for name, value in step.get("env", {}).items() if "secrets." in value}
            if "run" in step:
                assert "${{" not in step["run"], "an expression in a script lets its value be run"
                runner.run(step["run"], **secrets)
    runner.assert_planned_and_deployed()
    assert "# Plan" in (runner.directory.parent / "summary").read_text()
    jobs = GITHUB["jobs"]
    assert jobs["deploy"]["needs"] == "plan"
    assert jobs["deploy"]["environment"] == "production"
    assert jobs["plan"]["runs-on"] == jobs["deploy"]["runs-on"]
    assert jobs["plan"]["concurrency"] == jobs["deploy"]["concurrency"]
    sent, got = jobs["plan"]["steps"][-1], jobs["deploy"]["steps"][1]
    assert sent["with"] == {**got["with"], "path": "plan.json"}


def test_gitlab_deploys_what_was_planned(runner: Runner) -> None:
    secret = runner.directory.parent / "variable"
    for name in GITLAB["stages"]:
        job: dict[str, Any] = {**GITLAB.get(GITLAB[name].get("extends", ""), {}), **GITLAB[name]}
        secret.write_text(f"{CANARY}\n")
        secret.chmod(0o644)
        lines = [*job.get("before_script", ()), *job["script"]]
        runner.run("\n".join(lines), DEPLOY_KEY=str(secret))
        runner.run("\n".join(job.get("after_script", ["true"])))
        secret.unlink()
    runner.assert_planned_and_deployed()
    assert GITLAB["plan"]["artifacts"]["paths"][0] == "plan.json"
    assert GITLAB["deploy"]["rules"][0]["when"] == "manual"


def test_woodpecker_deploys_what_was_planned(runner: Runner) -> None:
    for step in WOODPECKER["steps"]:
        assert step["environment"] == {"DEPLOY_KEY": {"from_secret": "deploy_key"}}
        runner.run("\n".join(step["commands"]), DEPLOY_KEY=CANARY)
    runner.assert_planned_and_deployed()
    assert WOODPECKER["steps"][1]["when"] == [{"event": "deployment"}]


def test_a_failed_run_leaves_no_key(runner: Runner) -> None:
    (plan,) = (step for step in GITHUB["jobs"]["plan"]["steps"] if step.get("name") == "Plan")
    for text in (plan["run"], "\n".join(WOODPECKER["steps"][0]["commands"])):
        with pytest.raises(AssertionError, match="deploy-key"):
            runner.run(text.replace("ansible-playbook -i", "false"), DEPLOY_KEY=CANARY)
    assert not list(runner.directory.parent.rglob("deploy-key"))


def test_cron_deploys_the_branch_once_at_a_time(runner: Runner) -> None:
    script = BLOCKS["nightly.sh"].replace("$HOME/fleet", str(runner.directory))
    runner.run(script, WANTS_KEY="")
    assert [call.split()[0] for call in runner.calls] == ["git", "git", "nixferry.deploy.check_fleet", "-i"]
    held = ["flock", str(runner.directory.parent / ".nightly.lock"), "/bin/sh", "-eu", "-c", script]
    subprocess.run(
        held,
        cwd=runner.directory,
        env=runner.environment,
        timeout=SECONDS_OF_A_STEP,
        check=True,
        capture_output=True,
    )
    assert len(runner.calls) == 4, "a second run while the first one holds the lock"


def test_awx_has_two_playbooks_with_one_plan() -> None:
    (plan,), (deploy,) = yaml.safe_load(BLOCKS["plan.yml"]), yaml.safe_load(BLOCKS["deploy.yml"])
    assert plan["import_playbook"] == "nixferry.deploy.plan"
    assert deploy["import_playbook"] == "nixferry.deploy.deploy"
    assert plan["vars"]["nixferry_plan"] == deploy["vars"]["nixferry_plan"]
