#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_plan
short_description: Write down what a deploy would do, for a review
description:
  - Writes a plan from what M(nixferry.deploy.nix_build), M(nixferry.deploy.nix_generations) and
    M(nixferry.deploy.nix_deploy) or M(nixferry.deploy.nix_switch) in check mode returned for each host, and a summary
    of it as Markdown or HTML.
  - A deploy of the plan brings exactly its systems to its hosts, and refuses a host that is no longer in the recorded
    state (P(nixferry.deploy.plan#lookup) and the O(nixferry.deploy.nix_deploy#module:expected) option of
    M(nixferry.deploy.nix_deploy)).
  - It contacts no host. Run it once for all hosts (C(run_once)). The playbook C(nixferry.deploy.plan) does all of this.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Writes no file.
  diff_mode:
    support: none
options:
  path:
    description: The file of the plan, on the controller. It is replaced as a whole.
    type: path
    required: true
  summary:
    description: A file for the summary as Markdown.
    type: path
  sign_key:
    description:
      - The file of a secret key of OpenSSH on the controller, or that of a public key whose secret half an ssh-agent
        has. It signs the plan, into a file of the same name with C(.sig) at its end.
      - A signature that lies there is removed if no key is given, since it is not that of the new plan.
    type: path
  html:
    description: A file for the plan as a page of HTML, which needs no other file and no network.
    type: path
  hosts:
    description:
      - The hosts of the plan. A host whose results have failed or are missing is left out. The task then writes the
        plan for the others, and fails.
    type: list
    elements: str
    required: true
  registered:
    description: The names of the variables in which earlier tasks have registered their results for each host.
    type: dict
    required: true
    suboptions:
      build:
        description: That of M(nixferry.deploy.nix_build), for each host or for all of them.
        type: str
        required: true
      generations:
        description: That of M(nixferry.deploy.nix_generations).
        type: str
        required: true
      preview:
        description: That of M(nixferry.deploy.nix_switch) or M(nixferry.deploy.nix_deploy) in check mode.
        type: str
        required: true
      secrets:
        description: That of M(nixferry.deploy.nix_secrets) in check mode, if there are secrets.
        type: str
  valid_hours:
    description: The number of hours for which the plan may be deployed.
    type: int
    default: 24
notes:
  - A plan holds no secrets, but names of secrets, of packages and of hosts.
  - The store paths of a plan are protected from the garbage collector of the controller as long as the builds are
    (M(nixferry.deploy.nix_build)). If another controller deploys the plan, copy the closures to it first, or let it
    fetch them from a cache.
seealso:
  - plugin: nixferry.deploy.plan
    plugin_type: lookup
  - module: nixferry.deploy.nix_deploy
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Ask what the host runs and boots
  nixferry.deploy.nix_generations:
  register: seen

- name: Ask what would change
  nixferry.deploy.nix_switch:
    build: "{{ built }}"
  register: preview
  check_mode: true

- name: Write the plan, and a summary for the merge request
  nixferry.deploy.nix_plan:
    path: plan.json
    summary: plan.md
    hosts: "{{ ansible_play_hosts_all }}"
    registered:
      build: built
      generations: seen
      preview: preview
  run_once: true
"""

RETURN = r"""
path:
  description: The file of the plan.
  returned: success
  type: str
hosts:
  description: The hosts of the plan, and whether a deploy would change them.
  returned: success
  type: dict
  sample: {web1: true, web2: false}
left_out:
  description: Hosts that are left out, with the causes.
  returned: success
  type: dict
markdown:
  description: The summary.
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
  sample: write the plan
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
