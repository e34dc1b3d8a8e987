# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy costs a host: logins, and commands over them, by sshd's own words at the log level VERBOSE."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab import LabHost
from processes import wait_until

QUIET_DEADLINE = 30  # seconds until the journal has all that happened
_LOGIN = re.compile(r"^Accepted \S+ for ", re.MULTILINE)
_COMMAND = re.compile(r"^Starting session: ", re.MULTILINE)
_VERBOSE = "/etc/ssh/sshd_config.d/00-count.conf"
_SYNC = "journalctl --sync"
# The latter since OpenSSH 9.8
_DAEMONS = "_COMM=sshd + _COMM=sshd-session"


@dataclass
class Sessions:
    """The logins to a host, and the commands that ran over them, once the block is left that counts them."""

    logins: int = 0
    commands: int = 0


@contextmanager
def counted(host: LabHost) -> Iterator[Sessions]:
    """Count what happens inside the block. Questions through the container are not logins."""
    host.ask(f"echo 'LogLevel VERBOSE' >{_VERBOSE} && systemctl reload ssh.service")
    cursor = host.ask(f"{_SYNC}; journalctl --quiet --lines=0 --show-cursor").rpartition("-- cursor: ")[2]
    found = Sessions()
    try:
        yield found
        logged = f"{_SYNC}; journalctl --quiet --output=cat --after-cursor='{cursor}' {_DAEMONS}"
        text = host.ask(logged)

        def is_quiet() -> bool:
            nonlocal text
            before, text = text, host.ask(logged)
            return text == before

        wait_until(is_quiet, deadline=QUIET_DEADLINE, what="a journal without news of sshd")
        found.logins, found.commands = len(_LOGIN.findall(text)), len(_COMMAND.findall(text))
    finally:
        host.ask(f"rm {_VERBOSE} && systemctl reload ssh.service")
