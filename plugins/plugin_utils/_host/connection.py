# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Shell scripts on the managed host, over whatever connection Ansible uses for it.

The one place that knows Ansible's connection. Nothing here reads a variable such as ``ansible_port``: every
setting is asked of the connection plugin itself, which honours configuration, environment, inventory and
command line alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean

from .input_file import LoginUser, input_file
from .login import (
    explain_exception,
    explain_refusal,
    wants_terminal,
)
from .result import RemoteResult
from .script import nix_directory_path
from .ssh import ssh_command_line, ssh_setting
from .wait import WaitEnded, bounded_wait

# Seconds that a script may take unless its caller says otherwise: it only looks at the host, or changes a few files.
ANSWER_SECONDS = 600
# The greatest length of a script's output. A list of a hundred thousand store paths is shorter.
OUTPUT_CHARACTERS = 16 * 1024 * 1024

# A dead link is noticed after this many seconds of silence times the count below.
SERVER_ALIVE_INTERVAL_SECONDS = 5
SERVER_ALIVE_COUNT = 3

SSH_TRANSPORT = "ssh"
# Other connections over the network, by the last part of their names.
NETWORK_TRANSPORTS = ("paramiko", "paramiko_ssh", "libssh")
LOCAL_ADDRESS = "127.0.0.1"


def controller_temporary() -> str:
    """Return the directory for temporary files on the controller, which Ansible empties at its end (``local_tmp``)."""
    return str(constants.DEFAULT_LOCAL_TMP)


class HostUnreachable(NixferryError):
    """The host could not be reached, or the connection broke while a script ran.

    ``transient`` tells whether another attempt may succeed: not where the host has refused the login, since each
    attempt counts for what locks accounts or bans addresses.
    """

    def __init__(
        self,
        cause: str,
        *,
        step: Step,
        remedy: str = "",
        output: Sequence[str] = (),
        transient: bool = True,
    ) -> None:
        super().__init__(cause, step=step, remedy=remedy, output=output)
        self.transient = transient


def _no_end(ended: WaitEnded, step: Step, seconds: float | None) -> NixferryError:
    """Return the error for an answer that took too long, or was too long."""
    if not ended.too_long:
        return NixferryError(
            "the host answers with more than it was asked for: its output does not end",
            step=step,
            remedy="Look at what a login and /bin/sh print there.",
        )
    return HostUnreachable(
        f"the host has not ended its answer after {round(seconds or 0)} s",
        step=step,
        remedy="Look whether the host is overloaded, or a disk of it hangs, and run again.",
    )


