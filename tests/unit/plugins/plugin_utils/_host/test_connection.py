# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts over connections with and without standard input; the host is this machine."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.commands import (
    command_script,
    read_commands,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    HostUnreachable,
    RemoteShell,
)


class Connection:
    """A connection plugin; a paramiko one refuses input and uses a terminal, which merges the outputs."""

    become: Any = None

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.has_pipelining = transport in ("ssh", "community.docker.docker")
        self.put: list[tuple[str, int, int]] = []

    def put_file(self, local: str, remote: str) -> None:
        # As sftp does: the mode comes from the umask of the host, not from the local file.
        shutil.copyfile(local, remote)
        Path(remote).chmod(0o600)
        directory = Path(remote).parent
        self.put.append(
            (remote, stat.S_IMODE(directory.stat().st_mode), stat.S_IMODE(Path(remote).stat().st_mode))
        )


class Become:
    """An escalation plugin; ``su`` says of itself that it does not go together with standard input."""

    def __init__(self, user: str = "www", *, pipelining: bool = True, require_tty: bool = False) -> None:
        self.user = user
        self.pipelining = pipelining
        self.require_tty = require_tty

    def get_option(self, name: str, **_context: Any) -> str:
        assert name == "become_user"
        return self.user


class Action:
    """What RemoteShell uses of an ActionBase."""

    _play_context = None

    def __init__(self, transport: str) -> None:
        self._connection = Connection(transport)
        self.commands: list[tuple[str, bool]] = []
        self.modes: list[int] = []
        self.broken = False
        self.before_reading: Callable[[str], None] = lambda _command: None
        # What is printed, with exit code 1, instead of running a command with standard input.
        self.refusal = ""

    def _get_remote_user(self) -> str:
        return "deploy"

    def get_become_option(self, name: str) -> Any:
        return self._connection.become.get_option(name) if self._connection.become else None

    def _low_level_execute_command(
        self, cmd: str, *, sudoable: bool = True, in_data: bytes | None = None, **_options: Any
    ) -> dict[str, Any]:
        self.commands.append((cmd, sudoable))
        if self.broken and "mkdir" not in cmd and "rm -rf" not in cmd:
            raise AnsibleConnectionFailure("gone")
        paramiko = self._connection.transport == "paramiko"
        assert self._connection.has_pipelining or not in_data, "the connection refuses or loses input"
        if sudoable and in_data and self.refusal:
            return {"rc": 1, "stdout": "", "stderr": self.refusal}
        if "<" in cmd:
            self.before_reading(cmd)
            self.modes.append(stat.S_IMODE(Path(cmd.rpartition("<")[2]).stat().st_mode))
        done = subprocess.run(
            ["/bin/sh", "-c", cmd], input=in_data or b"", capture_output=True, timeout=20, check=False
        )
        stdout = done.stdout.decode()
        return {
            "rc": done.returncode,
            "stdout": stdout.replace("\n", "\r\n") if paramiko else stdout,
            "stderr": done.stderr.decode(),
        }


REQUIRE_TTY = "sudo: sorry, you must have a tty to run sudo\n"


def leftovers(action: Action) -> list[str]:
    return [name for name, _directory, _file in action._connection.put if Path(name).parent.exists()]


@pytest.mark.parametrize(
    "transport", ["ssh", "community.docker.docker", "paramiko", "containers.podman.podman"]
)
def test_scripts_and_data_arrive_whole(transport: str) -> None:
    action = Action(transport)
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    done = shell.run("echo one; echo two >&2\nexit 7\n", step="probe")
    assert (done.return_code, done.stdout, done.stderr) == (7, "one\n", "two\n")
    data = bytes(range(256)) * 1000
    counted = shell.run_command("wc -c", data=data, step="probe")
    assert counted.stdout.strip() == str(len(data))
    assert leftovers(action) == []


