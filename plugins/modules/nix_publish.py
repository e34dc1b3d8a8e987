#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_publish
short_description: Publish systems to a binary cache, and signed pointers to them
description:
  - Copies the closures of built systems to a binary cache, signed, and checks through the cache's public address that a
    host gets every path of them.
  - Only then writes one signed pointer a host. It names the store path that the host should run, the host, the channel,
    a serial number that only grows, and the time at which it expires.
  - The signatures of a binary cache say what a store path contains, not which path a host should run. With pointers,
    an attacker who controls the web server can withhold an update, but cannot make a host run an old or a foreign
    system.
  - An interrupted publish leaves the old pointers valid. The pointers of all hosts are written after the closures of
    all hosts are complete.
  - Nothing is written if the pointers name the same paths already and have more than half of their life left.
  - Runs on the controller only. No host is contacted, so run it once for all hosts (O(ignore:run_once)).
requirements:
  - boto3 on the controller, to write to C(s3://) itself.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Reads the pointers and says which would change. The cache is not looked at.
  diff_mode:
    support: full
    details:
      - Lists host and store path of the pointers that change.
options:
  build:
    description:
      - The result of M(nixferry.deploy.nix_build), for one host or for many.
      - If the build of one of the hosts failed, nothing is published.
      - Exactly one of this, O(toplevels), O(to) and O(revert) is required.
    type: dict
  toplevels:
    description: The store paths to publish, by host. They must be in the controller's store.
    type: dict
  hosts:
    description:
      - The hosts to publish for. The default is all hosts in O(build) or O(toplevels).
      - Required with O(to).
    type: list
    elements: str
  to:
    description:
      - Publish an earlier system of O(hosts) again, under a new serial number. Hosts never accept an old pointer, so
        this is how to roll a channel back.
      - V(previous), or the serial number of a pointer in the channel's history. For V(previous) the channel's
        C(index.json) is needed.
      - The cache must still have the closures. They are verified, not copied.
    type: str
  revert:
    description:
      - Publish the systems again that an earlier task has replaced, under a new serial number. Give RV(published) of
        that task.
      - A host whose system that task has not changed stays as it is, and so does one for which something else was
        published since. See RV(not_reverted).
    type: dict
  waves:
    description:
      - Lists of hosts that get their pointers one list after the other. The hosts that no list names come last.
      - An item is the name of a host or of a group in the inventory, or a share of all hosts such as V(10%).
    type: list
    elements: list
    default: []
  wave:
    description:
      - Write only the pointers of this wave, counted from V(0). The closures of all hosts are copied and verified
        first.
      - There is one wave more than lists in O(waves). The default is all hosts at once.
    type: int
  cache:
    description:
      - The binary cache to write to. An absolute path of a directory, C(file://), C(http://) or C(https://) for a
        server that takes files by PUT, or C(s3://).
      - It may have options of Nix, such as C(?compression-level=3), and for a bucket C(endpoint), C(region),
        C(profile), C(scheme) and C(addressing-style).
      - The task itself writes to C(s3://) if the Python library C(boto3) is installed for the Python that runs Ansible,
        and with O(certificate). Nix then writes what is missing into the temporary directory of Ansible, which needs
        the space. Without C(boto3), Nix writes to C(s3://), if its build has object stores and logins to them.
    type: str
    required: true
  cache_key:
    description:
      - The file with the secret key that signs the paths in the cache, as in
        O(nixferry.deploy.nix_sign#module:key_file).
      - Nix reads the key from the file directly. It appears in no argument, no log and no result.
      - Required unless the paths have the signature of one of O(public_keys) already.
      - A path that the cache has without a trusted signature gets this one, if the store of this machine has it with
        the same content. Otherwise the task fails.
    type: path
  public_url:
    description:
      - The address from which hosts read O(cache). C(http://), C(https://), C(file://) or C(s3://).
      - The default is O(cache) without its options, except for those of a bucket.
    type: str
  public_keys:
    description:
      - Public keys that hosts trust, in the format of C(trusted-public-keys). Every path must have the signature of one
        of them, or of O(cache_key).
    type: list
    elements: str
    default: []
  compression:
    description:
      - The compression of new content in the cache.
      - The default of Nix itself, V(xz), makes files that are a quarter smaller and takes a hundred times as long.
    type: str
    choices: [zstd, xz, gzip, bzip2, none]
    default: zstd
  netrc_file:
    description:
      - A netrc file with the logins for O(cache), O(public_url) and O(pointers). Only its owner should be able to
        read it.
    type: path
  certificate:
    description:
      - The file of a certificate in PEM format, with its chain, with which the task logs in to servers behind
        C(https://) that ask for one, the same for all addresses of the task.
      - Required together with O(certificate_key).
    type: path
  certificate_key:
    description:
      - The file of the secret key of O(certificate), without a passphrase. Its owner and group only may read it.
    type: path
  pointers:
    description:
      - Where the pointers are written. An absolute path of a directory, an address that takes files by HTTP PUT, or
        C(s3://), which needs the Python library C(boto3).
      - A host reads C(CHANNEL/hosts/HOST) below it. C(CHANNEL/history/HOST/SERIAL) keeps earlier pointers.
        C(CHANNEL/index.json) lists all hosts for people and tools.
    type: str
    required: true
  channel:
    description: The name of the channel. A pointer is valid for one channel.
    type: str
    default: stable
  pointer_key:
    description:
      - The file with the secret key of OpenSSH that signs pointers, without a passphrase. OpenSSH refuses it if other
        users can read it.
      - Or the file of a public key, if an ssh-agent holds the secret one.
      - Make one with C(ssh-keygen -t ed25519 -N '' -f pointer).
    type: path
    required: true
  trusted_pointer_keys:
    description:
      - Further public keys, as lines of C(.pub) files, which may have signed the current pointers. Name the old key
        here during a key rotation.
    type: list
    elements: str
    default: []
  valid_days:
    description: The days after which a pointer expires. A host refuses an expired one.
    type: int
    default: 14
  keep:
    description: The number of pointers to keep for each host, the current one included.
    type: int
    default: 10
  renew:
    description: Whether to write new pointers even if the current ones name the same paths.
    type: bool
    default: false
  verify:
    description:
      - Ask O(public_url) for the description and the content of every path before any pointer is written.
      - A host cannot update if its pointer names a closure that its cache lacks.
    type: bool
    default: true
  timeout:
    description: The timeout of a copy to the cache, in seconds.
    type: int
    default: 7200
  progress:
    description:
      - How progress is shown. V(auto) refreshes one line on a terminal and prints a plain line now and then elsewhere;
        V(lines) never refreshes; V(none) shows nothing.
    type: str
    choices: [auto, lines, none]
    default: auto
notes:
  - Two publishers on one machine wait for each other. HTTP has no lock. Let one publisher at a time write to a channel
    behind HTTP.
  - The login for C(s3://) comes from where AWS's own programs look for it, such as C(~/.aws/credentials), or the role
    of the machine.
seealso:
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_sign
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Publish what was built for all hosts
  nixferry.deploy.nix_publish:
    build: "{{ build }}"
    cache: /srv/cache
    public_url: https://cache.example.org
    cache_key: ~/.config/nixferry/cache.key
    pointers: /srv/pointers
    pointer_key: ~/.config/nixferry/pointer
  run_once: true

- name: Take two hosts back to the system that they had before
  nixferry.deploy.nix_publish:
    to: previous
    hosts: [web1, web2]
    cache: /srv/cache
    public_url: https://cache.example.org
    cache_key: ~/.config/nixferry/cache.key
    pointers: /srv/pointers
    pointer_key: ~/.config/nixferry/pointer
  run_once: true
"""

RETURN = r"""
published:
  description: The pointers of the hosts after the task, by host. In check mode as they would be.
  returned: success
  type: dict
  contains:
    toplevel:
      description: The store path.
      type: str
    serial:
      description: The serial number.
      type: int
    expires:
      description: When the pointer expires, in seconds since the epoch.
      type: int
    changed:
      description: Whether the task wrote this pointer.
      type: bool
    previous_toplevel:
      description: The store path before the task, V(none) without an earlier pointer.
      type: str
    previous_serial:
      description: The serial number before the task, V(none) without an earlier pointer.
      type: int
serial:
  description: The serial number of the pointers that the task wrote, the same for all of them; V(none) if it wrote
    none.
  returned: success
  type: int
verified_paths:
  description: How many paths were found complete in the cache. V(0) in check mode and without O(verify).
  returned: success
  type: int
download_size:
  description: The bytes that a host without any of these paths would fetch.
  returned: success
  type: int
pending:
  description: With O(wave), the hosts of later waves whose pointers do not name their systems yet.
  returned: success
  type: list
  elements: str
not_reverted:
  description: With O(revert), the hosts that stay as they are, each with the reason.
  returned: success
  type: dict
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: publish
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
