#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_role_variables
short_description: Refuse misspelt and removed variables of a role of this collection, and wrong values
description:
  - Fails if the host has a variable that begins like those of the role and is nearly, but not quite, one of them, such
    as C(nixos_health_check) for C(nixos_health_checks). Ansible would ignore it in silence, and with it what the user
    asked for.
  - The same for the variables C(nixferry_...) of the playbooks and callbacks.
  - Fails as well if a variable does not have the type that the specification of the role says. Ansible itself checks
    that before, unless the role is imported with C(rolespec_validate) set to V(false), and shows the whole
    specification.
  - The roles of this collection call it first. There is no need to call it elsewhere.
  - If a variable of your own has such a name, add the name to the list C(nixferry_own_variables).
  - Runs on the controller only. No host is contacted, unless O(reach) is set.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  role:
    description: The name of the role, without that of the collection.
    type: str
    required: true
  removed:
    description:
      - Variables that the role had once, with what replaces them.
      - Each is a dictionary with O(ignore:replacement) in words, or O(ignore:option) and the list O(ignore:actions).
    type: dict
    default: {}
  only_for:
    description:
      - Looks only for variables of O(removed) that are an option of this action now, and not for misspelt ones.
    type: str
  entry_point:
    description: The entry point of the role, whose variables are compared with their types.
    type: str
    default: main
  reach:
    description: Whether to log in to the host as well. If that fails the host is unreachable.
    type: bool
    default: false
  note:
    description: Values to return as they are, so that a role needs no second task to keep them.
    type: dict
    default: {}
  plan:
    description:
      - A plan that M(nixferry.deploy.nix_plan) has written. What it says of the host is then V(planned) in RV(noted),
        and its system is the V(source).
      - A plan that has expired, is not valid or does not have the host is an error.
      - A relative path is relative to the directory in which C(ansible-playbook) was started.
    type: path
  plan_keys:
    description: Public keys of OpenSSH. If there are any, one of them must have signed the plan.
    type: list
    elements: str
    default: []
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Look for misspelt variables
  nixferry.deploy.nix_role_variables:
    role: nixos
"""

RETURN = r"""
noted:
  description: The values of O(note), and what O(plan) adds to them.
  returned: success
  type: dict
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: reach the host
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
