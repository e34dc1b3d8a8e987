#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out whether a registered builder builds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_builder_check
short_description: Test a remote builder step by step, and explain why it does not build
description:
  - Tests each step from the builder's entry in C(/etc/nix/machines) to builds on it, and stops at the first failing
    step. The error names the stage, the cause, the line that shows it, and the remedy. For most of these causes Nix
    itself only says that the platform does not match.
  - "The steps are V(file): Nix can read the entry; V(key): the secret key exists, is protected, and matches the public
    key beside it; V(login): ssh as root, as Nix calls it; V(store): the builder's Nix answers; V(smoke): a derivation
    is built there; V(sandbox): it ran in a sandbox; V(trust): the builder accepts an unsigned output of this machine;
    V(emulation): a program for the system's own processor runs there."
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
      - The steps from V(smoke) on are skipped, since they put something into the stores.
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
      - The systems to build for. The default is those of the entry.
    type: list
    elements: str
  checks:
    description:
      - The steps to run. Those up to V(store) are quick.
      - V(sandbox) is not a default step, since a builder on macOS, or one whose builds you trust completely, may do
        without. The result always reports whether there was a sandbox.
      - V(emulation) is known for C(x86_64-linux) and C(aarch64-linux), and skipped for other systems.
    type: list
    elements: str
    choices: [file, key, login, store, smoke, sandbox, trust, emulation]
    default: [file, key, login, store, smoke, trust, emulation]
  connect_timeout:
    description: Seconds that ssh may take to connect.
    type: int
    default: 10
  timeout:
    description: The timeout of one query to the builder's Nix, or of one build, in seconds.
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
  description: The steps that were run; the last one may have failed.
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
      description: Its duration.
      type: float
builder_version:
  description: The version of the builder's Nix, if it reports one.
  returned: after the step V(store)
  type: str
  sample: 2.26.3
trusted:
  description: Whether the builder's Nix trusts the client, if it reports that.
  returned: after the step V(store)
  type: bool
systems:
  description: The results of the builds, by system.
  returned: always
  type: dict
  contains:
    sandboxed:
      description: Whether the build ran in a sandbox, V(null) on other systems than Linux.
      type: bool
    emulated:
      description: Whether a program for the system's processor ran, V(null) if that was not tested.
      type: bool
    kernel:
      description: The kernel that the build saw.
      type: str
    host:
      description: The host name that the build saw.
      type: str
code:
  description: A short name of the fault, such as V(key_refused) or V(untrusted).
  returned: failure
  type: str
stage:
  description: The stage of the failure.
  returned: failure
  type: str
  sample: login
cause:
  description: The cause of the failure.
  returned: failure
  type: str
evidence:
  description: The line that shows it.
  returned: failure
  type: str
remedy:
  description: How to fix it.
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
