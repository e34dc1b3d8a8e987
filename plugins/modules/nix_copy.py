#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_copy
short_description: Copy store paths and their closures to a host
description:
  - Makes store paths and their closures valid in the Nix store of the host. Only missing paths are sent.
  - It uses the connection that Ansible has to the host, with its port, key, jump host, password and privilege
    escalation. Nothing is configured a second time.
  - Over C(ssh), Nix's own protocol runs through Ansible's multiplexed connection, and through C(sudo) or another
    O(ignore:become_method). The missing paths are streamed through the connection instead if it is any other connection
    (Docker, Podman, chroot, paramiko and so on), if privilege escalation asks for a password, or if a password login is
    not multiplexed.
  - A host that already has everything is asked once and answers V(ok). A path that is valid in a Nix store has its
    whole closure there, so only O(paths) themselves are queried.
  - An interrupted attempt continues with the paths that had not arrived.
  - The host needs C(sh) and Nix, and no Python. C(gunzip) as well when O(compress=true) and the paths are streamed.
extends_documentation_fragment:
  - nixferry.deploy._transfer
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Lists what would be copied, with sizes, in the same return values. This includes paths that the host would fetch
        from its own substituters, since they are not asked.
      - Paths that have not been built yet are in RV(unbuilt). Their references are not known then.
  diff_mode:
    support: full
    details:
      - Shows every missing path with its size.
options:
  paths:
    description:
      - The store paths to copy, such as the toplevel of a system.
      - A derivation (C(.drv)) is copied itself, together with everything that building it needs.
      - Either this or O(build) is required.
    type: list
    elements: str
    aliases: [path]
  build:
    description:
      - The result of M(nixferry.deploy.nix_build), for this host or for many. The task copies its toplevel for this
        host. If the build failed for this host, the task fails with the build's own message.
    type: dict
  to_root:
    description:
      - A directory on the host with a store below it, for instance V(/mnt) with C(/mnt/nix/store) during the
        installation of a system. It is created if it does not exist.
    type: path
notes:
  - The user on the host (the become user, with O(ignore:become)) must be allowed to add paths. C(root) always is.
    Otherwise there are three ways. Use O(ignore:become), sign the paths with a key that the host trusts, or put the
    paths into a binary cache among the host's C(substituters).
  - Do not combine it with O(ignore:delegate_to), as the host of the task is the destination.
seealso:
  - module: nixferry.deploy.nix_deploy
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
- name: Copy the system that was built
  nixferry.deploy.nix_copy:
    path: "{{ built.toplevel }}"

- name: Install a system below /mnt, compressed because the link is slow
  nixferry.deploy.nix_copy:
    path: "{{ built.toplevel }}"
    to_root: /mnt
    compress: true

- name: Let the host fetch from the cache of the company, signed paths only
  nixferry.deploy.nix_copy:
    paths:
      - "{{ built.toplevel }}"
      - "{{ tools.store_path }}"
    from: https://cache.example.org
    check_sigs: true

- name: Show what would be copied
  nixferry.deploy.nix_copy:
    path: "{{ built.toplevel }}"
  check_mode: true
  diff: true
"""

RETURN = r"""
transport:
  description:
    - The way of transfer.
    - V(ssh) is Nix's own protocol over ssh, V(stream) is exported paths through another connection, V(fetch) means that
      the host read O(from), V(local) is the controller's own store, and V(none) means that there was nothing to do.
  returned: success
  type: str
  sample: ssh
missing:
  description: The paths that the host lacked, in check mode too; see O(list_paths).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The store path.
      type: str
    nar_size:
      description: Its size as a NAR, in bytes, which is close to its size on disk.
      type: int
  sample: [{"path": "/nix/store/9kgsvx4rbddk4gkkv7bmz7dgj4nsa8rg-web-1.0", "nar_size": 4711}]
missing_paths:
  description: The number of paths that the host lacked.
  returned: success
  type: int
copied:
  description: The paths that were sent; in check mode those that would be. See O(list_paths).
  returned: success
  type: list
  elements: str
copied_paths:
  description: The number of paths that were sent.
  returned: success
  type: int
substituted:
  description: The paths that the host fetched from its own substituters; see O(list_paths).
  returned: success
  type: list
  elements: str
substituted_paths:
  description: The number of paths that the host fetched from its own substituters.
  returned: success
  type: int
nar_size:
  description: The total size of all paths that were sent, in bytes, uncompressed.
  returned: success
  type: int
attempts:
  description: The number of attempts; V(0) if nothing was sent.
  returned: success
  type: int
unbuilt:
  description:
    - The paths that the controller has not built yet, in check mode. They are in RV(missing) with size 0.
    - Without check mode such a path is an error. See O(list_paths).
  returned: success
  type: list
  elements: str
unbuilt_paths:
  description: The number of paths that the controller has not built yet, in check mode.
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
  sample: copy
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
