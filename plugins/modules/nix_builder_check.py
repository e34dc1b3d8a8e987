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
  machines_file:
    description: The file with the builders.
    type: path
    default: /etc/nix/machines
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

import secrets
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._builder_failures import Failure
from ansible_collections.nixferry.deploy.plugins.module_utils._builder_probe import (
    asked_store,
    key_failure,
    login_failure,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._builder_verify import (
    SANDBOX_HOST,
    build,
    emulation,
    has_probe,
    probe_text,
    report_of,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._edit import EditError, read_text
from ansible_collections.nixferry.deploy.plugins.module_utils._machines import (
    MachinesError,
    entries,
    hazards,
    host_of,
    parse,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix_here import daemon_socket, find, settings

STEPS = ("file", "key", "login", "store", "smoke", "sandbox", "trust", "emulation")
BUILDS = ("smoke", "sandbox", "trust", "emulation")
DEFAULT = ["file", "key", "login", "store", "smoke", "trust", "emulation"]


class Failed(Exception):
    """A step has failed."""

    def __init__(self, failure):
        super().__init__(failure.cause)
        self.failure = failure


class Check:
    """One run of the module."""

    def __init__(self, module):
        self.module = module
        self.options = module.params
        self.name = self.options["name"]
        self.wanted = [step for step in STEPS if step in self.options["checks"]]
        self.timeout = self.options["timeout"]
        self.nix = find(module)
        self.remote = "daemon" if daemon_socket() else None
        self.machine = None
        self.local_system = ""
        self.result = {"steps": [], "systems": {}, "changed": False}

    def perform(self):
        if not self.nix:
            raise Failed(
                Failure("no_nix", "client", "This host has no Nix", "Install it, such as with the role nix.")
            )
        # Whatever is to be checked, the entry has to be read.
        self.step("file", "", self.check_file)
        self.result["uri"] = self.machine.uri
        if "key" in self.wanted:
            self.step("key", "", lambda: self.expect(key_failure(self.machine.ssh_key)))
        if "login" in self.wanted:
            self.step("login", "", self.check_login)
        if "store" in self.wanted:
            self.step("store", "", self.check_store)
        if self.module.check_mode or not any(step in BUILDS for step in self.wanted):
            return
        self.local_system = settings(self.nix)[0].get("system", "")
        for system in self.options["systems"] or self.machine.systems or [self.local_system]:
            self.check_system(system)

    def step(self, check, system, action):
        """Take a step, and remember it whether it fails or not."""
        begun = time.monotonic()
        ok = False
        try:
            action()
            ok = True
        finally:
            seconds = round(time.monotonic() - begun, 2)
            self.result["steps"].append({"check": check, "system": system, "ok": ok, "seconds": seconds})

    @staticmethod
    def expect(failure):
        if failure:
            raise Failed(failure)

    def check_file(self):
        path = self.options["machines_file"]
        text = read_text(path) or ""
        broken = hazards(text, self.nix.version, self.nix.lix)
        if broken:
            raise Failed(
                Failure(
                    "machines_syntax",
                    "file",
                    "Nix cannot read the file with the builders, or would wait forever for one of them",
                    "Correct the line: other builders and local builds suffer too.",
                    f"{path}, {broken[0]}",
                )
            )
        own = [entry for entry in entries(text) if host_of(entry) == self.name]
        if not own:
            raise Failed(
                Failure(
                    "not_registered",
                    "file",
                    "The builder is not registered on this host",
                    "Register it with nixferry.deploy.nix_builder.",
                    f"{path} has no entry for {self.name}",
                )
            )
        self.machine = parse(own[0].text)
        self.check_effective(path)

    def check_effective(self, path):
        value = settings(self.nix)[0].get("builders", "")
        if f"@{path}" not in value.replace(";", " ").split():
            raise Failed(
                Failure(
                    "not_effective",
                    "file",
                    "Nix does not read the file with the builders",
                    "Remove `builders` from nix.conf; with nix-darwin set `nix.distributedBuilds = true`.",
                    f"builders = {value}",
                )
            )

    def check_login(self):
        self.expect(login_failure(self.machine, self.options["connect_timeout"]))

    def check_store(self):
        store, failure = asked_store(self.nix, self.machine, self.timeout)
        self.expect(failure)
        self.result["builder_version"] = store.version
        self.result["trusted"] = store.trusted

    def check_system(self, system):
        found = {"sandboxed": None, "emulated": None, "kernel": "", "host": ""}
        self.result["systems"][system] = found
        if "smoke" in self.wanted or "sandbox" in self.wanted:
            self.step("smoke", system, lambda: self.check_smoke(system, found))
        if "sandbox" in self.wanted:
            self.step("sandbox", system, lambda: self.check_sandbox(found))
        if "trust" in self.wanted:
            self.step("trust", system, lambda: self.check_trust(system))
        if "emulation" in self.wanted and has_probe(system):
            self.step("emulation", system, lambda: self.check_emulation(system))
            found["emulated"] = True

    def built(self, kind, system, machine, nonce, **arguments):
        built = build(self.nix, machine, kind, system, nonce, self.timeout, remote=self.remote, **arguments)
        self.expect(built.failure)
        self.expect_text(nonce in built.text, built.text)
        return built

    def expect_text(self, right, text):
        """A builder that answers with something else than was asked for is worse than none."""
        if not right:
            self.expect(
                Failure(
                    "wrong_output",
                    "build",
                    "The output is not that of the derivation",
                    "Do not use the builder before you know why.",
                    text[:200],
                )
            )

    def check_smoke(self, system, found):
        report = report_of(self.built("smoke", system, self.machine, secrets.token_hex(8)).text)
        found["host"] = report.get("host", "")
        found["kernel"] = report.get("kernel", "")
        if system.endswith("-linux"):
            found["sandboxed"] = found["host"] == SANDBOX_HOST

    @staticmethod
    def check_sandbox(found):
        if found["sandboxed"] is False:
            raise Failed(
                Failure(
                    "no_sandbox",
                    "sandbox",
                    "The builder builds without a sandbox",
                    "Set `sandbox = true` and `sandbox-fallback = false` there: with the fallback, which is on "
                    "unless it is switched off, a sandbox that cannot be set up is left out without a word.",
                    f"the build saw the host name {found['host']}",
                )
            )

    def check_trust(self, system):
        nonce = secrets.token_hex(8)
        unsigned = self.built("input", self.local_system, None, nonce)
        self.built("trust", system, self.machine, nonce, input=unsigned.path)

    def check_emulation(self, system):
        built = emulation(self.nix, self.machine, system, secrets.token_hex(8), self.timeout, self.remote)
        self.expect(built.failure)
        self.expect_text(built.text == probe_text(system), built.text)


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
    check = Check(module)
    failure = None
    try:
        check.perform()
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
