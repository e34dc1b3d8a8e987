# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What the deploys of one run of ansible-playbook have in common, so that a fleet can go back to it as a whole.

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
    """When the run began to switch hosts, in seconds since the epoch; ``None`` for what is no id of a run."""
    match = _DEPLOY.fullmatch(deploy)
    if match is None:
        return None
    try:
        return int(datetime.strptime(match["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def new_activation_id() -> str:
    """A name for one activation: UTC time for people, and random digits so that it never comes twice."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


THIS_RUN = new_activation_id()


def deployer_name() -> str:
    """Who deploys from where, as the hosts record it."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
