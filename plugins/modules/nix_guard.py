#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_guard
short_description: Let a user deploy without any other privilege
description:
  - Installs the guard as a program on the host, together with a sudoers rule that lets users run exactly this program.
    Without it, a deploy runs scripts as root, and a user who may do that may do anything.
  - Requests to the program are lines of text, which it parses and never runs. The kind, the profile and the command
    that activates a system are part of the program.
  - It activates only systems that one of O(public_keys) has signed, and existing generations of the profile.
  - Run it once per host as root, and again after an update of the collection that changes the program. A deploy by
    another version is refused with a message that says so.
  - It fails if another user than root could change the program, its profile, the state in C(/var/lib/nixferry) or the
    Nix store, for instance by a group or an ACL of a directory on the way. The program looks again each time it runs.
  - The host needs C(sh), Nix and C(sudo), and no Python.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the settings in the program, and the sudoers file.
options:
  kind:
    description: The only kind of system that the guard activates.
    type: str
    choices: [nixos, darwin, home-manager, system-manager, profile]
    default: nixos
  profile:
    description:
      - The only profile that it sets. Each O(kind) that root activates has its own default, except V(profile).
    type: path
  activate_command:
    description: For kind V(profile), the command that activates a closure, as in M(nixferry.deploy.nix_switch).
    type: str
  public_keys:
    description:
      - The deploy keys, in the format of C(trusted-public-keys). One of them must have signed a system.
      - Required with O(state=present), unless O(key_file) is given.
    type: list
    elements: str
    aliases: [public_key]
  key_file:
    description:
      - A file on the controller with a secret key, to use its public half. Only that leaves the controller.
    type: path
  users:
    description:
      - The users who may run the program. They must exist.
      - Without any, no sudoers rule is written, and none is changed.
    type: list
    elements: str
    default: []
    aliases: [user]
  path:
    description: Where to install the program. Only root may be able to change the directory.
    type: path
    default: /usr/local/sbin/nixferry-guard
  sudoers_file:
    description: Where to write the rule. C(visudo) checks it first.
    type: path
    default: /etc/sudoers.d/nixferry-guard
  state:
    description: With V(absent) the program and the rule are removed.
    type: str
    choices: [present, absent]
    default: present
notes:
  - On NixOS the program and the rule belong into the configuration. Check mode returns RV(program) and RV(sudoers) as
    well, to write them to files there.
seealso:
  - module: nixferry.deploy.nix_trusted_key
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Let the user deploy do nothing but deploy
  nixferry.deploy.nix_guard:
    user: deploy
    public_key: example-1:izFg8oAXW/I+5anYyn8fQmNHu0wEVgPSbmTjV/gp65c=
  become: true
"""

RETURN = r"""
path:
  description: The path of the program.
  returned: success
  type: str
version:
  description: The version of the program; empty with O(state=absent).
  returned: success
  type: str
  sample: a7e95df37c57a32e
program:
  description: The text of the program, to install it by other means.
  returned: success
  type: str
sudoers:
  description: The text of the sudoers file.
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
  sample: install the guard
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
