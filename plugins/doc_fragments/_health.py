# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of health checks, for every action that runs them."""

from __future__ import annotations


class ModuleDocFragment:
    """The option ``health_checks``."""

    DOCUMENTATION = r"""
options:
  health_checks:
    description:
      - Checks that must pass. Checks on the host run before those from the controller.
      - After an activation, they run once the controller has reached the host over a new connection. If they pass, the
        new system is confirmed; otherwise the host rolls back.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the check in messages.
        type: str
      command:
        description:
          - A shell command on the host that must exit with 0.
          - It has a session of its own. What it leaves in its process group, such as a job in the background, is killed
            when it ends. A daemon with another session is left alone.
        type: str
      unit:
        description: A systemd unit that must be active.
        type: str
      port:
        description: A TCP port that must accept connections from the controller.
        type: int
      address:
        description: The address for O(health_checks[].port), if it is not the one that Ansible connects to.
        type: str
      url:
        description: A URL that the controller requests. No proxy is used.
        type: str
      status_codes:
        description: The HTTP status codes that are healthy.
        type: list
        elements: int
        default: [200]
      contains:
        description: A text that the response of O(health_checks[].url) must contain.
        type: str
      headers:
        description: HTTP headers for the request to O(health_checks[].url).
        type: dict
        default: {}
      validate_certs:
        description: Whether a certificate must be valid.
        type: bool
        default: true
      retries:
        description: The number of retries of a failed check.
        type: int
        default: 5
      delay:
        description: Seconds between two attempts.
        type: int
        default: 2
      timeout:
        description:
          - Seconds that one attempt may take. A command that takes longer gets SIGTERM and, two seconds later, SIGKILL.
        type: int
        default: 10
"""
