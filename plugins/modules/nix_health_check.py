#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_health_check
short_description: Run health checks on a host at any time
description:
  - Runs the health checks of M(nixferry.deploy.nix_switch), and fails if one of them does. It changes nothing.
  - The role P(nixferry.deploy.nixos#role) uses it for C(nixos_pre_deploy_checks), before anything is activated.
extends_documentation_fragment:
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: partial
    details:
      - O(health_checks[].command) is not run in check mode, since it may change something, or be in a closure that has
        not been copied yet. RV(not_run) names such checks.
  diff_mode:
    support: none
options:
  title:
    description: What a failed check is called in messages.
    type: str
    choices: [health check, pre-deploy check]
    default: health check
  login_timeout:
    description:
      - The seconds to wait until a login to the host succeeds, for a host that boots. Without one, the task fails.
      - With V(0) there is one attempt, and the host is unreachable if it fails.
      - A host that refuses the login is not asked again.
    type: int
    default: 0
seealso:
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: See whether the host is well
  nixferry.deploy.nix_health_check:
    health_checks:
      - unit: sshd.service
      - name: no maintenance is under way
        command: test ! -e /run/maintenance
        retries: 0
"""

RETURN = r"""
health_checks:
  description: The outcome of each check that was run.
  returned: when the host was reached
  type: list
  elements: dict
  contains:
    name:
      description: The name of the check, or its kind and target.
      type: str
    kind:
      description: V(command), V(unit), V(port) or V(url).
      type: str
    healthy:
      description: Whether it passed.
      type: bool
    detail:
      description: The last observation.
      type: str
    attempts:
      description: The number of attempts.
      type: int
not_run:
  description: The names of the checks that check mode skipped.
  returned: when the host was reached
  type: list
  elements: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: health check
cause:
  description: The cause of the failure. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: How to fix it, if known.
  returned: failure
  type: str
output:
  description: The end of the programs' output.
  returned: failure
  type: list
  elements: str
"""
