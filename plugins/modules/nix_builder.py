#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Register a remote builder with this host's Nix."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_builder
short_description: Register a remote builder with a host's Nix
description:
  - Keeps one builder's entry in C(/etc/nix/machines), ssh's settings for it in a file of their own, and its host key in
    another one, beside O(machines_file).
    Everything else in C(/etc/nix/machines) stays as it is, byte for byte.
  - The entry's address is O(name), which only ssh's settings resolve. This works with every version of Nix, while ports
    in addresses do not. C(HostKeyAlias) makes ssh and Nix look up the pinned host key under that name.
  - Values that Nix or ssh would misunderstand are refused. A file that Nix cannot read fails every build, local ones
    too, and an entry without job slots blocks builds forever.
  - The files are changed under a lock and by rename. Parallel runs do not lose an entry, and Nix never reads half a
    file. Nix reads the file anew for every build, so nothing needs a restart.
  - On NixOS and nix-darwin the system's configuration makes these files. There the module changes none of them. It
    returns a module for that configuration instead, and writes it to O(snippet_file) if given.
  - M(nixferry.deploy.nix_builder_check) reports whether the builder builds.
extends_documentation_fragment:
  - nixferry.deploy._attributes.module
  - nixferry.deploy._attributes.actiongroup_nixferry
  - nixferry.deploy._nix_files.machines_file
options:
  name:
    description:
      - The name of the builder on this host, as address in C(/etc/nix/machines) and as C(Host) in ssh's settings.
      - Letters, digits, dots, dashes and underscores. V(localhost) is refused.
      - An existing entry with that name is replaced, even if another program wrote it.
    type: str
    required: true
  state:
    description: Whether the builder is registered.
    type: str
    choices: [present, absent]
    default: present
  host:
    description: The address that ssh connects to.
    type: str
    default: 127.0.0.1
  port:
    description: The port that ssh connects to.
    type: int
    default: 22
  user:
    description: The user that ssh logs in as. The builder's Nix must trust it (C(trusted-users)).
    type: str
    default: builder
  protocol:
    description:
      - The protocol of Nix. V(ssh) is the older one.
      - Lix 2.94 and later speak V(ssh-ng) only with builders that have Nix 2.18 or later; use V(ssh) for others.
    type: str
    choices: [ssh-ng, ssh]
    default: ssh-ng
  systems:
    description: The systems that the builder builds for, such as V(x86_64-linux). Required when O(state=present).
    type: list
    elements: str
  max_jobs:
    description: The number of builds that this host gives it at once. At least 1.
    type: int
    default: 1
  speed_factor:
    description: Its speed compared with other builders. Nix before 2.20 accepts whole numbers only.
    type: float
    default: 1.0
  supported_features:
    description: System features that it has, such as V(big-parallel) or V(kvm).
    type: list
    elements: str
    default: []
  mandatory_features:
    description: System features without which a derivation is not given to it. They count as supported.
    type: list
    elements: str
    default: []
  ssh_key_file:
    description:
      - The file with the secret key on the host, readable by root only. The module does not make it.
      - Default is C(/etc/nix/NAME_ed25519).
    type: path
  host_public_key:
    description:
      - The builder's public host key, as V(TYPE KEY). Required when O(state=present).
      - Copy it from the builder itself over a trusted channel, not with C(ssh-keyscan).
    type: str
  connect_timeout:
    description: Seconds after which ssh gives up. Without a limit one dead builder slows down every build.
    type: int
    default: 10
  remote_program:
    description:
      - The program to start on the builder, if it is not in the PATH of commands over ssh, as on macOS. For example
        V(/nix/var/nix/profiles/default/bin/nix-daemon), or C(nix-store) for O(protocol=ssh).
    type: str
  compress:
    description: Whether ssh compresses the transfer.
    type: bool
    default: false
  ssh_options:
    description:
      - Further settings of ssh for this builder, such as C(ProxyJump), by their names in ssh_config.
      - Settings that the builder's identity depends on are refused.
    type: dict
    default: {}
  ssh_config_dir:
    description: A directory whose C(*.conf) files ssh includes in its settings for all users.
    type: path
    default: /etc/ssh/ssh_config.d
  manage:
    description:
      - With V(auto), files are changed unless the configuration of NixOS or nix-darwin makes them.
      - V(snippet) never changes them, V(files) always changes them and fails if it cannot.
    type: str
    choices: [auto, files, snippet]
    default: auto
  snippet_file:
    description:
      - Where to write the module for the configuration of NixOS or nix-darwin, if it is used. The file belongs to the
        owner of its directory.
      - Once the configuration has the requested builder, a missing file is not written again.
    type: path
