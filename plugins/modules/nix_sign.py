#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_sign
short_description: Sign closures on the controller with a deploy key
description:
  - Signs store paths, and all that they refer to, in the controller's store. A host that trusts the key takes them from
    every user, so nobody who deploys needs to be trusted by the host's Nix.
  - All closures are signed in one call of Nix. What carries the key's signature already is passed over.
  - O(nixferry.deploy.nix_build#module:sign_key) does the same as part of a build.
  - Runs on the controller only. No host is contacted.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Lists the paths that get a signature.
options:
  key_file:
    description:
      - The file with the secret key, on the controller. A relative path counts from the playbook.
      - Nix reads the key from the file by itself. It is in no argument, no log and no result.
      - A file that others than its owner and group may read, or others than its owner may change, is refused.
      - C(nix key generate-secret --key-name example-1 > deploy.key) makes one, after C(umask 077) and with
        C(--extra-experimental-features nix-command) where that is needed.
    type: path
    required: true
  paths:
    description:
      - The store paths to sign, such as the toplevel of a system, with their closures.
      - Either this or O(build) is required.
    type: list
    elements: str
    aliases: [path, toplevel]
  build:
    description:
      - What M(nixferry.deploy.nix_build) returned, for one host or for many. All toplevels in it are signed, so
        once for all hosts is enough (O(ignore:run_once)).
    type: dict
  timeout:
    description: Seconds that it may take.
    type: int
    default: 1800
seealso:
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_copy
  - module: nixferry.deploy.nix_trusted_key
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Sign what was built for all hosts
  nixferry.deploy.nix_sign:
    build: "{{ build }}"
    key_file: ~/.config/nixferry/deploy.key
  run_once: true
"""

RETURN = r"""
key_name:
  description: The name of the key.
  returned: success
  type: str
  sample: example-1
public_key:
  description: The public key, as C(trusted-public-keys) takes it.
  returned: success
  type: str
  sample: example-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=
signatures_added:
  description: How many paths got a signature, or would get one in check mode.
  returned: success
  type: int
paths:
  description: The store paths whose closures are signed.
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
  sample: sign
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
