#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out whether a registered builder builds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_builder_check
short_description: Find out whether a remote builder builds, and if not, why
description:
  - Goes step by step from the builder's entry in C(/etc/nix/machines) to builds on it, and stops at the first step
    that fails. The error names the stage, the cause, the line that shows it, and what to do about it. Nix itself
    says of most of these that the platform does not match.
  - "The steps are V(file): the entry is one that Nix reads; V(key): the secret key is there, protected, and the public
    key beside it is its own; V(login): ssh as root, as Nix calls it; V(store): the builder's Nix answers; V(smoke): a
    derivation is built there; V(sandbox): it ran in a sandbox; V(trust): the builder takes an unsigned output of this
    machine; V(emulation): a program for the system's own processor runs there."
  - The derivations need neither nixpkgs nor network. Each is built on the builder or not at all, and leaves a few
    bytes in the store of this host and of the builder, which the next garbage collection removes.
  - Run it as root, whose keys and settings the Nix daemon uses.
extends_documentation_fragment:
  - nixferry.deploy._attributes.module
  - nixferry.deploy._attributes.actiongroup_nixferry
  - nixferry.deploy._nix_files.machines_file
attributes:
  check_mode:
    support: full
    details:
      - The steps from V(smoke) on are left out, since they put something into the stores.
  diff_mode:
    support: none
  platform:
    platforms: Linux, macOS
options:
  name:
    description: The builder, by the host name of its entry's address.
    type: str
    required: true
  systems:
    description:
      - The systems to build for. Default is those of the entry.
    type: list
    elements: str
  checks:
    description:
      - The steps to take. Those up to V(store) are quick.
      - V(sandbox) is not among the default ones, since a builder on macOS, or one that you trust with all that it
        builds, may do without. The result says in any case whether there was one.
      - V(emulation) is known for C(x86_64-linux) and C(aarch64-linux), and left out for other systems.
    type: list
    elements: str
    choices: [file, key, login, store, smoke, sandbox, trust, emulation]
    default: [file, key, login, store, smoke, trust, emulation]
  connect_timeout:
    description: Seconds that ssh may take to connect.
    type: int
    default: 10
  timeout:
    description: Seconds that a question to the builder's Nix, or one build, may take.
    type: int
    default: 60
seealso:
  - module: nixferry.deploy.nix_builder
  - module: nixferry.deploy.nix_info
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: See whether the builder builds for both systems
  nixferry.deploy.nix_builder_check:
    name: big
    systems: [x86_64-linux, aarch64-linux]
  become: true

- name: Insist on the sandbox
  nixferry.deploy.nix_builder_check:
    name: big
    checks: [file, key, login, store, smoke, sandbox, trust, emulation]
  become: true
"""

RETURN = r"""
uri:
  description: The address in the builder's entry.
  returned: when the entry was found
  type: str
  sample: ssh-ng://big
steps:
  description: The steps that were taken, the last one of which may have failed.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: The name of the step.
      type: str
    system:
      description: The system, or empty for the steps before the builds.
      type: str
    ok:
      description: Whether it succeeded.
      type: bool
    seconds:
      description: How long it took.
      type: float
builder_version:
  description: The version of the builder's Nix, where it tells.
  returned: after the step V(store)
  type: str
  sample: 2.26.3
trusted:
  description: Whether the builder's Nix trusts us, where it tells.
  returned: after the step V(store)
  type: bool
systems:
  description: By system, what the builds have shown.
  returned: always
  type: dict
  contains:
    sandboxed:
      description: Whether the build ran in a sandbox, V(null) on other systems than Linux.
      type: bool
    emulated:
      description: Whether a program for the system's processor ran, V(null) when that was not tried.
      type: bool
    kernel:
      description: The kernel that the build saw.
      type: str
    host:
      description: The host name that the build saw.
      type: str
code:
  description: A short name of what is wrong, such as V(key_refused) or V(untrusted).
  returned: failure
  type: str
stage:
  description: How far things went.
  returned: failure
  type: str
  sample: login
cause:
  description: What is wrong.
  returned: failure
  type: str
evidence:
  description: The line that shows it.
  returned: failure
  type: str
remedy:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.check import (
    DEFAULT,
    STEPS,
    Check,
    Failed,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.failures import Failure
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import MachinesError
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.edit import EditError
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import find


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "systems": {"type": "list", "elements": "str"},
            "checks": {"type": "list", "elements": "str", "choices": list(STEPS), "default": DEFAULT},
            "machines_file": {"type": "path", "default": "/etc/nix/machines"},
            "connect_timeout": {"type": "int", "default": 10},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    check = Check(module.params, check_mode=module.check_mode)
    failure = None
    try:
        check.perform(find(module))
    except Failed as error:
        failure = error.failure
    except (MachinesError, EditError, ValueError) as error:
        failure = Failure(
            "unreadable",
            "file",
            "The settings of Nix on this host cannot be read",
            "Correct them.",
            str(error),
        )
    if failure is None:
        module.exit_json(**check.result)
    result = {
        "code": failure.code,
        "stage": failure.stage,
        "cause": failure.cause,
        "evidence": failure.evidence,
        "remedy": failure.hint,
    }
    shown = f" ({failure.evidence})" if failure.evidence else ""
    where = f"The builder {check.name} does not build, stage {failure.stage!r}"
    module.fail_json(msg=f"{where}: {failure.cause}{shown}. {failure.hint}", **check.result, **result)


if __name__ == "__main__":
    main()
