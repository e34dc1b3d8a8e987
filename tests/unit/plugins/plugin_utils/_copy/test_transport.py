# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The road to a host, and the program that Nix takes for ssh: run for real, with a stand-in for ssh behind it."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader, shell_loader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy import transport as _transport
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.transport import (
    TARGET_ALIAS,
    Transport,
    choose_transport,
    privileged_command,
    render_ssh_program,
    search_path_with,
    ssh_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host import ssh as _ssh
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.ssh import master_runs, ssh_command_line

MARKER = "nixferry-0123456789abcdef"
PASSWORD = "correct horse battery staple"
NASTY = "a b'c\"d$e`f\\g*h?!\t(i);&|<>~#"


@dataclass
class Shell:
    """What ``_copy/transport.py`` needs of a RemoteShell, around a real connection plugin."""

    search_path = "PATH=/opt/nix/bin${PATH:+:$PATH}; export PATH; "

    connection: Any
    becomes: bool = False
    transport: str = "ssh"
    needs_terminal: bool = False

    @property
    def is_ssh(self) -> bool:
        return self.transport == "ssh"


def ssh_connection(**options: Any) -> Any:
    connection = connection_loader.get("ssh", PlayContext(), None)
    connection.set_options(direct={"host": "192.0.2.1", "control_path_dir": "/nonexistent", **options})
    return connection


def become(connection: Any, name: str = "sudo", **options: Any) -> Any:
    plugin = become_loader.get(name)
    plugin.set_options(direct={"become_user": "root", **options})
    connection.set_become_plugin(plugin)
    return connection


def value_of(command: list[str], setting: str) -> str:
    """The value that ssh itself would take for ``setting``."""
    shown = subprocess.run(
        [command[0], "-G", *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    values = [line.split(" ", 1)[1] for line in shown.stdout.splitlines() if line.startswith(f"{setting} ")]
    return values[0] if values else ""


class TestCommandLine:
    """ssh itself says what it makes of the command line: ``ssh -G`` connects nowhere."""

    OPEN = "-F none -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/tmp/nixferry-test-%C"

    def test_settings_of_the_connection(self) -> None:
        command = ssh_command_line(
            ssh_connection(
                port=2222,
                remote_user="deploy",
                private_key_file="/keys/my key",
                timeout=7,
                ssh_args=self.OPEN,
                ssh_common_args='-o ProxyJump="jump@bastion:2200"',
                ssh_extra_args="-o HostKeyAlias=web",
            )
        )
        assert command[-1] == "192.0.2.1"
        assert value_of(command, "port") == "2222"
        assert value_of(command, "user") == "deploy"
        assert value_of(command, "identityfile") == "/keys/my key"
        assert value_of(command, "connecttimeout") == "7"
        assert value_of(command, "proxyjump") == "jump@bastion:2200"
        assert value_of(command, "hostkeyalias") == "web"
        assert value_of(command, "controlpath").startswith("/tmp/nixferry-test-")

    def test_nothing_may_ask_and_nothing_becomes_a_master(self) -> None:
        command = ssh_command_line(
            ssh_connection(ssh_args=f"{self.OPEN} -o BatchMode=no -o ForwardX11=yes -o ForwardAgent=yes")
        )
        assert value_of(command, "batchmode") == "yes"
        assert value_of(command, "controlmaster") == "false"
        assert value_of(command, "forwardx11") == "no"
        assert value_of(command, "forwardagent") == "no"

    def test_own_keep_alives_of_the_user_win(self) -> None:
        ours = ssh_command_line(ssh_connection(ssh_args=self.OPEN))
        theirs = ssh_command_line(ssh_connection(ssh_args=f"{self.OPEN} -o ServerAliveInterval=99"))
        assert value_of(ours, "serveraliveinterval") == str(_ssh.SERVER_ALIVE_SECONDS)
        assert value_of(theirs, "serveraliveinterval") == "99"

    @pytest.mark.parametrize("host", ["2001:db8::1", "web_1.example.org", "fe80::1%eth0"])
    def test_any_host_name_stays_what_it_is(self, host: str) -> None:
        assert ssh_command_line(ssh_connection(host=host, ssh_args=self.OPEN))[-1] == host

    @pytest.mark.parametrize(
        ("arguments", "compress", "expected", "own"),
        [
            ("", None, "no", False),
            ("-C", None, "yes", False),
            ("", False, "no", False),
            ("-C", False, "no", True),
            ("-4Cv", False, "no", True),
            ("-o Compression=yes", False, "no", True),
            ("-C", True, "yes", False),
            ("-o Compression=yes", True, "yes", False),
            ("-o Compression=no", True, "yes", True),
            ("", True, "yes", True),
        ],
    )
    def test_compression(self, arguments: str, compress: bool | None, expected: str, own: bool) -> None:
        connection = ssh_connection(ssh_args=f"{self.OPEN} {arguments}")
        command = ssh_command_line(connection, compress=compress)
        # For -C, OpenSSH 10 prints UNKNOWN.
        assert (value_of(command, "compression") in ("yes", "UNKNOWN")) == (expected == "yes")
        # A multiplexed connection is what it is: another compression needs another connection.
        assert (value_of(command, "controlpath") == "") == own

    def test_a_password_login_keeps_the_compression_that_it_has(self) -> None:
        connection = ssh_connection(ssh_args=self.OPEN, password=PASSWORD)
        command = ssh_command_line(connection, compress=True)
        assert value_of(command, "compression") == "no"
        assert value_of(command, "controlpath") != ""

    def test_only_the_flag_for_compression_goes(self) -> None:
        kept = ["-o", "ProxyCommand=x -C y", "-F", "C", "-4v", "-i", "/C", "-oControlPath=C"]
        arguments = [*kept[:4], "-C", "-4Cv", *kept[5:], "-CC"]
        assert _ssh.without_flag_c(arguments) == kept

    @pytest.mark.parametrize("mechanism", ["sshpass", "ssh_askpass"])
    def test_a_password_appears_nowhere(self, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = ssh_connection(password=PASSWORD, password_mechanism=mechanism, ssh_args=self.OPEN)
        monkeypatch.setattr(connection, "_sshpass_available", lambda: True)
        before = set(Path("/dev/fd").iterdir())
        command = ssh_command_line(connection)
        assert command[0] == "ssh"
        assert not any(PASSWORD in word or "sshpass" in word for word in command)
        assert set(Path("/dev/fd").iterdir()) == before

    def test_a_wrapper_may_stand_in_for_ssh(self) -> None:
        connection = ssh_connection(ssh_executable="/opt/bin/my ssh", ssh_args="-4")
        assert ssh_command_line(connection)[0] == "/opt/bin/my ssh"


class TestChoice:
    def test_the_controller_itself(self) -> None:
        assert choose_transport(Shell(None, transport="local")) is Transport.LOCAL  # type: ignore[arg-type]

    @pytest.mark.parametrize("transport", ["community.docker.docker", "paramiko", "containers.podman.podman"])
    def test_other_connections_stream(self, transport: str) -> None:
        assert choose_transport(Shell(None, transport=transport)) is Transport.STREAM  # type: ignore[arg-type]

    def test_a_foreign_plugin_named_ssh_streams(self) -> None:
        assert choose_transport(Shell(object())) is Transport.STREAM  # type: ignore[arg-type]

    def test_ssh_with_a_key(self) -> None:
        assert choose_transport(Shell(ssh_connection())) is Transport.SSH  # type: ignore[arg-type]

    def test_become_without_and_with_a_password(self) -> None:
        without = Shell(become(ssh_connection()), becomes=True)
        asks = Shell(become(ssh_connection(), become_pass=PASSWORD), becomes=True)
        assert choose_transport(without) is Transport.SSH  # type: ignore[arg-type]
        assert choose_transport(asks) is Transport.STREAM  # type: ignore[arg-type]

    def test_a_password_that_become_does_not_need_is_no_obstacle(self) -> None:
        root_to_root = Shell(become(ssh_connection(), become_pass=PASSWORD), becomes=False)
        assert choose_transport(root_to_root) is Transport.SSH  # type: ignore[arg-type]

    @pytest.mark.parametrize(("exit_code", "expected"), [("0", Transport.SSH), ("255", Transport.STREAM)])
    def test_a_password_login_needs_a_running_master(
        self, tmp_path: Path, exit_code: str, expected: Transport
    ) -> None:
        ssh = tmp_path / "ssh"
        ssh.write_text(f"#!/bin/sh\nexit {exit_code}\n")
        ssh.chmod(0o755)
        connection = ssh_connection(password=PASSWORD, ssh_executable=str(ssh))
        assert choose_transport(Shell(connection)) is expected  # type: ignore[arg-type]

    def test_no_socket_means_no_master(self) -> None:
        assert not master_runs(["ssh", "-F", "none", "-o", "ControlPath=/nonexistent/socket", "host"])
        assert not master_runs(["/nonexistent/ssh", "host"])


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A directory with an ``ssh`` that notes its arguments and then acts as the host: it echoes its input."""
    directory = tmp_path / "real bin"
    directory.mkdir()
    ssh = directory / "ssh"
    ssh.write_text(
        "#!/bin/sh\n"
        f"for word do printf '%s\\0' \"$word\"; done >{shlex.quote(str(tmp_path / 'arguments'))}\n"
        'case "$*" in *stay-silent*) exit 255 ;; esac\n'
        f"printf 'Welcome to this host\\nlast login: BECOME-SUCCESS-x\\n{MARKER}\\n'\n"
        "exec cat\n"
    )
    ssh.chmod(0o755)
    return directory


def start(
    tmp_path: Path, stand_in: Path, command: list[str], *arguments: str, data: bytes = b""
) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
    """Run the rendered program as Nix does, with its own directory first; return it and what ssh was given."""
    directory = tmp_path / "first"
    directory.mkdir(exist_ok=True)
    program = directory / "ssh"
    path = f"{stand_in}:/usr/bin:/bin"
    program.write_text(render_ssh_program(command, marker=MARKER, search_path=path))
    program.chmod(0o700)
    done = subprocess.run(
        ["ssh", *arguments],
        executable=program,
        input=data,
        capture_output=True,
        timeout=20,
        check=False,
        env={"PATH": f"{directory}:{path}"},
    )
    noted = tmp_path / "arguments"
    words = noted.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1] if noted.exists() else []
    noted.unlink(missing_ok=True)
    return done, words


# What Nix puts on the command line: src/libstore/ssh.cc of the versions.
OLD_NIX = (TARGET_ALIAS, "-x", "-a", "nix-store --serve --write")
LOCAL_COMMAND = ("-oPermitLocalCommand=yes", "-oLocalCommand=echo started")
NEW_NIX = (TARGET_ALIAS, "-x", *LOCAL_COMMAND, "--", "nix-store", "--serve", "--write")
CHECK = ("-O", "check", TARGET_ALIAS, *LOCAL_COMMAND)


class TestProgram:
    def test_binary_data_passes_both_ways_unchanged(self, tmp_path: Path, stand_in: Path) -> None:
        data = bytes(range(256)) * 5000
        done, words = start(tmp_path, stand_in, ["ssh", "-p", "22", "host", "serve"], *OLD_NIX, data=data)
        assert done.stdout == data
        assert words == ["-p", "22", "host", "serve"]

    def test_nix_before_2_9_gets_nothing_before_its_protocol(self, tmp_path: Path, stand_in: Path) -> None:
        assert start(tmp_path, stand_in, ["ssh", "host"], *OLD_NIX, data=b"x")[0].stdout == b"x"

    def test_later_nix_is_told_that_the_connection_has_started(self, tmp_path: Path, stand_in: Path) -> None:
        assert start(tmp_path, stand_in, ["ssh", "host"], *NEW_NIX, data=b"x")[0].stdout == b"started\nx"

    def test_the_question_for_a_master_is_denied_without_a_connection(
        self, tmp_path: Path, stand_in: Path
    ) -> None:
        done, words = start(tmp_path, stand_in, ["ssh", "host"], *CHECK)
        assert (done.returncode, done.stdout, words) == (1, b"", [])

    def test_another_host_goes_to_the_real_ssh(self, tmp_path: Path, stand_in: Path) -> None:
        arguments = ["user@elsewhere", "-x", "--", "nix-store --serve", "with space"]
        _done, words = start(tmp_path, stand_in, ["ssh", "host", "serve"], *arguments)
        assert words == arguments

    def test_a_connection_that_fails_is_a_failure(self, tmp_path: Path, stand_in: Path) -> None:
        done, _words = start(tmp_path, stand_in, ["ssh", "host", "stay-silent"], *OLD_NIX)
        assert (done.returncode, done.stdout) == (1, b"")

    @settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        words=st.lists(
            st.one_of(
                st.just(NASTY),
                st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
            ),
            max_size=4,
        )
    )
    def test_every_word_reaches_ssh_as_it_is(self, tmp_path: Path, stand_in: Path, words: list[str]) -> None:
        command = ["ssh", *words, "host"]
        assert start(tmp_path, stand_in, command, *OLD_NIX)[1] == command[1:]


class TestRemoteCommand:
    def run(self, shell: Shell, command: str) -> str:
        """What the remote login shell would do with it."""
        line = privileged_command(shell, command)  # type: ignore[arg-type]
        return subprocess.run(
            ["/bin/sh", "-c", line], capture_output=True, text=True, check=True, timeout=20
        ).stdout

    @staticmethod
    def connection() -> Any:
        connection = ssh_connection()
        connection._shell = shell_loader.get("sh")
        return connection

    def test_without_become(self) -> None:
        assert self.run(Shell(self.connection()), f"printf %s {shlex.quote(NASTY)}") == NASTY

    def test_with_become(self, tmp_path: Path) -> None:
        sudo = tmp_path / "my-sudo"
        sudo.write_text(
            '#!/bin/sh\nprintf "%s|" "$@" | head -c 15\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n'
        )
        sudo.chmod(0o755)
        connection = become(self.connection(), become_exe=str(sudo), become_user="nix", become_flags="-H -n")
        printed = self.run(Shell(connection, becomes=True), f"printf %s {shlex.quote(NASTY)}")
        assert printed.startswith("-H|-n|-u|nix|")
        # sudo's own announcement goes before, which is why the program above skips to the marker.
        assert printed.endswith(f"BECOME-SUCCESS-{connection.become._id}\n{NASTY}")


class TestProgramDirectory:
    def test_nix_is_looked_for_in_the_directory_of_the_host_first(self) -> None:
        connection = ssh_connection()
        connection._shell = shell_loader.get("sh")
        with ssh_program(Shell(connection), "exec nix-store --serve", compress=False) as directory:  # type: ignore[arg-type]
            text = (directory / "ssh").read_text()
        assert "PATH=/opt/nix/bin" in text

    def test_only_the_owner_may_read_it_and_it_goes_away(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_transport, "controller_temporary", lambda: str(tmp_path))
        connection = ssh_connection(password=PASSWORD)
        connection._shell = shell_loader.get("sh")
        seen: list[Path] = []

        def fail() -> None:
            with ssh_program(Shell(connection), "exec nix-store --serve", compress=False) as directory:  # type: ignore[arg-type]
                seen.append(directory)
                program = directory / "ssh"
                assert stat.S_IMODE(directory.stat().st_mode) == 0o700
                assert stat.S_IMODE(program.stat().st_mode) == 0o700
                assert PASSWORD not in program.read_text()
                assert "exec nix-store --serve" in program.read_text()
                assert search_path_with(directory).startswith(f"{directory}:")
                raise NixferryError("cut", step="copy")

        with pytest.raises(NixferryError):
            fail()
        assert len(seen) == 1
        assert list(tmp_path.iterdir()) == []

    def test_a_file_system_without_programs_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.statvfs
        monkeypatch.setattr(_transport, "controller_temporary", lambda: str(tmp_path))
        monkeypatch.setattr(_transport.tempfile, "gettempdir", lambda: "/")

        class NoExec:
            f_flag = _transport._ST_NOEXEC

        monkeypatch.setattr(os, "statvfs", lambda path: NoExec() if path == str(tmp_path) else real(path))
        assert _transport._executable_directory() == "/"
        monkeypatch.setattr(os, "statvfs", lambda _path: NoExec())
        with pytest.raises(NixferryError, match="no program can be started"):
            _transport._executable_directory()
