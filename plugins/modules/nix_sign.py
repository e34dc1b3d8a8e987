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
  - Signs store paths and their closures in the controller's store. A host that trusts the key accepts them from every
    user, so the host's Nix need not trust any deployer.
  - All closures are signed in one call of Nix. Paths that already have the key's signature are skipped.
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
      - The file with the secret key, on the controller. A relative path is relative to the playbook.
      - Nix reads the key from the file directly. It appears in no argument, no log and no result.
      - The file is refused if users other than its owner and group may read it, or users other than its owner may
        change it.
      - Make one with C(nix key generate-secret --key-name example-1 > deploy.key), after C(umask 077) and with
        C(--extra-experimental-features nix-command) if needed.
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
      - The result of M(nixferry.deploy.nix_build), for one host or for many. All toplevels in it are signed, so run it
        once for all hosts (O(ignore:run_once)).
    type: dict
  timeout:
    description: The timeout in seconds.
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
  description: The public key, in the format of C(trusted-public-keys).
  returned: success
  type: str
  sample: example-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=
signatures_added:
  description: The number of paths that got a signature, or would get one in check mode.
  returned: success
  type: int
paths:
  description: The store paths whose closures are signed.
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
  sample: sign
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
