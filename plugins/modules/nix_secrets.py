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
    standard input of Ansible's own connection; contents are held in memory only on the controller.
  - All of them are placed or none. A file has its owner and mode before its content, and appears by a rename.
  - Nothing of a content is printed or returned, and no hash of one. What is compared are hashes under a key that is
    made anew each time.
  - The host needs C(sh), the usual small programs (coreutils or busybox) and root. No Python. Linux only.
extends_documentation_fragment:
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Contents are read on the controller to compare them, so files have to be there and commands are run.
  diff_mode:
    support: full
    details:
      - Shows which secrets change, owners and modes, and whether there is a new content. Never contents or hashes.
options:
  secrets:
    description:
      - The secrets by name. The options are those of NixOps' C(deployment.keys); its own spellings
        (C(keyFile), C(keyCommand), C(destDir), C(uploadAt)) are understood as well.
      - The names of the options below are those of each entry.
      - Exactly one of C(text) (any string, such as a variable from a vault or a lookup), C(file) (on the controller;
        one that Ansible Vault encrypts is decrypted in memory) and C(command) (a list of words or a line; run on the
        controller without a shell, its output is the content) says where the content comes from.
      - C(dest_dir) is the directory, and C(name) the name of the file there, by default that of the entry. C(path)
        replaces both.
      - C(user), C(group) (default V(root)) and C(permissions) (default V("0600")).
      - C(upload_at) is V(pre-activation) (default) or V(post-activation), see O(phase).
      - C(storage) is V(tmpfs), V(persistent) or V(sealed), see O(storage).
      - C(restart_units) and C(reload_units) are units to restart, or to reload, when the content has changed, and only
        then.
      - Every directory on the way has to belong to root and to be closed for others to write. Places in the Nix store,
        and such that are no regular files, are refused.
      - One of O(secrets) and O(fleet) is needed.
    type: dict
  fleet:
    description:
      - A fleet file, or a flake, as in the O(nixferry.deploy.nix_build#module:fleet) option of
        M(nixferry.deploy.nix_build), whose secrets of this host are placed as well. These are C(deployment.keys) of
        NixOps and colmena, C(deployment.secrets) of morph, and C(secrets.files) of nixus. O(secrets) win by name.
      - It is evaluated on the controller when the secrets are placed, for this host alone. What it says of contents
        stays in memory.
      - A relative file counts from the directory of the fleet, and commands run there; from that of the playbook, where
        the fleet is a flake from elsewhere.
      - What lies elsewhere than below C(/run) has C(storage=persistent), unless the fleet says another C(storage).
      - C(action) of morph is understood where it restarts or reloads units. A warning tells about any other, which is
        not run.
      - A key that says nothing of its content, as the module C(nixosModules.keys) of the collection's flake allows,
        needs an entry in O(secrets) that does. What that entry leaves out is as the fleet has it.
    type: raw
  fleet_format:
    description: The tool that O(fleet) was written for. V(auto), which is the default, finds out.
    type: str
    choices: [auto, nixops, morph, nixus, colmena, deploy-rs, nixos, darwin, home-manager]
  args:
    description: Arguments for O(fleet) where that is a function. Not for secrets.
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
    description: Entries of the search path for files in O(fleet), as V(nixpkgs=/path/to/nixpkgs).
    type: list
    elements: str
    default: []
  dest_dir:
    description:
      - The directory of all secrets that do not give their own. The default depends on their O(storage), V(/run/keys)
        or V(/var/lib/nixferry-keys).
      - One that is missing is made; then it belongs to the group C(keys) with mode 0750 where that group exists, as on
        NixOS, and has mode 0711 elsewhere.
    type: str
  storage:
    description:
      - Where secrets lie that do not give their own C(storage).
      - V(tmpfs), the default, in main memory, in a directory on tmpfs or ramfs. A reboot loses them; this task, or the
        playbook C(nixferry.deploy.secrets), places them again.
      - V(persistent) on the disk, as they are.
      - V(sealed) in main memory, and on the disk encrypted by C(systemd-creds) with the key of the host, so that a unit
        places them again at boot without a controller. Needs systemd 250 or later.
    type: str
    choices: [tmpfs, persistent, sealed]
  phase:
    description:
      - Which secrets to place. V(all) of them, those with C(upload_at=pre-activation), or those with
        C(upload_at=post-activation).
      - With V(pre-activation) an owner need not exist yet. The secret then belongs to root, with mode 0600. The task
        that comes after the activation, or the guard with O(stage), gives it to its owner.
    type: str
    choices: [all, pre-activation, post-activation]
    default: all
  exclusive:
    description:
      - Whether to remove what this collection has placed earlier and is not declared any more. Other files are
        left alone. Nothing is removed with O(phase=pre-activation), as the old system may still need it.
    type: bool
    default: false
  stage:
    description:
      - Whether to make everything ready, and leave it to the guard to put it into place when the new system is
        activated and to put the old secrets back if that is rolled back.
      - The RV(set) that is returned is for the O(nixferry.deploy.nix_switch#module:secrets) option of
        M(nixferry.deploy.nix_switch).
    type: bool
    default: false
notes:
  - With C(display_args_to_stdout) Ansible prints the arguments of every task. Set C(no_log) for the task if you use
    that.
    Nothing of the result is secret.
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
  description: What changes, or would, by the name of the secret.
  returned: success
  type: dict
  contains:
    path:
      description: Where it lies.
      type: str
    change:
      description: What is not as declared, of V(new), V(content), V(owner) and V(mode).
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
  description: What was staged, with O(stage); empty if nothing has changed.
  returned: success
  type: str
where:
  description: The machine on which it failed, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: What was being done when it failed.
  returned: failure
  type: str
  sample: place the secrets
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
