# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Explain why a login, or the change to another user after it, failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.module_utils._explain.causes import Cause, find

# The messages of escalation programs come before the first output of a command.
FIRST_LINES = 20


@dataclass(frozen=True)
class Explained:
    """``unreachable`` tells whether the login itself failed; ``output`` is all output.

    ``transient``: the same login may succeed a moment later.
    """

    message: str
    remedy: str
    unreachable: bool
    output: tuple[str, ...] = ()
    transient: bool = False


# The first cause that matches any line decides. From ssh, sshpass, and the connection plugins ssh and paramiko.
LOGIN_CAUSES = (
    Cause(
        (r"unable to execute ssh command line on a controller.*no such file",),
        "the controller has no ssh client: {line}",
        "Install one on the controller (on Debian and Ubuntu: openssh-client), or set ansible_ssh_executable.",
    ),
    Cause(
        (r"you must install the sshpass program",),
        "the controller has no program that gives ssh the password: {line}",
        "Install sshpass on the controller, or log in with a key (ansible_ssh_private_key_file).",
    ),
    Cause(
        (r"host key for .* has changed", r"host identification has changed", r"host key mismatch"),
        "the host shows another key than the one that is known: {line}",
        "Compare it with the host's own (on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). If the host "
        "was installed anew, forget the old one with ssh-keygen -R; if not, another machine may be in between.",
        unreachable=True,
    ),
    Cause(
        (
            r"host key verification failed",
            r"add this host's fingerprint",
            r"authenticity of host",
            r"no .* host key is known",
        ),
        "the host's key is not known here: {line}",
        "Put the host's key into known_hosts: log in once with ssh, or use ssh-keyscan and compare what it prints with "
        "the key on the host.",
        unreachable=True,
    ),
    Cause(
        (r"connection closed by unknown port", r"stdio forwarding failed", r"proxycommand|proxyjump"),
        "the jump host did not let the connection through: {line}",
        "Log in to the jump host by hand with the same settings, and check there that the host's name resolves and its "
        "port answers. A jump host with a user or a key of its own needs an ssh_config (ansible_ssh_common_args: -F).",
        unreachable=True,
        transient=True,
    ),
    Cause(
        (
            r"permission denied \(",
            r"too many authentication failures",
            r"invalid/incorrect password",
            r"authentication (failed|error)",
            r"no authentication methods available",
        ),
        "the host does not let this user in: {line}",
        "Check ansible_user with ansible_password or ansible_ssh_private_key_file; behind `Permission denied` stands "
        "what the host accepts at all. Try the same with ssh by hand.",
        unreachable=True,
    ),
    Cause(
        (r"temporary failure in name resolution",),
        "the name server does not answer: {line}",
        "Check the network of the controller, or give an address in ansible_host.",
        unreachable=True,
        transient=True,
    ),
    Cause(
        (r"could not resolve hostname", r"name or service not known", r"nodename nor servname"),
        "the host name cannot be resolved: {line}",
        "Check ansible_host. IPv6 addresses are written without brackets.",
        unreachable=True,
    ),
    Cause(
        (r"connection refused",),
        "the port refuses connections: {line}",
        "Check ansible_host and ansible_port, and that sshd runs there.",
        unreachable=True,
        transient=True,
    ),
    Cause(
        (r"timed out", r"no route to host", r"network is unreachable", r"host is down", r"unable to connect"),
        "the host does not answer: {line}",
        "Check that it is up and that no firewall is in between. A slow link needs a larger ansible_timeout.",
        unreachable=True,
        transient=True,
    ),
)
ESCALATION_CAUSES = (
    Cause(
        (r"incorrect \S+ password", r"authentication failure", r"authorization failed", r"sorry, try again"),
        "privilege escalation refused the password: {line}",
        "Check ansible_become_password: sudo and doas ask for the password of the user who logs in, su for that of the "
        "user to become. sudo says the same when the user may not use it at all.",
    ),
    Cause(
        (
            r"missing \S+ password",
            r"a password is required",
            r"a terminal is required to read the password",
            r"authorization required",
        ),
        "privilege escalation asks for a password: {line}",
        "Give ansible_become_password (a variable of the host, in a vault) or --ask-become-pass, or let this user "
        "become another without one.",
    ),
    Cause(
        (
            r"is not in the sudoers file",
            r"may not run sudo",
            r"is not allowed to (execute|run)",
            r"doas: operation not permitted",
            r"not found or not executable",
        ),
        "this user may not become another: {line}",
        "Allow it on the host (sudoers, doas.conf), log in as another user, or choose another ansible_become_method.",
    ),
    Cause(
        (r"\b(sudo|doas|su|run0|pkexec|dzdo|pbrun|machinectl): (command )?not found",),
        "the host has no such program for privilege escalation: {line}",
        "Set ansible_become_method, or ansible_become_exe with its whole path: a command without a login may have a "
        "short PATH.",
    ),
    Cause(
        (r"waiting for privilege escalation prompt", r"timed out waiting for privilege escalation"),
        "privilege escalation neither asked for a password nor succeeded: {line}",
        "Check ansible_become_method and its flags by hand on the host; a slow host needs a larger ansible_timeout.",
    ),
)
WANTS_TERMINAL = re.compile(
    r"(must have a tty to run sudo|must be run from a terminal|a tty is required)", re.IGNORECASE
)
UNREACHABLE_REMEDY = "Check that the host is up and that Ansible can log in (ansible HOST -m raw -a true)."
FAILED_REMEDY = "Check that Ansible can run commands on the host, with become if it is in use."
# Ansible puts its own words before those of ssh.
_PREFIX = re.compile(
    r"(Data could not be sent to remote host .*?\. Make sure this host can be reached over ssh|"
    r"Failed to connect to the host via ssh): +"
)


def explain_exception(text: str, *, unreachable: bool) -> Explained:
    """Explain the message of a connection plugin's exception; ``unreachable`` is Ansible's own verdict."""
    text = _PREFIX.sub("", text.replace("\r", ""), count=1)
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    found = find((*ESCALATION_CAUSES, *LOGIN_CAUSES), lines)
    if found is None:
        remedy = UNREACHABLE_REMEDY if unreachable else FAILED_REMEDY
        return Explained(text.strip(), remedy, unreachable, transient=unreachable)
    return Explained(found.message, found.cause.remedy, found.cause.unreachable, lines, found.cause.transient)


def explain_refusal(lines: Sequence[str]) -> Explained | None:
    """Explain why the command that printed ``lines`` was never run; None if it was."""
    found = find(ESCALATION_CAUSES, [line.strip() for line in lines[:FIRST_LINES]])
    if found is None:
        return None
    return Explained(found.message, found.cause.remedy, unreachable=False, output=tuple(lines))


def wants_terminal(lines: Sequence[str]) -> bool:
    """Whether privilege escalation failed because it had no terminal."""
    return any(WANTS_TERMINAL.search(line) for line in lines[:FIRST_LINES])
