# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The common id of all deploys of one ansible-playbook run, so that a fleet can roll back to it as a whole.

The time in it is the controller's. It is a moment before any host was switched, since Ansible's main process loads the
action plugin, and with it this file, before it forks the first process that uses it (see ``_core/shared_results.py``).
"""

from __future__ import annotations

import getpass
import re
import secrets
import socket
import time
from datetime import UTC, datetime

_DEPLOY = re.compile(r"(?P<time>\d{8}T\d{6})-[0-9a-f]{8}")


def deploy_time(deploy: str) -> int | None:
    """Return when the run began to switch hosts, in seconds since the epoch; ``None`` for an invalid id."""
    match = _DEPLOY.fullmatch(deploy)
    if match is None:
        return None
    try:
        return int(datetime.strptime(match["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def new_activation_id() -> str:
    """Return a name for one activation: a readable UTC time, and random digits to make it unique."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


THIS_RUN = new_activation_id()


def deployer_name() -> str:
    """Return the deployer as user@controller, as the hosts record it."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