@pytest.mark.parametrize("transport", ["ssh", "paramiko"])
def test_nix_in_an_unusual_directory_is_found(tmp_path: Path, transport: str) -> None:
    directory = tmp_path / "with space" / "bin"
    directory.mkdir(parents=True)
    program = directory / "nix-store"
    program.write_text("#!/bin/sh\necho unusual $1\n")
    program.chmod(0o755)
    shell = RemoteShell(Action(transport), "web1", nix_directory=str(directory))  # type: ignore[arg-type]
    assert shell.run("nix-store one", step="probe").stdout == "unusual one\n"
    counted = shell.run_command("nix-store two; wc -c", data=b"data", step="probe")
    assert counted.stdout.split() == ["unusual", "two", "4"]
    answer = shell.run(command_script(["nix-store three"]), step="probe")
    assert read_commands(answer, step="probe").text.strip() == "unusual three"
    # It is first, and what the host has is found as ever.
    assert shell.run('echo "$PATH"', step="probe").stdout.startswith(f"{directory}:")


@pytest.mark.parametrize("given", ["bin", "/opt/nix/bin:/tmp", "/opt/nix\n/bin", "~/bin"])
def test_what_is_not_the_directory_of_nix_is_refused(given: str) -> None:
    with pytest.raises(NixferryError, match="nixferry_nix_directory is not a valid directory"):
        RemoteShell(Action("ssh"), "web1", nix_directory=given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, ""])
def test_no_directory_changes_no_command(given: object) -> None:
    action = Action("ssh")
    RemoteShell(action, "web1", nix_directory=given).run("exit 0", step="probe")  # type: ignore[arg-type]
    assert action.commands[0][0] == "/bin/sh"


def test_input_without_standard_input_is_a_private_file_of_the_login_user() -> None:
    action = Action("paramiko")
    RemoteShell(action, "web1").run("exit 0", step="probe")  # type: ignore[arg-type]
    assert [mode for _name, mode, _file in action._connection.put] == [0o700]
    assert action.modes == [0o600]
    # Made and removed by the user who logs in, read with the privileges of the task.
    assert [escalated for _command, escalated in action.commands] == [False, True, False]


