# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The command line of ``ssh`` exactly as Ansible's own ssh connection builds it, and ssh's settings for it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one

# Seconds for ssh to answer without the network: its settings, or whether a local socket is served.
LOCAL_QUESTION_SECONDS = 10
# A separate connection notices after this many seconds times three that the host is gone.
SERVER_ALIVE_SECONDS = 15
# Words of ssh(1)'s flags that take no argument, with -C among them.
_FLAGS_WITH_C = re.compile(r"-(?=[^C]*C)[46AaCfGgKkMNnqsTtVvXxYy]+")


def login_password_given(connection: Any) -> bool:
    """Whether the login uses a password, which only an authenticated multiplexed connection spares."""
    return bool(connection.get_option("password") or connection._play_context.password)


def ssh_command_line(connection: Any, *, compress: bool | None = None) -> list[str]:
    """Return the command line of Ansible's ssh connection, up to and including the host name.

    ``compress`` tells whether that connection compresses: it is one of its own, where the open one does otherwise and
    the login needs no password. None leaves it to ssh's settings. Nothing may ask a question: a multiplexed
    connection that has died must fail and be opened again by Ansible.
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
    if (
        compress is not None
        and not login_password_given(connection)
        and compress != compresses([*command, host])
    ):
        # Compression is a property of the connection: the multiplexed one cannot change it.
        own = ["-o", "ControlPath=none", "-o", f"Compression={'yes' if compress else 'no'}"]
        command[1:] = [*own, *(command[1:] if compress else without_flag_c(command[1:]))]
    return [*command, host]


def without_flag_c(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` of ssh without the flag ``-C``, which wins over a setting, also in a word of several."""
    kept = []
    for word in arguments:
        if _FLAGS_WITH_C.fullmatch(word) is None:
            kept.append(word)
        elif word.replace("C", "") != "-":
            kept.append(word.replace("C", ""))
    return kept


def _close_password_pipe(connection: Any) -> None:
    """Close the pipe that the connection made for sshpass along with the command line."""
    for descriptor in getattr(connection, "sshpass_pipe", None) or ():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    connection.sshpass_pipe = None


def compresses(command: Sequence[str]) -> bool:
    """Whether ssh would ask for compression with ``command`` of ``ssh_command_line``."""
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
