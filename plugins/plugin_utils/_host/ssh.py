# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The command line of ``ssh`` exactly as Ansible's own ssh connection builds it, and ssh's settings for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one

# Seconds for ssh to answer without the network: its settings, or whether a local socket is served.
LOCAL_QUESTION_SECONDS = 10
# A separate connection notices after this many seconds times three that the host is gone.
SERVER_ALIVE_SECONDS = 15


def login_password_given(connection: Any) -> bool:
    """Whether the login uses a password, which only an authenticated multiplexed connection spares."""
    return bool(connection.get_option("password") or connection._play_context.password)


def ssh_command_line(connection: Any, *, compress: bool = False) -> list[str]:
    """Return the command line of Ansible's ssh connection, up to and including the host name.

    With ``compress`` it is a connection with compression: one of its own, where the open one has none and the
    login needs no password. Nothing may ask a question: a multiplexed connection that has died must fail and be
    opened again by Ansible.
    """
    program = str(connection.get_option("ssh_executable"))
    built = [word.decode("utf-8", "surrogateescape") for word in connection._build_command(program, "ssh")]
    _close_password_pipe(connection)
    # Drop sshpass, which comes before ssh: BatchMode forbids questions.
    arguments = built[built.index(program) + 1 :]
    # ssh uses the first value of a setting: these go before the user's, the last ones after.
    first = ["-x", "-a", "-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no"]
    last = ["-o", f"ServerAliveInterval={SERVER_ALIVE_SECONDS}"]
    host = str(connection.get_option("host") or connection._play_context.remote_addr)
    command = [program, *first, *arguments, *last]
    if compress and not login_password_given(connection) and not _compresses([*command, host]):
        # Compression is a property of the connection: the multiplexed one cannot change it.
        command[1:1] = ["-o", "ControlPath=none", "-o", "Compression=yes"]
    return [*command, host]


def _close_password_pipe(connection: Any) -> None:
    """Close the pipe that the connection made for sshpass along with the command line."""
    for descriptor in getattr(connection, "sshpass_pipe", None) or ():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    connection.sshpass_pipe = None


def _compresses(command: Sequence[str]) -> bool:
    """Whether ssh would ask for compression."""
    # OpenSSH 10 prints UNKNOWN for -C.
    return ssh_setting(command, "compression") not in (None, "no")


def ssh_setting(command: Sequence[str], name: str) -> str | None:
    """Return ssh's value of the setting ``name``, from ``command`` and its configuration files.

    ``command`` ends with the host name; ``-G`` prints the settings without connecting. Names are in lower case.
    None if ssh does not print the setting.
    """
    try:
        shown = run_one([command[0], "-G", *command[1:]], timeout=LOCAL_QUESTION_SECONDS)
    except OSError:
        return None
    if shown.timed_out:
        return None
    for line in shown.stdout.decode("utf-8", "surrogateescape").splitlines():
        found, _space, value = line.partition(" ")
        if found == name:
            return value
    return None


def master_runs(command: Sequence[str]) -> bool:
    """Whether a multiplexed connection is up for ``command`` of ``ssh_command_line``."""
    *options, host = command
    try:
        return run_one([*options, "-O", "check", host], timeout=LOCAL_QUESTION_SECONDS).succeeded
    except OSError:
        return False
