#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_reboot
short_description: Reboot a host into its boot default, and wait until it is healthy
description:
  - Reboots a host without deploying anything, through the same guard as M(nixferry.deploy.nix_switch) with
    O(nixferry.deploy.nix_switch#module:reboot). The host is healthy when it has finished booting, no further unit has
    failed, a brand-new login works and the O(health_checks) pass.
  - If a newer system is the boot default and was not booted yet, it is booted once. If it does not come up or is not
    healthy, the host returns to the booted system, which becomes the boot default again.
  - Needs a kind of system with a boot loader, which is V(nixos). For other hosts use M(ansible.builtin.reboot) and
    M(nixferry.deploy.nix_health_check).
extends_documentation_fragment:
  - nixferry.deploy._switch
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Reports whether the host would reboot. Fails if it could not.
  diff_mode:
    support: none
options:
  reboot:
    description:
      - V(always) reboots at any time.
      - V(if-required) reboots if the kernel, initial RAM disk, kernel modules, kernel parameters, init interface or a
        switch inhibitor of the boot default differs from what was booted.
    type: str
    choices: [if-required, always]
    default: always
  specialisation:
    description: The specialisation of the boot default to boot, if the host runs one.
    type: str
    default: ""
seealso:
  - module: nixferry.deploy.nix_switch
  - module: nixferry.deploy.nix_generations
  - module: ansible.builtin.reboot
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Reboot hosts one by one
  hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - name: Reboot if an earlier deploy asks for it
      nixferry.deploy.nix_reboot:
        reboot: if-required
        health_checks:
          - unit: nginx.service
"""

RETURN = r"""
rebooted:
  description: Whether the host was rebooted; in check mode, whether it would be.
  returned: when the host was reached
  type: bool
outcome:
  description:
    - The result. V(unchanged), no reboot was required. V(committed), the host has rebooted and is healthy.
      V(rolled-back), it has rebooted and is not healthy, or did not go down; it runs the system that was booted before.
      V(failed), it could not be brought back to that. V(unknown), it did not come back before every deadline had
      passed.
    - In check mode, the outcome if everything succeeds.
  returned: when the host was reached
  type: str
  choices: [unchanged, committed, rolled-back, failed, unknown]
new:
  description: The store path of the system that was booted.
  returned: when the host was reached
  type: str
health_checks:
  description: The outcome of each check.
  returned: when the host was reached
  type: list
  elements: dict
failed_units:
  description: The units that have failed after the reboot and had not failed before.
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
  sample: reboot
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
