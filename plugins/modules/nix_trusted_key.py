#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_trusted_key
short_description: Let a host's Nix take what a key has signed
description:
  - Keeps public keys in a block of their own in C(/etc/nix/nix.conf) (C(nix.custom.conf) where Determinate Nix keeps
    C(nix.conf) for itself), and restarts a running Nix daemon when they change.
  - Needed once a host and key, as root. From then on every user may copy paths to the host that the key has signed.
  - A key that Nix trusts already, from whatever file, is left where it is.
  - On NixOS and nix-darwin the file is made by the system's configuration. There a key that is missing is an error, and
    belongs into C(nix.settings.trusted-public-keys).
  - The host needs C(sh) and Nix, and no Python.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the block. The rest of the file stays on the host, since it may hold tokens.
options:
  public_keys:
    description:
      - The keys as C(trusted-public-keys) takes them.
      - Either this or O(key_file) is required.
    type: list
    elements: str
    aliases: [public_key]
  key_file:
    description: A file on the controller with a secret key whose public half is meant. Only that leaves the controller.
    type: path
  state:
    description:
      - With V(absent) the keys are removed from the block. That a key is trusted for another reason is an error.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: nixferry.deploy.nix_sign
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Trust the deploy key, once and as root
  nixferry.deploy.nix_trusted_key:
    public_key: example-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=
  become: true
"""

RETURN = r"""
public_keys:
  description: The keys that are meant.
  returned: success
  type: list
  elements: str
file:
  description: The file that has the block, or would have it.
  returned: success
  type: str
  sample: /etc/nix/nix.conf
where:
  description: The machine on which it failed, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: What was being done when it failed.
  returned: failure
  type: str
  sample: trust the keys
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