# What the real one does to a file whose group and others have no rights.
SETFACL = """\
#!{python}
import os, pwd, struct, sys
_program, option, entry, path = sys.argv
kind, user, letters = entry.split(":")
assert (option, kind) == ("-m", "u")
bits = sum({{"r": 4, "x": 1}}[letter] for letter in letters)
owner = os.stat(path).st_mode >> 6 & 7
entries = (1, owner, -1), (2, bits, pwd.getpwnam(user).pw_uid), (4, 0, -1), (16, bits, -1), (32, 0, -1)
packed = b"".join(struct.pack("<HHI", tag, rights, who & 0xFFFFFFFF) for tag, rights, who in entries)
os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try as another user")
@pytest.mark.parametrize("private", [True, False])
def test_a_file_for_another_user_is_read_by_that_user_alone(
    private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every local user sees the name among the arguments of the command."""
    program = tmp_path / "setfacl"
    program.write_text(SETFACL.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    action = Action("paramiko")
    action._connection.become = Become("nobody")
    readers = []

    def try_all(command: str) -> None:
        name = command.rpartition("<")[2]
        for user in ("nobody", "daemon"):
            tried = subprocess.run(
                ["runuser", "-u", user, "--", "cat", name], capture_output=True, check=False
            )
            readers.append((user, tried.stdout))

    action.before_reading = try_all
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    shell.run_command("cat", data=b"PASSWORD=1", step="probe", private=private)
    assert readers == [("nobody", b"PASSWORD=1"), ("daemon", b"")]
    assert leftovers(action) == []


def test_a_file_that_every_user_could_read_is_not_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "setfacl").write_text("#!/bin/sh\necho 'Operation not supported' >&2; exit 1\n")
    (tmp_path / "setfacl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    action = Action("paramiko")
    action._connection.become = Become()
    with pytest.raises(NixferryError, match="the user www cannot be kept from other users") as error:
        RemoteShell(action, "web1").run("exit 0", step="probe")  # type: ignore[arg-type]
    assert "setfacl" in error.value.remedy
    assert "Operation not supported" in error.value.output
    assert not [command for command, escalated in action.commands if escalated]
    assert leftovers(action) == []


def test_a_link_that_breaks_leaves_no_file() -> None:
    action = Action("paramiko")
    action.broken = True
    with pytest.raises(HostUnreachable, match="gone"):
        RemoteShell(action, "web1").run("exit 0", step="probe")  # type: ignore[arg-type]
    assert len(action._connection.put) == 1
    assert leftovers(action) == []


@pytest.mark.parametrize(
    "become", [Become("root", pipelining=False), Become("root", require_tty=True)], ids=["su", "run0"]
)
def test_privilege_escalation_that_wants_a_terminal_gets_one(become: Become) -> None:
    action = Action("ssh")
    action._connection.become = become
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    assert shell.needs_terminal
    # ssh allocates a terminal for a command without input.
    assert shell.run("cat /proc/self/fd/0", step="probe").stdout == "cat /proc/self/fd/0"
    assert action._connection.put
    assert leftovers(action) == []


def test_a_host_that_turns_out_to_want_a_terminal_gets_one_from_then_on() -> None:
    action = Action("ssh")
    action._connection.become = Become("root")
    action.refusal = REQUIRE_TTY
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    assert not shell.needs_terminal
    assert shell.run("echo one", step="probe").stdout == "one\n"
    assert shell.needs_terminal
    attempts = len(action.commands)
    assert shell.run("echo two", step="probe").stdout == "two\n"
    # Directory, command, removal: it is not tried without a terminal again.
    assert len(action.commands) - attempts == 3


PRIVATE = bytes(range(256))


def test_private_data_goes_through_standard_input_to_main_memory() -> None:
    """Without privilege escalation there is a standard input, even where that wants a terminal."""
    action = Action("ssh")
    action._connection.become = Become("root", pipelining=False)
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    counted = shell.run_command("wc -c", data=PRIVATE, step="probe", private=True)
    assert counted.stdout.strip() == str(len(PRIVATE))
    assert action._connection.put == []
    assert action.modes == [0o600]
    (made,) = [command.rpartition(" ")[2] for command, _escalated in action.commands if "mkdir" in command]
    assert made.startswith("/dev/shm/" if Path("/dev/shm").is_dir() else "/tmp/")
    assert not Path(made).exists()


def test_private_data_is_in_no_file_of_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    action = Action("paramiko")

    def refuse(*_arguments: object) -> None:
        raise AssertionError("a file on the controller's disk")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    counted = shell.run_command("wc -c", data=PRIVATE, step="probe", private=True)
    assert counted.stdout.strip() == str(len(PRIVATE))
    assert leftovers(action) == []
    # There is no such file on every controller.
    monkeypatch.delattr("os.memfd_create", raising=False)
    with pytest.raises(NixferryError, match="takes files only"):
        shell.run_command("wc -c", data=PRIVATE, step="probe", private=True)
    assert leftovers(action) == []


def test_a_terminal_is_for_privilege_escalation_only() -> None:
    action = Action("ssh")
    action._connection.become = Become("deploy", pipelining=False)
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    assert not shell.needs_terminal


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("deploy is not in the sudoers file.", "may not become another"),
        ("/bin/sh: 1: doas: not found", "no such program"),
        ("doas: Operation not permitted", "may not become another"),
    ],
)
def test_a_refused_escalation_is_explained(said: str, message: str) -> None:
    action = Action("ssh")
    action._connection.become = Become("root")
    action.refusal = f"{said}\n"
    with pytest.raises(NixferryError, match=message) as caught:
        RemoteShell(action, "web1").run("exit 0", step="copy")  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert caught.value.remedy


def test_what_a_script_prints_is_no_refusal() -> None:
    action = Action("ssh")
    action._connection.become = Become("root")
    shell = RemoteShell(action, "web1")  # type: ignore[arg-type]
    done = shell.run("echo nixferry-end=1; echo sudo: not found; exit 1", step="probe")
    assert done.return_code == 1
