#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_key
short_description: Make signing keys, and rotate them without an outage
description:
  - Makes the keys that sign the contents of a binary cache, and those that sign pointers.
  - A key is replaced in three steps. V(next) makes a successor, V(promoted) makes it the signing key, V(retired) ends
    the trust in the old one. After each step let the hosts trust the keys in RV(trusted), before you take the next
    step.
  - Each step can be repeated, and then changes nothing.
  - Runs on the controller only. No host is contacted.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - A key that would be made is not known beforehand.
  diff_mode:
    support: full
    details:
      - Lists the public keys to trust. A secret key is never shown.
options:
  path:
    description:
      - The file of the secret key, on the controller. A relative path is relative to the playbook.
      - The successor lies beside it with the ending C(.next), the public keys of earlier ones in C(.old.pub). The
        public half of each has the ending C(.pub).
      - Secret keys are written with mode 0600. What is there is never overwritten.
    type: path
    required: true
  type:
    description:
      - V(cache) is a key of Nix, which signs the paths in a cache.
      - V(pointer) is a key of OpenSSH, which signs pointers.
    type: str
    choices: [cache, pointer]
    required: true
  name:
    description:
      - The name of a new key. Keys of Nix are told apart by it, so give the address of the cache. A number is added,
        which counts the successors.
    type: str
    default: publisher
  state:
    description:
      - V(present) makes a key unless there is one.
      - V(next) makes a successor unless there is one.
      - V(promoted) puts the successor into the place of the current key, whose public half is kept among the old
        ones.
      - V(retired) forgets the old ones. Do this at once if a key has leaked, as soon as the successor signs.
    type: str
    choices: [present, next, promoted, retired]
    default: present
seealso:
  - module: nixferry.deploy.nix_publish
  - module: nixferry.deploy.nix_trusted_key
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Make a key for the cache unless there is one
  nixferry.deploy.nix_key:
    path: keys/cache
    type: cache
    name: cache.example.org
  register: cache_key

- name: Prepare its successor
  nixferry.deploy.nix_key:
    path: keys/cache
    type: cache
    state: next
"""

RETURN = r"""
path:
  description: The file of the secret key.
  returned: success
  type: str
public_key:
  description: The public half of the key that signs. V(none) if check mode would make it.
  returned: success
  type: str
next_public_key:
  description: The public half of the successor, V(none) without one.
  returned: success
  type: str
old_public_keys:
  description: The public halves of keys that have signed before and are still trusted.
  returned: success
  type: list
  elements: str
trusted:
  description: The public keys that hosts must trust now.
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
  sample: make the key
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
