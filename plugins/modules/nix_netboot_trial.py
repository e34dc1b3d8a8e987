#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_netboot_trial
short_description: Reboot a machine into a release from the network, and prove that it works
description:
  - Reboots a machine for which M(nixferry.deploy.nix_netboot_pointer) offers a trial, waits until new logins reach it,
    and looks whether it is healthy. If it is not, the machine is rebooted into the release that it had before.
  - The web server hands a trial out once. So a machine that crashes or loses its power boots the release before.
  - A timer on the kernel's command line of the trial reboots the machine unless the trial is kept. It works without the
    controller. systemd before version 256 does not read it; there the controller sets the timer at its first login.
  - The role P(nixferry.deploy.netboot#role) takes the steps in their order.
extends_documentation_fragment:
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  step:
    description:
      - V(look) says what the machine has booted.
      - V(try) reboots it into the trial, and back if it is not healthy.
      - V(keep) stops the timer of a trial that has become the boot default.
    type: str
    choices: [look, try, keep]
    required: true
  release:
    description: The release of the trial. Required for O(step=try) and O(step=keep).
    type: str
  trial:
    description: The name of the trial. Required for O(step=try).
    type: str
  timeout_reboot:
    description: The seconds within which the host must be reached again after a reboot.
    type: int
    default: 600
  timeout_confirm:
    description: The seconds within which it must have finished booting after that. Health checks have their own limits.
    type: int
    default: 300
  seconds:
    description:
      - The seconds after the start of its kernel at which the trial reboots unless it is kept. Must be the same as
        O(nixferry.deploy.nix_netboot_pointer#module:seconds), and at least the sum of the other limits.
    type: int
    default: 1200
  failed_units:
    description: Whether units that have failed since the reboot, and had not failed before, end the trial.
    type: str
    choices: [rollback, ignore]
    default: rollback
  ignored_units:
    description: Units whose failure does not matter.
    type: list
    elements: str
    default: []
seealso:
  - module: nixferry.deploy.nix_netboot_pointer
  - module: nixferry.deploy.nix_health_check
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: See which release a machine has booted
  nixferry.deploy.nix_netboot_trial:
    step: look
  become: true
  register: booted
"""

RETURN = r"""
outcome:
  description:
    - How the trial has ended. V(proved), the machine runs it and is healthy. V(rolled-back), it runs the release
      before. V(unknown), it did not come back before every deadline had passed. Empty if nothing was done.
  returned: O(step=try)
  type: str
  choices: [proved, rolled-back, unknown, ""]
release:
  description: The release that the machine runs now, empty if it is not known.
  returned: success
  type: str
trial:
  description: The name of the trial that the machine runs now, empty if it runs none.
  returned: success
  type: str
booted_system:
  description: The toplevel that it has booted, empty if it does not say so.
  returned: success
  type: str
state:
  description: How far systemd is, such as V(running).
  returned: success
  type: str
failed_units_now:
  description: The units that have failed there.
  returned: success
  type: list
  elements: str
timer:
  description: Whether the timer of a trial runs, V(active) if so.
  returned: success
  type: str
armed_by:
  description: What has set the timer of the trial, V(kernel) or V(controller). Empty if no trial was reached.
  returned: O(step=try)
  type: str
health_checks:
  description: The outcome of each check.
  returned: O(step=try)
  type: list
  elements: dict
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: try the release
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
