#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_closure_diff
short_description: Compare the systems of two builds, host by host
description:
  - Compares the closure of every host in one result of M(nixferry.deploy.nix_build) with that in another, package by
    package, as data and as Markdown.
  - Runs on the controller only, whose store must have the systems. No host is contacted, so run it once for all hosts
    (O(ignore:run_once)).
extends_documentation_fragment:
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  before:
    description:
      - The result of M(nixferry.deploy.nix_build) for the hosts of a fleet.
      - A host that it lacks, or whose build failed, is reported without a comparison.
    type: dict
    required: true
  after:
    description: The same for the new systems. If the build of one of them failed, this task fails with the same
      message.
    type: dict
    required: true
  pins:
    description: The list RV(nixferry.deploy.nix_lock_update#module:inputs), for a table of what was updated.
    type: list
    elements: dict
    default: []
  timeout:
    description: The timeout of each question to the store, in seconds.
    type: int
    default: 600
seealso:
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_lock_update
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Build what is there
  nixferry.deploy.nix_build:
    fleet: .
    all_hosts: true
  register: before

- name: Update the pins
  nixferry.deploy.nix_lock_update:
  register: pins

- name: Build with the new pins
  nixferry.deploy.nix_build:
    fleet: .
    all_hosts: true
  register: after

- name: Compare
  nixferry.deploy.nix_closure_diff:
    before: "{{ before }}"
    after: "{{ after }}"
    pins: "{{ pins.inputs }}"
"""

RETURN = r"""
hosts:
  description: The differences by host, of the hosts that both builds have.
  returned: success
  type: dict
  contains:
    packages:
      description: The packages whose paths differ.
      type: list
      elements: dict
      contains:
        name:
          description: The name of the package.
          type: str
        change:
          description: V(added), V(removed), V(changed) for other versions, or V(rebuilt) for the same versions.
          type: str
        before:
          description: The versions before.
          type: list
          elements: str
        after:
          description: The versions after.
          type: list
          elements: str
        size_delta:
          description: How many bytes more the package takes.
          type: int
    size_before:
      description: The size of the closure before, in bytes.
      type: int
    size_after:
      description: The size of the closure after, in bytes.
      type: int
    units:
      description:
        - Systemd units whose files differ, by the names of their store paths, in which C(@) is a dash. An activation
          restarts, reloads or leaves alone a unit that has changed, as the unit says.
      type: dict
      contains:
        added:
          description: Units that are new.
          type: list
          elements: str
        removed:
          description: Units that are gone.
          type: list
          elements: str
        changed:
          description: Units whose files are others.
          type: list
          elements: str
changed_hosts:
  description: The hosts whose system is another one than before, or new.
  returned: success
  type: list
  elements: str
markdown:
  description: Pins and differences as Markdown. Hosts with the same difference share a table. At most 400 rows.
  returned: success
  type: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: read the result of nix_build
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
