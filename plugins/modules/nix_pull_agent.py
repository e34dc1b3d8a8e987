#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_pull_agent
short_description: Let a host pull its systems
description:
  - Installs an agent on a running host, which regularly fetches the pointer that M(nixferry.deploy.nix_publish) has
    signed for this host, and then the system that it names. No deployer needs a login for that.
  - A user without privileges fetches, in a sandbox. Root verifies the signature again, without a network, and has the
    guard activate the system, the same program as for a deploy by push. It stays if the host still reaches its pointer
    and the health checks pass. Otherwise the old system comes back, and the new one is not activated again until it is
    cleared.
  - The host needs systemd 249 or later, C(ssh-keygen), and Nix with its daemon, whose configuration names the cache and
    its key. It needs no Python.
  - On a host without nss-systemd the module makes the user C(nixferry-pull).
  - On NixOS this is a bootstrap, with units in C(/etc/systemd/system.control). The module C(nixosModules.pull) of the
    collection's flake has the same agent for the configuration.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
  - nixferry.deploy._health
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the names of changed files.
options:
  state:
    description:
      - With V(absent) the agent is removed. Its state stays, so that a later installation continues from it.
      - With V(held) an installed agent activates nothing, until V(released) or for O(hold_seconds).
      - With V(cleared) it may activate a system again that was rolled back.
      - With V(forgotten) it accepts the branch of its O(repository) once, even if it was rewritten.
    type: str
    choices: [present, absent, held, released, cleared, forgotten]
    default: present
  hold_reason:
    description: Why the agent is held. The status says it.
    type: str
    default: held by a deployer
  hold_seconds:
    description: The seconds after which a hold ends; V(0) for a hold without an end.
    type: int
    default: 0
  url:
    description:
      - The address of the directory with the pointers, as the host reads it, C(https://), C(http://) or C(file://).
      - Either this or O(repository) is required with O(state=present).
    type: str
  channel:
    description:
      - The channel that the host follows.
    type: str
    default: stable
  host:
    description:
      - The name of the host in pointers. The default is its name in the inventory.
      - V(@hostname) stands for the name that the host has when the agent runs, without a domain. It is for an image
        that many hosts boot from.
    type: str
  public_keys:
    description:
      - The public keys of Nix of which one must have signed a system, in the format of C(trusted-public-keys).
      - Required with O(url).
    type: list
    elements: str
  pointer_keys:
    description:
      - The public keys of OpenSSH of which one must have signed a pointer, as lines of C(.pub) files.
      - Required with O(url).
    type: list
    elements: str
  repository:
    description:
      - The address of a git repository, C(https://), C(ssh://), C(http://) or C(file://). The host then builds its
        system by itself, from a branch, in place of pulling one that was built elsewhere.
      - Either this or O(url) is required with O(state=present). The host needs C(git).
    type: str
  branch:
    description:
      - The branch of O(repository) that the host follows. It may not be rewritten, see O(allow_rewrite).
    type: str
    default: main
  testing_branches:
    description:
      - Whether the branch C(testing-<host>) of O(repository) counts, while it is on top of O(branch). Its
        system is activated, and does not become the boot default.
    type: bool
    default: true
  attribute:
    description:
      - The system in O(repository). The default is where the flake usually has it, such as
        C(nixosConfigurations."web1".config.system.build.toplevel).
    type: str
  file:
    description:
      - A file of O(repository) with the O(attribute), such as V(default.nix). By default, the flake has it.
    type: str
  commit_keys:
    description:
      - The public keys of OpenSSH of which one must have signed the commit at the head of a branch, as lines of
        C(.pub) files. If this and O(commit_openpgp_keys) are empty, signatures are not checked, and a user who can push
        to O(repository) is root on the host.
    type: list
    elements: str
    default: []
  commit_openpgp_keys:
    description:
      - Public keys of OpenPGP of which one may have signed the commit in place of one of O(commit_keys), each as
        C(gpg --armor --export) prints it. The host needs C(gpg).
    type: list
    elements: str
    default: []
  commit_openpgp_fingerprints:
    description:
      - The whole fingerprints of O(commit_openpgp_keys) that may sign, or of their subkeys. Required with these.
    type: list
    elements: str
    default: []
  repository_key:
    description:
      - The content of a secret key of OpenSSH without a passphrase, such as a deploy key that may only read, for
        O(repository) with C(ssh://). The host needs C(ssh).
    type: str
  known_hosts:
    description:
      - The host keys of the server of O(repository), as lines of a C(known_hosts) file. Required with C(ssh://).
    type: list
    elements: str
    default: []
  min_commit:
    description:
      - The full name of a commit that O(branch) must contain, for a host without memory.
    type: str
  allow_rewrite:
    description:
      - Whether O(branch) may be rewritten, or go back to an older commit. With O(state=forgotten) it may once.
    type: bool
    default: false
  kind:
    description:
      - The kind of system.
    type: str
    choices: [nixos, system-manager, profile]
    default: nixos
  profile:
    description:
      - The profile that is set. Each O(kind) has its own default, except V(profile).
    type: path
  activate_command:
    description:
      - For O(kind=profile), the shell command that activates a closure, as in M(nixferry.deploy.nix_switch). It runs as
        root.
    type: str
  calendar:
    description:
      - When the host looks for a new system, as a calendar event of systemd.
    type: str
    default: "*:0/10"
  jitter:
    description:
      - The seconds over which hosts spread their checks. Each host has a fixed delay of its own.
    type: int
    default: 480
  windows:
    description:
      - The maintenance windows in which a new system is activated, such as V(Sat,Sun 22:00-04:00) or V(02:00-04:00), in
        the host's time zone. If empty, at any time.
    type: list
    elements: str
    default: []
  reboot:
    description:
      - Whether a system that only a reboot activates completely is booted, once, before it may stay.
      - With V(never) the status says that a reboot is needed. With V(window) the host reboots inside one of
        O(reboot_windows).
    type: str
    choices: [never, if-required, window]
    default: never
  reboot_windows:
    description:
      - The windows for O(reboot=window).
    type: list
    elements: str
    default: []
  min_serial:
    description:
      - The lowest serial that the host accepts before it has seen any.
    type: int
    default: 0
  min_free:
    description:
      - The MiB that a fetch leaves free on the store's file system.
    type: int
    default: 256
  addresses:
    description:
      - Further addresses of small files that a new system must reach, besides its pointer.
    type: list
    elements: str
    default: []
  timeout_activation:
    description:
      - The seconds that an activation may take, and a commit likewise.
    type: int
    default: 300
  timeout_confirm:
    description:
      - The seconds after an activation within which O(timeout_reach) and the health checks must have passed.
    type: int
    default: 180
  timeout_reach:
    description:
      - The seconds within which a new system must reach its pointer.
    type: int
    default: 60
  timeout_reboot:
    description:
      - The seconds within which a reboot must begin.
    type: int
    default: 600
  timeout_build:
    description:
      - The seconds within which the system of O(repository) must be evaluated and built.
    type: int
    default: 7200
  metrics_directory:
    description:
      - A directory for metrics in the format of node_exporter's textfile collector. It must exist.
    type: path
  report_url:
    description:
      - An address to which the status is sent by HTTP POST after each run. The host needs C(curl) for that.
    type: str
  certificate:
    description:
      - The path, on the host, of a certificate with which it logs in to the server of the pointers, or of
        O(repository). The role P(nixferry.deploy.cache_client#role) has the same for the cache. Nothing places the
        file. With pointers the host needs C(curl).
    type: path
  certificate_key:
    description:
      - The path, on the host, of its secret key, which only root should read. systemd gives it to the units that fetch.
    type: path
  netrc:
    description:
      - The content of a netrc file with the login for the pointers, or for O(repository). Nix has its own setting for
        the cache, C(netrc-file).
    type: str
seealso:
  - module: nixferry.deploy.nix_publish
  - module: nixferry.deploy.nix_trusted_key
  - module: nixferry.deploy.nix_guard
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Let the host pull its systems
  nixferry.deploy.nix_pull_agent:
    url: https://pointers.example.org
    public_keys: cache.example.org-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=
    pointer_keys: "{{ lookup('ansible.builtin.file', 'pointer.pub') }}"
    health_checks:
      - unit: nginx.service
  become: true

- name: Let a host of another distribution pull one service
  nixferry.deploy.nix_pull_agent:
    kind: profile
    profile: /nix/var/nix/profiles/web
    activate_command: systemctl restart web.service
    url: https://pointers.example.org
    public_keys: cache.example.org-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=
    pointer_keys: "{{ lookup('ansible.builtin.file', 'pointer.pub') }}"
    health_checks:
      - unit: web.service
  become: true
"""

RETURN = r"""
changed_files:
  description: The files, links and units that were changed, or would be.
  returned: success
  type: list
  elements: str
pointer_url:
  description: The address of the host's pointer; empty with O(state=absent), or with O(repository).
  returned: success
  type: str
  sample: https://pointers.example.org/stable/hosts/web1
version:
  description: The version of the agent's text; empty with O(state=absent).
  returned: success
  type: str
  sample: a7e95df37c57a32e
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: install the pull agent
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
