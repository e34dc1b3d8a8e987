#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_netboot_release
short_description: Make what a machine fetches to boot a system from the network
description:
  - Makes a release of a NixOS system. It has the kernel, the initial RAM disk, the closure of the system, a script of
    iPXE, a manifest, and the checksums of all these. A release is named after its checksums.
  - The system must be one that boots from the network. Its configuration imports C(installer/netboot/netboot.nix) of
    nixpkgs. The toplevel is that of a deploy, so that nothing else has to be evaluated or built.
  - The closure is packed on the controller by C(mksquashfs), without root. The same toplevel gives the same release,
    with the same C(mksquashfs).
  - Runs on the controller only. No host is contacted.
extends_documentation_fragment:
  - nixferry.deploy._fleet_secrets
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - The name of a release that would be made is not known beforehand.
  diff_mode:
    support: none
options:
  build:
    description: The result of M(nixferry.deploy.nix_build), whose system of this host is taken.
    type: dict
  toplevel:
    description: The store path of a system in the controller's store.
    type: str
  work:
    description:
      - The directory on the controller in which the release is made, in a directory of its name. A relative path is
        relative to the playbook. It needs room for twice the packed system.
    type: path
    required: true
  present:
    description:
      - The releases that the web server has, with their manifests, as M(nixferry.deploy.nix_netboot_pointer) returns
        them. If one of them has the same system, nothing is made.
    type: dict
    default: {}
  compression:
    description: How the closure is packed. V(xz) gives the smallest release, V(lz4) the one that is made fastest.
    type: str
    choices: [zstd, xz, gzip, lz4]
    default: zstd
  timeout:
    description: The seconds after which packing is given up.
    type: int
    default: 3600
  secrets:
    description:
      - The secrets that are declared for the host, as in O(nixferry.deploy.nix_secrets#module:secrets). None of them is
        put into the release. The task fails if the system has the content of one of them, before there is a release,
        since every client of the web server could read it.
      - A content is found as it is, anywhere in a file of the closure. One of fewer than 8 bytes is found only where it
        is all of a file. What is compressed or encoded is not found.
      - Contents are read only when a release is made, or would be in check mode.
    type: dict
seealso:
  - module: nixferry.deploy.nix_netboot_pointer
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Make the release of a system
  nixferry.deploy.nix_netboot_release:
    build: "{{ built }}"
    work: releases
  register: made
"""

RETURN = r"""
release:
  description: The name of the release. Empty in check mode for one that would be made.
  returned: success
  type: str
  sample: 3f0c9f4b7a1d4e0f9c1be5b1c2a7d6e8
toplevel:
  description: The store path of the system.
  returned: success
  type: str
directory:
  description: The directory on the controller with the release. Empty if nothing was made.
  returned: success
  type: str
size:
  description: The bytes that a machine fetches to boot it. V(0) if nothing was made.
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
  sample: make the release
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
