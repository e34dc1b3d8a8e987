# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Decide whether a copy over ssh is compressed.

Ansible's default ``ssh_args`` compress, which is right for commands and for slow links. But zlib is slower than a local
network, and compression belongs to a connection as a whole. Therefore a large copy over a fast link gets a connection
of its own, without compression. A login costs less than compressing a few megabytes.
"""

from __future__ import annotations

import os
import shlex

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.ssh import (
    compresses,
    login_password_given,
    ssh_command_line,
)

from .explain import STEP

# From this size on, compressing takes longer than another login and the measurement.
LARGE_BYTES = 16 * 1024 * 1024
# Enough to tell a local network from a slow link, on which it takes a quarter of a second.
PROBE_BYTES = 256 * 1024
PROBE_SECONDS = 60
# Closures compress to a third, at some 20 MB per second: below this many bytes per second that is faster.
FAST_BYTES_PER_SECOND = 8_000_000
_ANSWER = "nixferry-nanoseconds="
# The time from the first line to the end of the input. Where `date` knows only seconds, the kernel knows hundredths.
_MEASURE = f"""
now() {{
    moment=$(date +%s%N)
    case $moment in
        *[!0-9]* | ??????????)
            read -r up _ </proc/uptime || exit 0
            moment=${{up%.*}}${{up#*.}}0000000 ;;
    esac
    echo "$moment"
}}
read -r first
begin=$(now)
cat >/dev/null
echo "{_ANSWER}$(($(now) - begin))"
"""


def compression_for(shell: RemoteShell, size: int) -> bool | None:
    """Return False if a copy of ``size`` bytes needs a connection without compression; None: any connection is right.

    A login with a password keeps the connection that it has.
    """
    if size < LARGE_BYTES:
        return None
    connection = shell.connection
    if login_password_given(connection) or not compresses(ssh_command_line(connection)):
        return None
    rate = bytes_per_second(shell)
    return False if rate is not None and rate >= FAST_BYTES_PER_SECOND else None


def bytes_per_second(shell: RemoteShell) -> float | None:
    """Measure how fast the host receives what does not compress; None if that is unknown. One round trip."""
    try:
        answer = shell.run_command(
            f"/bin/sh -c {shlex.quote(_MEASURE)}",
            data=b"\n" + os.urandom(PROBE_BYTES),
            step=STEP,
            seconds=PROBE_SECONDS,
        )
    except NixferryError:
        # The copy itself explains what is wrong with the connection.
        return None
    told = [line.partition(_ANSWER)[2] for line in answer.stdout.splitlines() if _ANSWER in line]
    nanoseconds = whole_number(told[-1]) if told else None
    if nanoseconds is None:
        return None
    return PROBE_BYTES * 1e9 / max(1, nanoseconds)
