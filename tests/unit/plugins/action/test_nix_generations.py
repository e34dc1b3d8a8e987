# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The question to the pull agent costs a host no command of its own, except beside an installed guard."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.nixferry.deploy.plugins.action.nix_generations import ActionModule
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell

GUARD = "#!/bin/sh\nprintf 'nixferry=1\\nprofile=/p\\nend=probe\\n'\n"


class Action:
    """What RemoteShell uses of an ActionBase; the host is a directory of this machine."""

    _play_context = None

    def __init__(self) -> None:
        self._connection = type(
            "Connection", (), {"transport": "ssh", "has_pipelining": True, "become": None}
        )
        self.commands: list[str] = []

    def _get_remote_user(self) -> str:
        return "deploy"

    def _low_level_execute_command(self, cmd: str, *, in_data: bytes, **_options: Any) -> dict[str, Any]:
        self.commands.append(cmd)
        done = subprocess.run(
            ["/bin/sh", "-c", cmd], input=in_data, capture_output=True, timeout=60, check=False
        )
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose pull agent has a status."""
    agent = tmp_path / "var/lib/nixferry-pull"
    agent.mkdir(parents=True)
    (agent / "profile").write_text("/nix/var/nix/profiles/system\n")
    (agent / "status").write_text("outcome=committed\nserial=7\n")
    monkeypatch.setenv("NIXFERRY_ROOT", str(tmp_path))
    return tmp_path


def ask(**options: Any) -> tuple[dict[str, Any], int]:
    """Return the result, and how many commands it took."""
    action = ActionModule.__new__(ActionModule)
    action.subject = "web1"
    given = {"kind": "nixos", "profile": None, "guard": None, "build": None, "deploy": "", "pull": False}
    remote = Action()
    result = action.perform({**given, **options}, RemoteShell(remote, "web1"), None)  # type: ignore[arg-type]
    return result, len(remote.commands)


@pytest.mark.usefixtures("host")
def test_both_questions_take_as_many_commands_as_one() -> None:
    alone, commands = ask()
    both, commands_of_both = ask(pull=True)
    assert commands_of_both == commands
    assert "pull" not in alone
    assert {**both, "pull": None} == {**alone, "pull": None}
    assert (both["pull"]["installed"], both["pull"]["outcome"], both["pull"]["serial"]) == (
        True,
        "committed",
        7,
    )


def test_beside_an_installed_guard_the_agent_is_asked_in_a_second_command(host: Path) -> None:
    guard = host / "guard"
    guard.write_text(GUARD)
    guard.chmod(0o755)
    program = host / "bin/sudo"
    program.parent.mkdir()
    # Where the tests do not run as root.
    program.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        result, commands = ask(guard=str(guard), pull=True)
    assert (commands, result["pull"]["serial"]) == (2, 7)


def test_an_agent_that_makes_no_sense_does_not_hide_the_systems(host: Path) -> None:
    (host / "var/lib/nixferry-pull/status").write_text("serial=seven\n")
    alone, _commands = ask()
    both, _commands = ask(pull=True)
    assert both == {**alone, "pull": None}
