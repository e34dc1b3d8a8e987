#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_lock_update
short_description: Show and update the pinned sources of a project
description:
  - Shows which revisions a project builds with, or brings them up to date, in the C(flake.lock) of a flake, the
    C(nix/sources.json) of niv, or the C(npins/sources.json) of npins. Neither niv nor npins is needed.
  - For a flake, Nix computes the new lock file. For niv and npins, git is asked where the branch of a pin is, and Nix
    fetches and hashes the new revision.
  - Of niv, what follows a branch can be updated. These are entries of GitHub with a branch, entries of type C(git), and
    others whose C(url_template) has C(<rev>) in it. Of npins, it is pins of type C(Git).
  - Everything else, such as releases, channels and packages, is shown with the reason in RV(inputs[].refusal) and left
    alone. It fails when it is named in O(inputs).
  - Runs on the controller only. No host is contacted, so once for a play is enough (O(ignore:run_once)).
extends_documentation_fragment:
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Fetches what is new in order to tell what would change, but leaves the file alone.
  diff_mode:
    support: full
    details:
      - Shows each pin with its revision and hash.
options:
  path:
    description:
      - The project's directory, or the file itself.
      - A relative path counts from the directory of the playbook. For a playbook inside a collection it counts from
        the directory in which C(ansible-playbook) was started.
    type: path
    default: .
  format:
    description:
      - Which file is meant. V(auto) takes the one that the project has, and fails when it has several.
    type: str
    choices: [auto, flake, npins, niv]
    default: auto
  inputs:
    description:
      - The names of the inputs or pins to update, or to show. All, when empty.
      - An input of an input of a flake is named as V(home-manager/nixpkgs).
    type: list
    elements: str
    default: []
    aliases: [pins]
  state:
    description:
      - V(updated) brings them to the newest revision. V(shown) only reads the file.
    type: str
    choices: [updated, shown]
    default: updated
  options:
    description:
      - Settings of C(nix.conf) for this task. For access tokens use C(nix.conf) itself, since these are visible in
        the process list.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds that the evaluation and the downloads may take together. V(0) means no limit.
    type: int
    default: 1800
notes:
  - The file is replaced as a whole, once everything was fetched. When something cannot be fetched, it stays as it was.
  - A repository whose URL holds a password, and a pin of npins with an access token, is refused, because both would be
    visible in the process list. Let git's credential helper know the password.
seealso:
  - module: nixferry.deploy.nix_build
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Update all inputs of the flake beside the playbook
  nixferry.deploy.nix_lock_update:
  run_once: true
  delegate_to: localhost

- name: Update nixpkgs alone, and tell what changed
  nixferry.deploy.nix_lock_update:
    path: fleet
    inputs: [nixpkgs]
  register: lock
  run_once: true
  delegate_to: localhost

- name: Fail when a pin is older than a month
  nixferry.deploy.nix_lock_update:
    state: shown
  register: lock
  failed_when: lock.inputs | map(attribute='new.time') | select | min < now().timestamp() - 30 * 86400
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
format:
  description: Which kind of file it is.
  returned: success
  type: str
  choices: [flake, npins, niv]
path:
  description: The file.
  returned: success
  type: str
inputs:
  description:
    - The inputs or pins, those in O(inputs) or all. Whatever changed is told in any case, because an update of one
      input of a flake can bring others.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name; for an input of an input, the path to it.
      type: str
    type:
      description: What the file calls it, V(github) or V(tarball) or V(Git) for instance.
      type: str
    url:
      description: Where it comes from, without passwords.
      type: str
    branch:
      description: The branch that it follows, where the file names one.
      type: str
    old:
      description: What it was before; null for one that was added.
      type: dict
      contains: &state
        revision:
          description: The commit, or the version of a release; empty when it has none.
          type: str
        hash:
          description: The hash, as the file writes it.
          type: str
        time:
          description: When the revision was made, in seconds since the epoch; null where the file does not say so.
          type: int
    new:
      description: What it is now, or would be; null for one that was removed.
      type: dict
      contains: *state
    changed:
      description: Whether the two differ.
      type: bool
    updatable:
      description: Whether this module can update it.
      type: bool
    refusal:
      description: Why it cannot; empty when it can.
      type: str
  sample:
    - name: nixpkgs
      type: github
      url: github:NixOS/nixpkgs
      branch: nixos-unstable
      old:
        revision: 6afe187897bef7933475e6af374c893f4c84a293
        hash: sha256-K9yBph93OLTNw02Q6e9CYFGrUhvEXnh45vrZqIRWfvQ=
        time: 1747958103
      new:
        revision: eabc3821918a4c2b8ff4c0a29cb2e24b0e4b3a1c
        hash: sha256-des9OUzC+IcCqisK3ReEAwfz4NGWxY1X03Mrh8//A7s=
        time: 1748190013
      changed: true
      updatable: true
      refusal: ""
notes:
  description: What went wrong without being a failure, in sentences.
  returned: success
  type: list
  elements: str
where:
  description: The machine on which it failed, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: What was being done when it failed.
  returned: failure
  type: str
  sample: update the pins
cause:
  description: What is wrong. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: What to do about it, as far as that is known.
  returned: failure
  type: str
output:
  description: The end of what the programs printed.
  returned: failure
  type: list
  elements: str
"""