class RemoteShell:
    """Runs POSIX sh scripts on the host of one task, with that task's privilege escalation."""

    def __init__(self, action: ActionBase, host: str, *, nix_directory: object = None) -> None:
        """``nix_directory`` is that of Nix's programs on the host, if it is unusual. Raises ``NixferryError``."""
        self.action = action
        self.host = host
        self.search_path = nix_directory_path(nix_directory)
        """Sh text in front of every command."""
        # Set when the escalation program of this host has refused to work without a terminal.
        self._refused_without_terminal = False

    @property
    def connection(self) -> Any:
        """The task's connection plugin of Ansible."""
        return self.action._connection

    @property
    def transport(self) -> str:
        """The name of the connection plugin, such as ``ssh``, ``local`` or ``community.docker.docker``."""
        return str(self.connection.transport)

    @property
    def is_ssh(self) -> bool:
        """Whether OpenSSH's own programs carry the connection."""
        return self.transport == SSH_TRANSPORT

    @property
    def keeps_bounds(self) -> bool:
        """Whether a command ends when its time is up: not if the connection plugin waits inside a library in C."""
        return self.transport.rpartition(".")[2] not in NETWORK_TRANSPORTS

    @property
    def becomes(self) -> bool:
        """Whether scripts run as another user than the one who logs in."""
        become = self.connection.become
        if become is None:
            return False
        return bool(
            become.get_option("become_user", playcontext=self.action._play_context) != self.login_user
        )

    @property
    def login_user(self) -> str | None:
        """The user who logs in, when the connection has such a setting."""
        user = self.action._get_remote_user()
        return None if user is None else str(user)

    @property
    def address(self) -> str:
        """The address that the controller connects to; ``127.0.0.1`` where the connection has none."""
        if self.is_ssh and hasattr(self.connection, "_build_command"):
            # The name may be an alias of an ssh configuration file.
            command = ssh_command_line(self.connection)
            return ssh_setting(command, "hostname") or command[-1]
        if self.is_ssh or self.transport.rpartition(".")[2] in NETWORK_TRANSPORTS:
            return str(self.action._play_context.remote_addr or LOCAL_ADDRESS)
        return LOCAL_ADDRESS

    @property
    def needs_terminal(self) -> bool:
        """Whether privilege escalation works on a terminal only, so that commands get no standard input.

        Some escalation plugins declare it; a ``requiretty`` of sudo shows at the first attempt.
        """
        if not self.becomes:
            return False
        become = self.connection.become
        return self._refused_without_terminal or become.require_tty or not become.pipelining

    def run(
        self,
        script: str,
        *,
        step: Step,
        seconds: float | None = ANSWER_SECONDS,
        most: int = OUTPUT_CHARACTERS,
    ) -> RemoteResult:
        """Run ``script`` with ``/bin/sh`` on the host, in one round trip.

        The script travels on standard input, so no terminal is allocated, standard error stays apart, and
        nothing of it shows in a process list. Commands in the script that might read standard input have to
        be given another one, because the shell reads its own text from there.

        ``seconds`` is how long the script may take; None for a script that the user has set no limit for. ``most`` is
        the greatest length of standard output. Of standard error that exceeds it, the end is kept.

        Raises ``HostUnreachable`` when the host cannot be reached, the connection breaks, or the script has not ended
        after ``seconds``; ``NixferryError`` when its output is too long.
        """
        return self.run_command("/bin/sh", data=script.encode(), step=step, seconds=seconds, most=most)

    def run_command(
        self,
        command: str,
        *,
        data: bytes,
        step: Step,
        private: bool = False,
        seconds: float | None = ANSWER_SECONDS,
        most: int = OUTPUT_CHARACTERS,
    ) -> RemoteResult:
        """Run ``command``, a line for the shell on the host, with ``data`` on its standard input.

        The data is held in memory, so send large data in pieces. ``private`` data reaches no file on the controller.
        On the host it reaches a file outside main memory only where no file system in main memory exists.
        ``seconds`` and ``most``, and the errors, are those of ``run``.
        """
        command = f"{self.search_path}{command}"
        try:
            with bounded_wait(seconds):
                result = self._send(command, data, private, step)
                if self._wants_terminal(result):
                    # Nothing was run yet.
                    self._refused_without_terminal = True
                    result = self._send(command, data, private, step)
        except WaitEnded as ended:
            raise _no_end(ended, step, seconds) from None
        except AnsibleError as error:
            cause = explain_exception(str(error), unreachable=isinstance(error, AnsibleConnectionFailure))
            if cause.unreachable:
                raise HostUnreachable(
                    cause.message,
                    step=step,
                    remedy=cause.remedy,
                    output=cause.output,
                    transient=cause.transient,
                ) from error
            raise NixferryError(cause.message, step=step, remedy=cause.remedy, output=cause.output) from error
        if len(result.stdout) > most:
            raise _no_end(WaitEnded(too_long=False), step, seconds)
        # The output of a script of this collection that ran contains this word.
        if result.return_code != 0 and self.becomes and "nixferry" not in result.stdout:
            refusal = explain_refusal([*result.stderr.splitlines(), *result.stdout.splitlines()])
            if refusal is not None:
                raise NixferryError(refusal.message, step=step, remedy=refusal.remedy, output=refusal.output)
        return result

    def _send(self, command: str, data: bytes, private: bool, step: Step) -> RemoteResult:
        if self.connection.has_pipelining and not self.needs_terminal:
            return self._execute(command, data)
        reader = self.action.get_become_option("become_user") if self.becomes else None
        login = LoginUser(self.connection, self._execute_as_login_user)
        with input_file(login, data, private=private, reader=reader, step=step) as name:
            return self._execute(f"{command} <{name}")

    def _wants_terminal(self, result: RemoteResult) -> bool:
        if result.return_code == 0 or not self.becomes or self.needs_terminal:
            return False
        return wants_terminal(result.stderr.splitlines())

    def _execute(self, command: str, data: bytes | None = None, *, escalate: bool = True) -> RemoteResult:
        # An explicit executable keeps ansible-core 2.19 from appending "sleep 0", which costs a fork.
        raw = self.action._low_level_execute_command(
            command, sudoable=escalate, in_data=data, executable="/bin/sh", encoding_errors="replace"
        )
        return RemoteResult(
            return_code=int(raw["rc"]),
            # With a terminal for privilege escalation, lines end with CR LF.
            stdout=clean(str(raw["stdout"]).replace("\r\n", "\n")),
            stderr=clean(str(raw["stderr"])[-OUTPUT_CHARACTERS:].replace("\r\n", "\n")),
        )

    def _execute_as_login_user(self, command: str, data: bytes | None = None) -> RemoteResult:
        return self._execute(command, data, escalate=False)

    def reconnect(self, *, step: Step) -> None:
        """Log in again after a failure: a multiplexed connection may seem alive while its link is dead.

        Raises ``HostUnreachable``.
        """
        if self.is_ssh:
            with suppress(AnsibleError):
                self.connection.reset()
        self.run("exit 0", step=step)

    @contextmanager
    def fresh(self) -> Iterator[RemoteShell]:
        """Provide a shell on a brand-new connection with the same settings.

        A multiplexed ssh connection survives a firewall, an sshd or a key that refuses every new login, so it
        proves nothing about the next one. OpenSSH takes the first value that it sees of a setting,
        hence the ones that switch multiplexing off go before the user's own.
        """
        old = self.action._connection
        with self.connected({}, fresh=True):
            if not self.is_ssh:
                # Paramiko would return the open connection instead of a new one.
                old.close()
            yield self

    @contextmanager
    def connected(
        self, changes: Mapping[str, Any], *, first: Sequence[str] = (), fresh: bool = False
    ) -> Iterator[RemoteShell]:
        """Use another connection with the same settings, except for ``changes``, options of the connection plugin.

        ``first`` are arguments of ssh that win over the user's own. A ``fresh`` one is not multiplexed.
        """
        old = self.action._connection
        loader = self.action._shared_loader_obj.connection_loader
        name = getattr(old, "ansible_name", None) or old._load_name
        if old._load_name == SSH_TRANSPORT:
            # Under its full name, Ansible would read the documentation of the plugin a second time, which takes 10 ms.
            name = SSH_TRANSPORT
        new = loader.get(name, self.action._play_context, None)
        options = {name: value for name, value in old.get_options().items() if value is not None}
        options.update(changes)
        if self.is_ssh:
            arguments = [*first, str(options.get("ssh_args") or "")]
            if fresh:
                arguments[:0] = [
                    "-o ControlMaster=no -o ControlPath=none",
                    f"-o ServerAliveInterval={SERVER_ALIVE_INTERVAL_SECONDS}",
                    f"-o ServerAliveCountMax={SERVER_ALIVE_COUNT}",
                ]
                # Of several -S, ssh takes the last one; the user may have set one.
                options["ssh_extra_args"] = f"{options.get('ssh_extra_args') or ''} -S none"
            options["ssh_args"] = " ".join(arguments)
        new.set_options(direct=options)
        if old.become is not None:
            new.set_become_plugin(old.become)
        self.action._connection = new
        try:
            yield self
        finally:
            self.action._connection = old
            new.close()
