#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_rollback
short_description: Roll a host back to an earlier generation
description:
  - Finds an earlier generation in the host's profile and switches to it through the same guard as
    M(nixferry.deploy.nix_switch), with the same confirmation over a brand-new login. If the old generation is not
    healthy either, the host returns to what ran before.
  - The generation becomes the newest one of the profile, so the history keeps its order and nothing is deleted.
extends_documentation_fragment:
  - nixferry.deploy._switch
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the difference of the closures, package by package.
options:
  to:
    description:
      - The target of the rollback. V(previous) is the newest generation below the current one that holds another
        system.
      - A number is a generation of the profile.
      - A store path is a system in the host's store.
      - V(deploy:20260921T141300-3fa2c1d4) is what the host ran at the end of that deploy. All hosts of one
        C(ansible-playbook) run have the same id, and the playbook C(nixferry.deploy.status) shows the newest ids. If
        the deploy changed nothing on a host, or left it out, it is what the host's profile held when the deploy began;
        but only if O(known_deploys) proves that there was such a deploy.
      - V(time:2026-09-21T14:13:00+02:00) is what the profile held at that time, in UTC without an offset.
      - The task fails if the wanted generation was, or may have been, deleted.
    type: str
    default: previous
  known_deploys:
    description:
      - The ids of deploys that other hosts remember and that are similar to the one in O(to). They are in
        C(nearest_deploys) of M(nixferry.deploy.nix_generations).
      - A host that does not remember the deploy in O(to) itself, and does not find it here, fails before anything
        changes, and names the nearest ids. The time in a mistyped id is not used.
      - With O(to=previous) they may be the ids of all deploys that the hosts remember. A host that the last one did not
        change is then warned of before it goes back further than that deploy reached.
      - The role P(nixferry.deploy.nixos#role) and the playbook C(nixferry.deploy.rollback) ask the hosts.
    type: list
    elements: str
    default: []
seealso:
  - module: nixferry.deploy.nix_switch
  - module: nixferry.deploy.nix_generations
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Go back to the system before this one
  nixferry.deploy.nix_rollback:

- name: Ask all hosts which deploys they remember
  nixferry.deploy.nix_generations:
    deploy: 20260921T141300-3fa2c1d4
  register: system

- name: Put every host to what it ran after a deploy
  nixferry.deploy.nix_rollback:
    to: deploy:20260921T141300-3fa2c1d4
    known_deploys: >-
      {{
        ansible_play_hosts | map('extract', hostvars, 'system') | selectattr('nearest_deploys', 'defined')
        | map(attribute='nearest_deploys') | flatten | unique
      }}

- name: Go back to generation 41, if the web server works there
  nixferry.deploy.nix_rollback:
    to: "41"
    health_checks:
      - unit: nginx.service
"""

RETURN = r"""
target_reason:
  description: How the generation was chosen, for a deploy or a time; empty otherwise.
  returned: when the host was reached
  type: str
deploy:
  description: The common id of all hosts of this run, for O(to).
  returned: when the host was reached
  type: str
outcome:
  description:
    - The result, as in M(nixferry.deploy.nix_switch). V(committed) means that the earlier generation runs and is the
      boot default.
  returned: always
  type: str
  choices: [unchanged, committed, rolled-back, failed, unknown]
target_generation:
  description: The number of the chosen generation; V(0) for a store path.
  returned: when the host was reached
  type: int
other_system:
  description: The store path of the running system, if a third party has switched the host to it meanwhile.
  returned: when that has happened
  type: str
old:
  description: The store path of the system that ran before.
  returned: when the host was reached
  type: str
new:
  description: The store path of the system to deploy.
  returned: when the host was reached
  type: str
generation:
  description: The number of the profile's generation afterwards.
  returned: when the profile exists
  type: int
phases:
  description: The phases of the guard, with the seconds that each took.
  returned: when something was activated
  type: list
  elements: dict
failed_units:
  description: The units that have failed now and had not failed before.
  returned: when something was activated
  type: list
  elements: str
health_checks:
  description: The outcome of each check.
  returned: when checks ran
  type: list
  elements: dict
log:
  description: The end of the activation's output.
  returned: when something was activated
  type: list
  elements: str
rebooted:
  description: Whether the task rebooted the host; in check mode, whether it would.
  returned: when the host was reached
  type: bool
reboot_required:
  description:
    - Whether a reboot is due, because the running kernel, its command line, modules, initial RAM disk, init interface
      or a switch inhibitor differs from that of the system.
  returned: when the host was reached
  type: bool
reboot_reasons:
  description: Which of them differ.
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
  sample: choose the generation
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
