#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_cache_gc
short_description: Collect garbage in a binary cache
description:
  - Removes the paths that no pointer needs from a binary cache that is a directory. Current pointers count, and those
    that are kept for a rollback. Nix has no such command.
  - Descriptions are removed first, then the contents that no description names any more.
  - Waits for publishers on this machine that write to the same O(pointers), and keeps new ones out meanwhile.
  - Runs on the controller only. No host is contacted. Nix is not needed.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Lists the store paths that go.
options:
  cache:
    description: The directory of the cache.
    type: path
    required: true
  pointers:
    description:
      - The directory of the pointers, O(nixferry.deploy.nix_publish#module:pointers). The closures of all current and
        kept pointers of all channels stay.
      - At least one of this and O(roots) is required.
    type: path
  roots:
    description: Further store paths to keep, with their closures.
    type: list
    elements: str
    default: []
  grace_days:
    description:
      - Files that are younger than this stay. Choose more days than a publish takes that does not write to
        O(pointers), and than hosts need to fetch what a pointer has just named.
    type: float
    default: 7
  ignore_missing:
    description:
      - Whether to go on if the cache lacks paths that must be kept. Otherwise that is an error, since the pointers
        may belong to another cache.
    type: bool
    default: false
seealso:
  - module: nixferry.deploy.nix_publish
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Remove what no pointer needs
  nixferry.deploy.nix_cache_gc:
    cache: /srv/www/cache
    pointers: /srv/www/pointers
"""

RETURN = r"""
removed_paths:
  description: The number of store paths whose descriptions were removed, or would be in check mode.
  returned: success
  type: int
removed_contents:
  description: The number of contents that were removed.
  returned: success
  type: int
removed_size:
  description: Their size in bytes.
  returned: success
  type: int
kept_paths:
  description: The number of store paths that the cache still has.
  returned: success
  type: int
kept_size:
  description: The size of their contents in bytes.
  returned: success
  type: int
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: collect garbage
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
