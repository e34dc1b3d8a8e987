# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What connection plugins and escalation programs say, recorded with OpenSSH 9.2 and 10, sudo 1.9 and opendoas 6.8."""

from __future__ import annotations

import pytest

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.login import (
    FAILED_REMEDY,
    UNREACHABLE_REMEDY,
    explain_exception,
    explain_refusal,
    wants_terminal,
)

PREFIX = 'Data could not be sent to remote host "192.0.2.1". Make sure this host can be reached over ssh: '
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r
Host key for [127.0.0.1]:20840 has changed and you have requested strict checking.\r
Host key verification failed."""

LOGINS = {
    CHANGED: ("another key", "Host key for [127.0.0.1]:20840 has changed", "ssh-keygen -R"),
    "Host key verification failed.": ("not known here", "verification failed", "ssh-keyscan"),
    "admin@192.0.2.1: Permission denied (publickey,password).": (
        "does not let this user in",
        "Permission denied (publickey,password)",
        "ansible_password",
    ),
    "ssh: Could not resolve hostname nowhere.invalid: Name or service not known": (
        "cannot be resolved",
        "nowhere.invalid",
        "ansible_host",
    ),
    "ssh: Could not resolve hostname web1: Temporary failure in name resolution": (
        "the name server does not answer",
        "web1",
        "network of the controller",
    ),
    "ssh: connect to host 192.0.2.1 port 23: Connection refused": (
        "the port refuses connections",
        "port 23",
        "ansible_port",
    ),
    "Connection timed out during banner exchange\r\nConnection to 192.0.2.1 port 22 timed out": (
        "does not answer",
        "timed out",
        "ansible_timeout",
    ),
    "channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n"
    "Connection closed by UNKNOWN port 65535": (
        "jump host",
        "Connection closed by UNKNOWN",
        "Log in to the jump host",
    ),
}


@pytest.mark.parametrize("said", list(LOGINS))
def test_logins(said: str) -> None:
    message, line, remedy = LOGINS[said]
    explained = explain_exception(PREFIX + said, unreachable=True)
    assert message in explained.message
    assert line in explained.message
    assert remedy in explained.remedy
    assert explained.unreachable
    assert "\r" not in explained.message
    passing = ("refuses connections", "does not answer", "jump host")
    assert explained.transient == any(words in explained.message for words in passing)


def test_an_unknown_host_key_with_a_password_is_unreachable_as_without_one() -> None:
    said = (
        "Using a SSH password instead of a key is not possible because Host Key checking is enabled. "
        "Please add this host's fingerprint to your known_hosts file to manage this host."
    )
    explained = explain_exception(said, unreachable=False)
    assert explained.unreachable
    assert "not known here" in explained.message


@pytest.mark.parametrize(
    ("said", "message", "package"),
    [
        # ansible-core 2.19 and 2.21
        (
            "Unable to execute ssh command line on a controller: [Errno 2] No such file or directory: b'ssh'",
            "no ssh client",
            "openssh-client",
        ),
        (
            "to use the password_mechanism=sshpass, you must install the sshpass program",
            "gives ssh the password",
            "sshpass",
        ),
    ],
)
def test_a_program_that_the_controller_lacks_is_named_with_its_package(
    said: str, message: str, package: str
) -> None:
    explained = explain_exception(said, unreachable=False)
    assert message in explained.message
    assert said in explained.message
    assert f"nstall {package}" in explained.remedy or f"Ubuntu: {package}" in explained.remedy
    assert "on the controller" in explained.remedy
    assert not explained.unreachable


@pytest.mark.parametrize(
    ("said", "message", "remedy"),
    [
        ("Incorrect sudo password", "refused the password", "ansible_become_password"),
        ("Missing sudo password", "asks for a password", "--ask-become-pass"),
        ("Incorrect su password", "refused the password", "su for that of the user to become"),
        (
            "Timeout (12s) waiting for privilege escalation prompt: ",
            "neither asked for a password nor succeeded",
            "ansible_become_method",
        ),
    ],
)
def test_escalation_that_fails_is_no_unreachable_host(said: str, message: str, remedy: str) -> None:
    explained = explain_exception(said, unreachable=True)
    assert message in explained.message
    assert remedy in explained.remedy
    assert not explained.unreachable


@pytest.mark.parametrize(("unreachable", "remedy"), [(True, UNREACHABLE_REMEDY), (False, FAILED_REMEDY)])
def test_what_is_not_known_is_passed_on(unreachable: bool, remedy: str) -> None:
    explained = explain_exception("the dog ate it", unreachable=unreachable)
    assert (explained.message, explained.remedy, explained.unreachable) == (
        "the dog ate it",
        remedy,
        unreachable,
    )


def test_output_of_a_program_is_no_refusal() -> None:
    assert explain_refusal(["error: hash mismatch", "warning: nothing"]) is None


@pytest.mark.parametrize(
    "said",
    [
        "sudo: sorry, you must have a tty to run sudo",
        "su: must be run from a terminal",
        "doas: a tty is required",
    ],
)
def test_a_wanted_terminal(said: str) -> None:
    assert wants_terminal([said])
    assert not wants_terminal(["sudo: a password is required"])
