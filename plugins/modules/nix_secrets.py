#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_secrets
short_description: Place secrets on a host, outside the Nix store
description:
  - Compares all secrets of a host in one round trip, and sends those that differ in one more. Everything travels on
    standard input of Ansible's own connection; on the controller, contents are held in memory only.
  - The task places all of them or none. A file has its owner and mode before its content, and appears by a rename.
  - No content and no hash of a content is printed or returned. Contents are compared by hashes under a new key for each
    comparison.
  - The host needs C(sh), the usual small programs (coreutils or busybox) and root. No Python. Linux only.
extends_documentation_fragment:
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Contents are read on the controller to compare them, so files must exist and commands are run.
  diff_mode:
    support: full
    details:
      - Shows which secrets change, owners and modes, and whether the content is new. Never contents or hashes.
options:
  secrets:
    description:
      - The secrets by name. The options are those of NixOps' C(deployment.keys); its own spellings
        (C(keyFile), C(keyCommand), C(destDir), C(uploadAt)) are understood as well, and so are the words of
        M(ansible.builtin.copy), C(content) for C(text), C(src) for C(file), C(dest) for C(path), C(owner) for C(user),
        C(mode) for C(permissions).
      - The names of the options below are those of each entry.
      - Exactly one of C(text), C(file) and C(command) gives the content. C(text) is any string, such as a variable from
        a vault or a lookup. C(file) is on the controller; if Ansible Vault encrypts it, it is decrypted in memory.
        C(command) is a list of words or a line, run on the controller without a shell; its output is the content. Other
        users of the controller can see the words, so none of them may be a secret.
      - C(allow_empty), V(false) by default, is whether a C(command) that prints nothing places an empty file. Otherwise
        the task fails.
      - C(dest_dir) is the directory, and C(name) the name of the file there, by default that of the entry. C(path)
        replaces both.
      - C(user), C(group) (default V(root)) and C(permissions) (default V("0600")).
      - C(upload_at) is V(pre-activation) (default) or V(post-activation), see O(phase).
      - C(storage) is V(tmpfs), V(persistent) or V(sealed), see O(storage).
      - C(restart_units) and C(reload_units) are units to restart or reload, only if the content has changed.
      - All parent directories must belong to root and not be writable by others. Places in the Nix store, and existing
        files that are not regular, are refused.
      - One of O(secrets) and O(fleet) is required.
    type: dict
  fleet:
    description:
      - A fleet file, or a flake, as in the O(nixferry.deploy.nix_build#module:fleet) option of
        M(nixferry.deploy.nix_build). Its secrets of this host are placed as well. These are C(deployment.keys) of
        NixOps and colmena, C(deployment.secrets) of morph, and C(secrets.files) of nixus. An entry of O(secrets) with
        the same name wins.
      - The controller evaluates it when the secrets are placed, for this host alone. Contents in the result stay in
        memory.
      - A relative file is relative to the directory of the fleet, and commands run there. If the fleet is a remote
        flake, it is the directory of the playbook.
      - Secrets outside C(/run) have C(storage=persistent), unless the fleet sets another C(storage).
      - C(action) of morph is understood if it restarts or reloads units. Any other action is not run, and a warning
        says so.
      - A key without content, as the module C(nixosModules.keys) of the collection's flake allows, takes its content
        from an entry in O(secrets), which must exist. Other options that this entry leaves out come from the fleet.
    type: raw
  fleet_format:
    description: The format of O(fleet). V(auto), the default, detects it.
    type: str
    choices: [auto, nixops, morph, nixus, colmena, deploy-rs, nixos, darwin, home-manager]
  args:
    description: Arguments for O(fleet) if it is a function. Not for secrets.
    type: dict
    default: {}
  argstrs:
    description: Like O(args), with every value turned into a string.
    type: dict
    default: {}
  override_inputs:
    description: Inputs of a flake in O(fleet) to replace, as names with flake references.
    type: dict
    default: {}
  impure:
    description: Whether the evaluation of a flake may depend on the environment and on files outside of it.
    type: bool
    default: false
  include:
    description: Entries of the search path for files in O(fleet), such as V(nixpkgs=/path/to/nixpkgs).
    type: list
    elements: str
    default: []
  dest_dir:
    description:
      - The directory of all secrets without a C(dest_dir) of their own. The default depends on their O(storage),
        V(/run/keys) or V(/var/lib/nixferry-keys).
      - A missing directory is created. It belongs to the group C(keys) with mode 0750 if that group exists, as on
        NixOS, and has mode 0711 elsewhere.
    type: str
  storage:
    description:
      - The storage of secrets without a C(storage) of their own.
      - V(tmpfs), the default, in main memory, in a directory on tmpfs or ramfs. A reboot loses them; this task, or the
        playbook C(nixferry.deploy.secrets), places them again.
      - V(persistent) on the disk, unencrypted.
      - V(sealed) in main memory, and on the disk encrypted by C(systemd-creds) with the key of the host. A unit places
        them again at boot without a controller. Needs systemd 250 or later.
    type: str
    choices: [tmpfs, persistent, sealed]
  phase:
    description:
      - Which secrets to place. V(all) of them, those with C(upload_at=pre-activation), or those with
        C(upload_at=post-activation).
      - With V(pre-activation) an owner need not exist yet. The secret then belongs to root, with mode 0600. The task
        after the activation, or the guard with O(stage), gives it to its owner.
    type: str
    choices: [all, pre-activation, post-activation]
    default: all
  exclusive:
    description:
      - Whether to remove secrets that this collection placed earlier and that are no longer declared. Other files are
        left alone. Nothing is removed with O(phase=pre-activation), as the old system may still need it.
    type: bool
    default: false
  stage:
    description:
      - Whether to only prepare the secrets. The guard puts them into place when it activates the new system, and
        restores the old ones if it rolls back.
      - Pass the returned RV(set) to the O(nixferry.deploy.nix_switch#module:secrets) option of
        M(nixferry.deploy.nix_switch).
    type: bool
    default: false
notes:
  - With C(display_args_to_stdout) Ansible prints the arguments of every task. Set C(no_log) for the task if you use
    that. The result contains no secrets.
seealso:
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Place what the service reads
  nixferry.deploy.nix_secrets:
    secrets:
      app-env:
        text: "PASSWORD={{ vault_app_password }}"
        user: app
        permissions: "0400"
        restart_units: [app.service]
      tls-key:
        file: secrets/tls-key.pem
        storage: sealed
        group: nginx
        permissions: "0640"
        reload_units: [nginx.service]
      backup:
        command: [pass, show, hosts/backup]
        storage: persistent
    exclusive: true
  become: true

- name: Place what the network of NixOps declares for the host
  nixferry.deploy.nix_secrets:
    fleet: network.nix
  become: true
"""

RETURN = r"""
secrets:
  description: The changes, or in check mode those that would be made, by the name of the secret.
  returned: success
  type: dict
  contains:
    path:
      description: The path of the file.
      type: str
    change:
      description: The differences to the declaration, of V(new), V(content), V(owner) and V(mode).
      type: list
      elements: str
  sample: {app-env: {path: /run/keys/app-env, change: [content]}}
removed:
  description: Paths that are removed.
  returned: success
  type: list
  elements: str
waiting_for_owner:
  description: Secrets whose owner does not exist yet, and which belong to root until then.
  returned: success
  type: list
  elements: str
units:
  description: Units that are restarted or reloaded.
  returned: success
  type: list
  elements: str
set:
  description: The name of the prepared set, with O(stage); empty if nothing has changed.
  returned: success
  type: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: place the secrets
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
