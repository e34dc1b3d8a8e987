#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_copy
short_description: Copy store paths with all they refer to onto a host
description:
  - Makes store paths and their closures valid in the Nix store of the host. Only what the host lacks travels.
  - It uses the connection that Ansible has to the host, with its port, key, jump host, password and privilege
    escalation. Nothing is configured a second time.
  - Over C(ssh), Nix's own protocol runs through Ansible's multiplexed connection, and through C(sudo) or whatever
    else O(ignore:become_method) is. Over any other connection (Docker, Podman, chroot, paramiko and so on), when
    privilege escalation asks for a password, or when a password login is not multiplexed, exactly the missing paths
    are sent through the connection.
  - A host that has everything already is asked once and answers V(ok). A path that is valid in a Nix store has its
    whole closure there, so only O(paths) themselves are asked for.
  - An attempt that was cut off goes on with the paths that had not arrived.
  - The host needs C(sh) and Nix, and no Python. C(gunzip) as well when O(compress=true) and the paths are streamed.
extends_documentation_fragment:
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Lists what would be copied, with sizes, in the same return values. What the host would fetch from its own
        substituters is among it, since asking them is left out.
      - Paths that have not been built yet are in RV(unbuilt). What they refer to is not known then.
  diff_mode:
    support: full
    details:
      - Shows every missing path with its size.
options:
  paths:
    description:
      - The store paths to copy, such as the toplevel of a system.
      - A derivation (C(.drv)) is copied itself, together with all that building it needs.
      - Either this or O(build) is required.
    type: list
    elements: str
    aliases: [path]
  build:
    description:
      - What M(nixferry.deploy.nix_build) returned, for this host or for many. Its toplevel for this host is copied,
        and a build that failed for this host fails this task with the build's own message.
    type: dict
  from:
    description:
      - The address of the Nix store to copy from, when it is not the one of the controller.
      - A binary cache (V(https://...), V(s3://...), V(file:///...)) is read by the host itself, so the host needs
        access to it.
      - Another machine (V(ssh://user@machine), V(ssh-ng://...)) is read by the controller, with the ssh settings of
        the user who runs Ansible. The paths pass through the controller. They are stored there as well when they go
        on as a stream.
    type: str
  to_root:
    description:
      - A directory on the host that has the store below it, as V(/mnt) has C(/mnt/nix/store) while a system is being
        installed. It is made when it is not there.
    type: path
  substitute_on_destination:
    description:
      - Whether the host may fetch from its own substituters what they have. Only the rest is sent.
      - Substituters that do not answer are given up after a few seconds.
      - Without effect with O(from) a binary cache, and on the controller itself.
    type: bool
    default: true
  compress:
    description:
      - Whether to compress what is sent. Worth it on slow links only.
      - With V(false), C(ssh) does what its settings say. The default C(ssh_args) of Ansible have C(-C), which
        compresses.
      - With V(true), a C(ssh) connection that does not compress is not used. The copy opens another one that does,
        unless the login needs a password.
    type: bool
    default: false
  check_sigs:
    description:
      - Whether the host takes only paths that are signed by a key among its C(trusted-public-keys).
      - With V(false), paths are taken as they are, which the host's Nix grants to C(root) and its C(trusted-users)
        only. Others can copy signed paths only, whatever is set here.
      - An export of Nix carries no signatures, so streamed paths travel as a small binary cache with V(true). A user
        who is not trusted needs that for every connection but C(ssh).
    type: bool
    default: false
  retries:
    description:
      - How many further attempts follow when a connection breaks. The pauses between them grow from one second to
        half a minute.
      - A host that cannot be reached at all, and errors that another attempt cannot heal, fail at once.
    type: int
    default: 3
  timeout:
    description:
      - Seconds that everything together may take. V(0) means no limit.
      - While paths are streamed it is looked at after every piece.
    type: int
    default: 7200
notes:
  - The user on the host (the one of O(ignore:become), if it is used) has to be allowed to add paths. C(root) always is.
    Otherwise there are three ways. Use O(ignore:become). Or sign the paths with a key that the host trusts. Or put the
    paths into a binary cache that the host has among its C(substituters).
  - Do not combine it with O(ignore:delegate_to), as the host of the task is the destination.
seealso:
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
    - The way the paths took.
    - V(ssh) is Nix's own protocol over ssh, V(stream) is exported paths through another connection, V(fetch) is the
      host reading O(from), V(local) is the controller's own store, and V(none) means that there was nothing to do.
  returned: success
  type: str
  sample: ssh
missing:
  description: What the host lacked, in check mode too.
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
copied:
  description: The paths that were sent; in check mode those that would be.
  returned: success
  type: list
  elements: str
copied_paths:
  description: How many paths RV(copied) has.
  returned: success
  type: int
substituted:
  description: The paths that the host fetched from its own substituters.
  returned: success
  type: list
  elements: str
nar_size:
  description: Bytes of RV(copied) together, uncompressed.
  returned: success
  type: int
attempts:
  description: How many attempts it took; V(0) when nothing was sent.
  returned: success
  type: int
unbuilt:
  description:
    - The paths that the controller has not built yet, in check mode. They are in RV(missing) with size 0.
    - Without check mode such a path is an error.
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
  sample: copy
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
