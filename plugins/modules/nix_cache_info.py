#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_cache_info
short_description: Find out whether a binary cache has whole closures
description:
  - Follows the references of store paths through a binary cache, and requests the description, the signature and the
    content of every path in the way that hosts do.
  - Nix itself reports a forbidden path, a wrong key, a broken description and an outdated C(404) of a proxy as an
    absent path. This module tells them apart.
  - It ignores what Nix remembers of earlier answers.
  - Runs on the controller only. No host is contacted. Nix is not needed.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  url:
    description:
      - The address of the cache, C(http://), C(https://), C(file://), or the absolute path of a directory.
    type: str
    required: true
  origin:
    description:
      - The address of the same cache behind a proxy. A path that it has and O(url) lacks is then reported with the
        fault V(stale).
    type: str
  paths:
    description: The store paths to look for, with their closures. Either this or O(build) is required.
    type: list
    elements: str
    aliases: [path, toplevel]
  build:
    description: The result of M(nixferry.deploy.nix_build), whose toplevels are checked.
    type: dict
  public_keys:
    description:
      - Public keys, of which one must have signed each path. Without any, signatures are not checked.
    type: list
    elements: str
    default: []
  contents:
    description: Whether to check that the contents exist too, with a second request for each path. They are not
      downloaded.
    type: bool
    default: true
  netrc_file:
    description: A netrc file with the logins for O(url) and O(origin).
    type: path
  certificate:
    description:
      - The file of a certificate in PEM format, with its chain, with which the task logs in to servers behind
        C(https://) that ask for one.
      - Required together with O(certificate_key).
    type: path
  certificate_key:
    description:
      - The file of the secret key of O(certificate), without a passphrase. Its owner and group only may read it.
    type: path
seealso:
  - module: nixferry.deploy.nix_publish
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Look whether hosts would get a system
  nixferry.deploy.nix_cache_info:
    url: https://cache.example.org
    path: /nix/store/4f0ghzwv2ms8dnzw9q8kvlj0qcbmz7ih-nixos-system-web1
    public_keys: [cache.example.org-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=]
  register: cache
  failed_when: not cache.complete
"""

RETURN = r"""
complete:
  description: Whether the cache has every path of the closures.
  returned: success
  type: bool
found_paths:
  description: The number of paths that are there.
  returned: success
  type: int
download_size:
  description: The bytes that a host without any of these paths would fetch, as far as the cache gives sizes.
  returned: success
  type: int
nar_size:
  description: The bytes that they need in a store.
  returned: success
  type: int
wrong:
  description: What a host would not get. The search ends after some twenty of them.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The store path.
      type: str
    fault:
      description:
        - What is wrong. One of V(absent), V(forbidden), V(unreachable), V(not_a_narinfo), V(other_path), V(unsigned),
          V(no_content), V(truncated) and V(stale).
      type: str
    detail:
      description: What the server answered, or another detail.
      type: str
    remedy:
      description: What to do about it.
      type: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: read the cache
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
