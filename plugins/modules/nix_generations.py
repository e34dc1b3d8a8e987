#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_generations
short_description: Report which systems a host runs, boots and keeps
description:
  - Reads the running system, the booted system, the boot default and the generations of the profile, in one round trip
    and without Python on the host.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - It never changes anything.
  diff_mode:
    support: none
options:
  kind:
    description: The kind of the profile's system; it decides where the running system is looked up.
    type: str
    choices: [nixos, darwin, home-manager, system-manager, profile]
    default: nixos
  profile:
    description: The profile link; each O(kind) but V(profile) has a default.
    type: path
  guard:
    description:
      - The guard that M(nixferry.deploy.nix_guard) has installed on the host, to ask instead of becoming root.
    type: path
  build:
    description:
      - The result of M(nixferry.deploy.nix_build), in check mode or not. If a deploy of it would change the host,
        RV(drift) contains V(build).
    type: dict
  deploy:
    description: The id of a deploy to look for, as in RV(history); see RV(nearest_deploys).
    type: str
    default: ""
  pull:
    description:
      - Whether to ask the pull agent of the host too, as M(nixferry.deploy.nix_pull_status) does. With an
        installed guard (O(guard)) it takes a second command.
    type: bool
    default: false
seealso:
  - module: nixferry.deploy.nix_pull_status
  - module: nixferry.deploy.nix_switch
  - module: nixferry.deploy.nix_rollback
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Ask what runs
  nixferry.deploy.nix_generations:
  register: system

- name: Show whether a reboot is due
  ansible.builtin.debug:
    msg: "reboot because of {{ system.reboot_reasons | join(', ') }}"
  when: system.reboot_required
"""

RETURN = r"""
current:
  description: The store path of the running system; empty if there is none.
  returned: success
  type: str
booted:
  description: The store path of the booted system; empty if the kind has none.
  returned: success
  type: str
boot_default:
  description: The store path that the profile points at and that boots next.
  returned: success
  type: str
generation:
  description: The number of the profile's current generation; V(0) if there is none.
  returned: success
  type: int
generations:
  description: All generations of the profile, the oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    number:
      description: The number of the generation.
      type: int
    path:
      description: Its store path.
      type: str
    date:
      description: Its creation time, in UTC, as ISO 8601.
      type: str
    current:
      description: Whether the profile points at it.
      type: bool
nix_version:
  description: The version of Nix on the host.
  returned: success
  type: str
  sample: 2.26.3
system:
  description: The system type of the host.
  returned: success
  type: str
  sample: x86_64-linux
reboot_required:
  description: Whether the running kernel, its command line, modules or initial RAM disk differ from those of the
    system.
  returned: success
  type: bool
reboot_reasons:
  description: Which of them differ.
  returned: success
  type: list
  elements: str
failed_units:
  description: The failed systemd units; one entry C(unknown...) with the reason if systemd does not tell them.
  returned: success
  type: list
  elements: str
deployed:
  description: The deploy that made the current generation; empty if another tool made it.
  returned: success
  type: dict
  contains: &deploy
    generation:
      description: The number of the generation.
      type: int
    toplevel:
      description: Its store path.
      type: str
    time:
      description: The time of its commit, in UTC, as ISO 8601.
      type: str
    deployer:
      description: The user who deployed it, as user@controller.
      type: str
    revision:
      description: The revision it was deployed from, with C(-dirty) appended for a modified working tree.
      type: str
    action:
      description: V(switch) or V(boot), or V(rollback) for a manual rollback.
      type: str
    activation:
      description: The name of the activation, under which the host keeps its log.
      type: str
    deploy:
      description: The common id of all hosts of that run; empty for a deploy of an older version.
      type: str
deploys:
  description: All deploys whose generations still exist.
  returned: success
  type: list
  elements: dict
  contains: *deploy
history:
  description: The last deploys in order, also those whose generations were deleted; at least two hundred are kept.
  returned: success
  type: list
  elements: dict
  contains: *deploy
nearest_deploys:
  description:
    - The ids of the few remembered deploys that are most similar to O(deploy). If that deploy is remembered, it is the
      first.
    - Collect this from all hosts for the O(nixferry.deploy.nix_rollback#module:known_deploys) option of
      M(nixferry.deploy.nix_rollback).
  returned: success
  type: list
  elements: str
drift:
  description:
    - How the host differs from what was deployed. V(running), the running system is not the one that boots next.
      V(profile), another tool changed the profile since the last deploy. V(build), O(build) is another system.
  returned: success
  type: list
  elements: str
  choices: [running, profile, build]
wanted:
  description: The store path of O(build); empty without it.
  returned: success
  type: str
generation_time:
  description: The creation time of the current generation, in UTC, as ISO 8601; empty if there is none.
  returned: success
  type: str
pull:
  description:
    - What M(nixferry.deploy.nix_pull_status) returns as RV(nixferry.deploy.nix_pull_status#module:pull). Null if the
      answer of the host makes no sense.
  returned: success, with O(pull=true)
  type: dict
notes:
  description: Explanations of the drift, in sentences.
  returned: success
  type: list
  elements: str
lock:
  description: The activation that holds the host's lock; empty if none does.
  returned: success
  type: str
summary:
  description: A summary in a few lines.
  returned: success
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
  sample: probe
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
