# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A question in front of a script shares its round trip, and nothing else."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.asking import AskingShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.status import PULL_QUESTION, parse_status


class Action:
    """What RemoteShell uses of an ActionBase; the host is this machine."""

    _play_context = None

    def __init__(self, *, login: str = "", cut_at: str = "", line_end: str = "\n") -> None:
        self._connection = type(
            "Connection", (), {"transport": "ssh", "has_pipelining": True, "become": None}
        )
        self.login = login
        self.cut_at = cut_at
        self.line_end = line_end
        self.commands: list[str] = []

    def _low_level_execute_command(self, cmd: str, *, in_data: bytes, **_options: Any) -> dict[str, Any]:
        self.commands.append(cmd)
        done = subprocess.run(
            ["/bin/sh", "-c", cmd], input=in_data, capture_output=True, timeout=20, check=False
        )
        stdout = self.login + done.stdout.decode()
        if self.cut_at:
            stdout = stdout[: stdout.index(self.cut_at)]
        stdout = stdout.replace("\n", self.line_end)
        return {"rc": done.returncode, "stdout": stdout, "stderr": done.stderr.decode()}


def asking(action: Action, question: str) -> AskingShell:
    return AskingShell(RemoteShell(action, "web1", nix_directory="/opt/nix/bin"), question)  # type: ignore[arg-type]


# What a question may leave behind: an exit code, settings of its shell, a read standard input, no end of line.
@pytest.mark.parametrize(
    "question",
    [
        "echo asked; exit 3",
        "set -eu; umask 077; cd /; echo asked; PATH=/nowhere; export PATH",
        "cat; echo asked; echo ${unset_variable:?}",
        "exec 3>&1 1>&2; echo noise; echo asked >&3",
        "printf asked",
        "echo asked; kill -9 $(exec sh -c 'echo $PPID')",
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["pipe", "terminal"])
def test_one_command_answers_both(question: str, line_end: str) -> None:
    action = Action(login="Welcome!\n", line_end=line_end)
    shell = asking(action, question)
    done = shell.run('echo "$PATH" one; cat; pwd; exit 7\necho never', step="probe")
    assert len(action.commands) == 1
    assert shell.asked is not None
    assert shell.asked.stdout.strip() == "asked"
    alone = RemoteShell(Action(login="Welcome!\n"), "web1", nix_directory="/opt/nix/bin")  # type: ignore[arg-type]
    wanted = alone.run('echo "$PATH" one; cat; pwd; exit 7\necho never', step="probe")
    assert done.return_code == wanted.return_code == 7
    assert done.stdout.split() == wanted.stdout.split()


def test_the_script_of_the_pull_agent_is_such_a_question() -> None:
    shell = asking(Action(), PULL_QUESTION)
    assert shell.run("echo one", step="probe").stdout.split() == ["one"]
    assert shell.asked is not None
    status = parse_status(shell.asked)
    assert (status.now is not None, status.pulls) == (True, False)


@pytest.mark.parametrize("cut_at", ["asked", "one", "Welcome"])
def test_a_broken_connection_leaves_all_output_and_no_wrong_answer(cut_at: str) -> None:
    shell = asking(Action(login="Welcome!\n", cut_at=cut_at), "echo asked")
    done = shell.run("echo one", step="probe")
    assert "one" not in done.stdout
    assert ("asked" in done.stdout, shell.asked is not None) == (False, cut_at == "one")


def test_a_command_that_is_no_script_runs_alone() -> None:
    action = Action()
    shell = asking(action, "echo asked")
    assert shell.run_command("wc -c", data=b"four", step="probe").stdout.strip() == "4"
    assert shell.asked is None
