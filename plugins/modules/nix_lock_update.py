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
  - Shows which revisions a project builds with, or updates them, in the C(flake.lock) of a flake, the
    C(nix/sources.json) of niv, or the C(npins/sources.json) of npins. Neither niv nor npins is needed.
  - For a flake, Nix computes the new lock file. For niv and npins, the module asks git for the newest commit of a pin's
    branch, and Nix fetches and hashes it.
  - For niv, entries that follow a branch can be updated. These are entries of GitHub with a branch, entries of type
    C(git), and others whose C(url_template) contains C(<rev>). For npins, these are pins of type C(Git).
  - Everything else, such as releases, channels and packages, is shown with the reason in RV(inputs[].refusal) and left
    unchanged. It fails if it is named in O(inputs).
  - Runs on the controller only. It contacts no host, so run it once per play (O(ignore:run_once)).
extends_documentation_fragment:
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Fetches new revisions to report what would change, but leaves the file unchanged.
  diff_mode:
    support: full
    details:
      - Shows each pin with its revision and hash.
options:
  path:
    description:
      - The project's directory, or the file itself.
      - A relative path is relative to the directory of the playbook. For a playbook inside a collection it is relative
        to the directory in which C(ansible-playbook) was started.
    type: path
    default: .
  format:
    description:
      - The format of the file. V(auto) takes the file that the project has, and fails if it has several.
    type: str
    choices: [auto, flake, npins, niv]
    default: auto
  inputs:
    description:
      - The names of the inputs or pins to update, or to show. If empty, all of them.
      - Name an input of an input of a flake as in V(home-manager/nixpkgs).
    type: list
    elements: str
    default: []
    aliases: [pins]
  state:
    description:
      - V(updated) updates them to the newest revision. V(shown) only reads the file.
    type: str
    choices: [updated, shown]
    default: updated
  min_age_days:
    description:
      - How old a new revision must be. An input with a younger one, or of a flake with an input of its own that has
        one, stays as it is, and is named in RV(held).
      - The age is what the repository says. This protects from mistakes that other users find in time, not from an
        attacker.
      - The files of niv and npins do not say how old a revision is. Its commit is fetched for that.
    type: int
    default: 0
  options:
    description:
      - Settings of C(nix.conf) for this task. For access tokens use C(nix.conf) itself, since these settings are
        visible in the process list.
    type: dict
    default: {}
  timeout:
    description:
      - The timeout for the evaluation and the downloads together in seconds. V(0) means no limit.
    type: int
    default: 1800
notes:
  - The file is replaced as a whole, after everything was fetched. If a fetch fails, the file stays unchanged.
  - A repository whose URL contains a password, and a pin of npins with an access token, is refused, because both would
    be visible in the process list. Give the password to git's credential helper.
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
  description: The format of the file.
  returned: success
  type: str
  choices: [flake, npins, niv]
path:
  description: The file.
  returned: success
  type: str
inputs:
  description:
    - The inputs or pins, those in O(inputs) or all. Every change is reported, because an update of one input of a flake
      can change others.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name; for an input of an input, the path to it.
      type: str
    type:
      description: The type in the file, for instance V(github) or V(tarball) or V(Git).
      type: str
    url:
      description: Its URL, without passwords.
      type: str
    branch:
      description: The branch that it follows, if the file names one.
      type: str
    old:
      description: The state before; null if it was added.
      type: dict
      contains: &state
        revision:
          description: The commit, or the version of a release; empty if it has none.
          type: str
        hash:
          description: The hash, as in the file.
          type: str
        time:
          description: The time of the revision, in seconds since the epoch; null if the file does not have it.
          type: int
    new:
      description: The state now, or in check mode the state that it would have; null if it was removed.
      type: dict
      contains: *state
    changed:
      description: Whether the old and the new state differ.
      type: bool
    updatable:
      description: Whether this module can update it.
      type: bool
    refusal:
      description: The reason why it cannot; empty if it can.
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
held:
  description: The inputs that stay as they are because of O(min_age_days), each with the reason.
  returned: success
  type: dict
notes:
  description: Problems that are not a failure, in sentences.
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
  sample: update the pins
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
