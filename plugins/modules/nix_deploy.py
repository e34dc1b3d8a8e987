#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_deploy
short_description: Copy a Nix-built system to a host and switch to it
description:
  - Does what M(nixferry.deploy.nix_copy) and then M(nixferry.deploy.nix_switch) do, with the same promises, in one
    task. That saves a process of Ansible on the controller and a round trip for every host.
  - A host that already runs and boots the system takes one round trip. One change takes two logins, of which the second
    one proves the new system.
  - Use M(nixferry.deploy.nix_copy) and M(nixferry.deploy.nix_switch) instead where something has to happen in between,
    and for several hosts that are confirmed together (M(nixferry.deploy.nix_transaction)), whose copies all have to end
    before the first activation.
  - C(module_defaults) of M(nixferry.deploy.nix_copy) and of M(nixferry.deploy.nix_switch) apply to this action as well,
    as far as it has the option. Those of this action itself come first.
extends_documentation_fragment:
  - nixferry.deploy._system
  - nixferry.deploy._transfer
  - nixferry.deploy._switch
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Lists what would be copied, compares the host's system with the new one, and changes nothing.
  diff_mode:
    support: full
    details:
      - Shows every missing path with its size, the difference of the closures, package by package, and the output of
        the system's own dry activation.
options:
  phases:
    description:
      - What to do. V(copy) makes the system valid in the host's store, V(activate) switches to it.
      - A task that has the name of a phase among its tags stands for one task a phase. C(--tags copy) then only copies,
        C(--skip-tags copy) only activates, and C(--tags activate) does both, since an activation needs the copy. Give
        such a task both tags.
    type: list
    elements: str
    choices: [copy, activate]
    default: [copy, activate]
notes:
  - The user on the host (the become user, with O(ignore:become)) must be allowed to add paths, see
    M(nixferry.deploy.nix_copy).
seealso:
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_copy
  - module: nixferry.deploy.nix_switch
  - module: nixferry.deploy.nix_rollback
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
- name: Deploy what was built, and only commit it when the web server answers
  nixferry.deploy.nix_deploy:
    build: "{{ built }}"
    health_checks:
      - unit: nginx.service

- name: Deploy from the cache of the company, signed paths only, as two phases that tags select
  nixferry.deploy.nix_deploy:
    build: "{{ built }}"
    from: https://cache.example.org
    check_sigs: true
  tags: [copy, activate]

- name: Copy now, and activate in the maintenance window
  nixferry.deploy.nix_deploy:
    build: "{{ built }}"
    phases: [copy]
"""

RETURN = r"""
transfer:
  description:
    - The return values of M(nixferry.deploy.nix_copy), such as
      RV(nixferry.deploy.nix_copy#module:copied_paths). Without it nothing had to be copied, or was to be.
    - RV(ignore:changed) of the task is also true if only the copy changed something.
  returned: when the host was asked which paths it lacks
  type: dict
activation:
  description: The activation's name on the host.
  returned: when something was activated or committed
  type: str
  sample: 20260102T030405-1a2b3c4d
outcome:
  description: The result of the deploy, see RV(nixferry.deploy.nix_switch#module:outcome).
  returned: when the host was to activate something
  type: str
  choices: [unchanged, committed, tested, dry-activated, rolled-back, failed, unknown]
other_system:
  description: See RV(nixferry.deploy.nix_switch#module:other_system).
  returned: when a third party has switched the host
  type: str
old:
  description: The store path of the system that ran before; empty if there was none.
  returned: when the host was to activate something
  type: str
old_generation:
  description: The number of the profile's previous generation; V(0) if there was none.
  returned: when the host was to activate something
  type: int
new:
  description: The store path of the system to deploy, or of the requested specialisation.
  returned: when the host was to activate something
  type: str
generation:
  description: The number of the profile's generation afterwards.
  returned: when the profile exists
  type: int
phases:
  description: The phases of the guard, see RV(nixferry.deploy.nix_switch#module:phases).
  returned: when something was activated or committed
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
notes:
  description: Remarks of the guard.
  returned: when there are any
  type: list
  elements: str
rebooted:
  description: Whether the task rebooted the host, see RV(nixferry.deploy.nix_switch#module:rebooted).
  returned: when the host was to activate something
  type: bool
reboot_required:
  description: Whether a reboot is due, see RV(nixferry.deploy.nix_switch#module:reboot_required).
  returned: when the host was to activate something
  type: bool
reboot_reasons:
  description: Why it is due.
  returned: when the host was to activate something
  type: list
  elements: str
kind:
  description: The kind of system.
  returned: when the host was to activate something
  type: str
profile:
  description: The profile link on the host.
  returned: when the host was to activate something
  type: str
deploy:
  description: The common id of all hosts of this run, under which M(nixferry.deploy.nix_rollback) finds it.
  returned: when the host was to activate something
  type: str
  sample: 20260921T141300-3fa2c1d4
revision:
  description: The deployed revision; empty if it is unknown.
  returned: when the host was to activate something
  type: str
closure:
  description: The difference of the closures, as in RV(nixferry.deploy.nix_closure_diff#module:hosts).
  returned: in check mode and with C(--diff), when the new closure is in a store that can be asked
  type: dict
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: copy
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
