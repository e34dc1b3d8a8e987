#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_trusted_key
short_description: Let a host's Nix accept paths that a key has signed
description:
  - Keeps public keys in a block of its own in C(/etc/nix/nix.conf) (C(nix.custom.conf) where Determinate Nix manages
    C(nix.conf)), and restarts a running Nix daemon if they change.
  - Run it once per host and key, as root. From then on every user may copy paths that the key has signed to the host.
  - A key that Nix already trusts, from any file, is left where it is.
  - On NixOS and nix-darwin the system's configuration makes the file. There a missing key is an error, and belongs into
    C(nix.settings.trusted-public-keys).
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
      - The keys, in the format of C(trusted-public-keys).
      - Either this or O(key_file) is required.
    type: list
    elements: str
    aliases: [public_key]
  key_file:
    description: A file on the controller with a secret key, to use its public half. Only that leaves the controller.
    type: path
  state:
    description:
      - With V(absent) the keys are removed from the block. The task fails if a key is still trusted for another reason.
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
  description: The given keys.
  returned: success
  type: list
  elements: str
file:
  description: The file with the block, also if the block is not there yet.
  returned: success
  type: str
  sample: /etc/nix/nix.conf
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: trust the keys
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
