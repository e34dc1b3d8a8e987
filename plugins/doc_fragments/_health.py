# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of health checks, for every action that takes them."""

from __future__ import annotations


class ModuleDocFragment:
    """The option ``health_checks``."""

    DOCUMENTATION = r"""
options:
  health_checks:
    description:
      - Checks that have to pass, those on the host before those from the controller.
      - Where a system is switched on, they run once the host has been reached over a new connection. The new system is
        confirmed when they pass; otherwise the host rolls back.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the check is called in messages.
        type: str
      command:
        description: A shell command on the host that has to exit with 0.
        type: str
      unit:
        description: A systemd unit that has to be active.
        type: str
      port:
        description: A TCP port that has to accept connections from the controller.
        type: int
      address:
        description: The address for O(health_checks[].port), when it is not the one that Ansible connects to.
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
        description: A text that the answer to O(health_checks[].url) has to contain.
        type: str
      headers:
        description: Headers to send along to O(health_checks[].url).
        type: dict
        default: {}
      validate_certs:
        description: Whether a certificate has to be valid.
        type: bool
        default: true
      retries:
        description: How often a failed check is tried again.
        type: int
        default: 5
      delay:
        description: Seconds between two attempts.
        type: int
        default: 2
      timeout:
        description: Seconds that one attempt may take.
        type: int
        default: 10
"""