attributes:
  platform:
    platforms: Linux, macOS
seealso:
  - module: nixferry.deploy.nix_builder_check
  - module: nixferry.deploy.nix_conf
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Register a builder for two systems
  nixferry.deploy.nix_builder:
    name: big
    host: 192.0.2.20
    user: builder
    systems: [x86_64-linux, aarch64-linux]
    max_jobs: 4
    supported_features: [big-parallel]
    ssh_key_file: /etc/nix/big_ed25519
    host_public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi
  become: true

- name: Forget it
  nixferry.deploy.nix_builder:
    name: big
    state: absent
  become: true
"""

RETURN = r"""
uri:
  description: The address in the builder's entry.
  returned: O(state=present)
  type: str
  sample: ssh-ng://big
line:
  description: The builder's entry.
  returned: O(state=present)
  type: str
changed_files:
  description: The files that changed, or would change in check mode.
  returned: success
  type: list
  elements: str
managed_by:
  description: The program or system that makes the files, V(files) for this module.
  returned: success
  type: str
  sample: nix-darwin
machines_file:
  description: The file with the builders.
  returned: success
  type: str
ssh_config_file:
  description: The file with ssh's settings for the builder.
  returned: success
  type: str
known_hosts_file:
  description: The file with the builder's host key.
  returned: success
  type: str
snippet:
  description: A module for the configuration of NixOS or nix-darwin, empty if the files themselves are changed.
  returned: success
  type: str
snippet_file:
  description: The path of the written module, or empty.
  returned: success
  type: str
registered:
  description: Whether the file has the requested builder, now or in check mode after a real run.
  returned: success
  type: bool
effective:
  description: Whether Nix reads the file with the builders. V(null) if this host has no Nix yet.
  returned: success
  type: bool
daemon_restart_needed:
  description: Always V(false), since Nix reads the file for every build.
  returned: success
  type: bool
remedy:
  description: How to fix a failure.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.builder import BuilderError
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import MachinesError
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.registration import (
    SYSTEM_SSH_CONFIG,
    Registration,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.edit import EditError, unchangeable


def argument_spec():
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "host": {"type": "str", "default": "127.0.0.1"},
        "port": {"type": "int", "default": 22},
        "user": {"type": "str", "default": "builder"},
        "protocol": {"type": "str", "choices": ["ssh-ng", "ssh"], "default": "ssh-ng"},
        "systems": {"type": "list", "elements": "str"},
        "max_jobs": {"type": "int", "default": 1},
        "speed_factor": {"type": "float", "default": 1.0},
        "supported_features": {"type": "list", "elements": "str", "default": []},
        "mandatory_features": {"type": "list", "elements": "str", "default": []},
        "ssh_key_file": {"type": "path", "no_log": False},
        "host_public_key": {"type": "str", "no_log": False},
        "connect_timeout": {"type": "int", "default": 10},
        "remote_program": {"type": "str"},
        "compress": {"type": "bool", "default": False},
        "ssh_options": {"type": "dict", "default": {}},
        "machines_file": {"type": "path", "default": "/etc/nix/machines"},
        "ssh_config_dir": {"type": "path", "default": SYSTEM_SSH_CONFIG},
        "manage": {"type": "str", "choices": ["auto", "files", "snippet"], "default": "auto"},
        "snippet_file": {"type": "path"},
    }


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ("systems", "host_public_key"))],
        supports_check_mode=True,
    )
    name = module.params["name"]
    try:
        result = Registration(module).perform()
    except OSError as error:
        failure = unchangeable(str(error.filename), error)
        module.fail_json(msg=f"The builder {name}: {failure}.", remedy=failure.remedy)
    except EditError as error:
        module.fail_json(msg="The builder {}: {}.".format(name, str(error).rstrip(".")), remedy=error.remedy)
    except (BuilderError, MachinesError) as error:
        module.fail_json(
            msg=f"The builder {name}: {error}.", remedy="Correct it and run again. Nothing was changed."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
