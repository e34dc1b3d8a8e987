#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_transaction
short_description: Decide whether several hosts are confirmed or roll back together
description:
  - Evaluates the results of a step of M(nixferry.deploy.nix_switch) on each host of a transaction, and returns the next
    step for all of them.
  - It contacts no host and changes nothing. Run it once for all hosts (C(run_once)), so that there is one decision.
  - The option C(nixos_transaction) of the role P(nixferry.deploy.nixos#role) does all of this.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  peers:
    description:
      - The hosts of the transaction, as in the O(nixferry.deploy.nix_switch#module:peers) option of
        M(nixferry.deploy.nix_switch). If one of them has failed or could not be reached earlier in the play, the
        transaction fails.
      - The default is the hosts in O(results).
    type: list
    elements: str
  results:
    description: The result of the last step for each host.
    type: dict
    required: true
seealso:
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Activate on every host, and wait
  nixferry.deploy.nix_switch:
    step: activate
    build: "{{ build }}"
    peers: "{{ groups.web }}"
  register: switched

- name: Decide for all hosts
  nixferry.deploy.nix_transaction:
    peers: "{{ groups.web }}"
    results: "{{ dict(groups.web | zip(groups.web | map('extract', hostvars, 'switched'))) }}"
  register: transaction
  run_once: true

- name: Confirm every host, or roll back every host
  nixferry.deploy.nix_switch:
    step: "{{ transaction.decision }}"
    activation: "{{ switched }}"
    reason: "{{ transaction.reason }}"
    peers: "{{ groups.web }}"
  register: switched
"""

RETURN = r"""
decision:
  description:
    - The next O(nixferry.deploy.nix_switch#module:step) of all hosts. V(confirm) if every host is healthy and waits for
      its confirmation or needs none, otherwise V(abort).
  returned: always
  type: str
  choices: [confirm, abort]
settled:
  description: Whether all hosts have been confirmed or were up to date, so that there is nothing left to do.
  returned: always
  type: bool
failed_hosts:
  description: The failed hosts of the transaction, each with the reason in one line.
  returned: always
  type: dict
  sample: {"web2": "health check failed: nginx.service is not active"}
reason:
  description: The same as one sentence; empty if no host failed.
  returned: always
  type: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: deploy together
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
