# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Check a builder step by step, from its entry in the machines file to builds on it, up to the first failing step."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ansible_collections.nixferry.deploy.plugins.module_utils._nix.edit import read_text
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import Nix, daemon_socket, settings

from .failures import Failure
from .machines import (
    Machine,
    entries,
    hazards,
    host_of,
    parse,
)
from .probe import (
    asked_store,
    key_failure,
    login_failure,
)
from .verify import (
    SANDBOX_HOST,
    Built,
    build,
    emulation,
    has_probe,
    probe_text,
    report_of,
)

STEPS = ("file", "key", "login", "store", "smoke", "sandbox", "trust", "emulation")
BUILDS = ("smoke", "sandbox", "trust", "emulation")
DEFAULT = ["file", "key", "login", "store", "smoke", "trust", "emulation"]


class Failed(Exception):
    """A step has failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.cause)
        self.failure = failure


def fail(code: str, stage: str, cause: str, hint: str, evidence: str = "") -> NoReturn:
    """Raise ``Failed``; ``hint`` is the remedy, ``evidence`` the line that shows the cause."""
    raise Failed(Failure(code, stage, cause, hint, evidence))


def expect(failure: Failure | None) -> None:
    """Raise ``Failed`` if there is a failure."""
    if failure:
        raise Failed(failure)


def expect_text(right: bool, text: str) -> None:
    """Raise ``Failed`` for a wrong output: a builder that returns other content is worse than none."""
    if not right:
        fail(
            "wrong_output",
            "build",
            "The output is not that of the derivation",
            "Do not use the builder before you know why.",
            text[:200],
        )


def registered(nix: Nix, name: str, path: str) -> Machine:
    """Return the builder's entry in the machines file ``path``, which Nix must read.

    Raises ``Failed``, or ``MachinesError``, ``EditError`` and ``ValueError`` for what cannot be read.
    """
    text = read_text(path) or ""
    broken = hazards(text, nix.version, nix.lix)
    if broken:
        fail(
            "machines_syntax",
            "file",
            "Nix cannot read the file with the builders, or would wait forever for one of them",
            "Correct the line: other builders and local builds suffer too.",
            f"{path}, {broken[0]}",
        )
    own = [entry for entry in entries(text) if host_of(entry) == name]
    if not own:
        fail(
            "not_registered",
            "file",
            "The builder is not registered on this host",
            "Register it with nixferry.deploy.nix_builder.",
            f"{path} has no entry for {name}",
        )
    machine = parse(own[0].text)
    value = settings(nix)[0].get("builders", "")
    if f"@{path}" not in value.replace(";", " ").split():
        fail(
            "not_effective",
            "file",
            "Nix does not read the file with the builders",
            "Remove `builders` from nix.conf; with nix-darwin set `nix.distributedBuilds = true`.",
            f"builders = {value}",
        )
    return machine


class Check:
    """One run of the module ``nix_builder_check`` with its ``options``.

    ``result`` has the findings up to the failing step.
    """

    def __init__(self, options: Mapping[str, Any], *, check_mode: bool) -> None:
        self.name = str(options["name"])
        self.result: dict[str, Any] = {"steps": [], "systems": {}, "changed": False}
        self._options = options
        self._wanted = [step for step in STEPS if step in options["checks"]]
        self._check_mode = check_mode

    def perform(self, nix: Nix | None) -> None:
        """Run the steps. Raises ``Failed`` at the first failing one, and the exceptions of ``registered``."""
        if nix is None:
            fail("no_nix", "client", "This host has no Nix", "Install it, such as with the role nix.")
        machines: list[Machine] = []
        # Every check needs the entry.
        path = self._options["machines_file"]
        self._step("file", "", lambda: machines.append(registered(nix, self.name, path)))
        (machine,) = machines
        self.result["uri"] = machine.uri
        self._take("key", "", lambda: expect(key_failure(machine.ssh_key)))
        connect_timeout = self._options["connect_timeout"]
        self._take("login", "", lambda: expect(login_failure(machine, connect_timeout)))
        self._take("store", "", lambda: self._check_store(nix, machine))
        if self._check_mode or not any(step in BUILDS for step in self._wanted):
            return
        builds = _Builds(nix, machine, self._options["timeout"])
        for system in self._options["systems"] or machine.systems or [builds.local_system]:
            self._check_system(builds, system)

    def _take(self, check: str, system: str, action: Callable[[], None]) -> None:
        """Run a step if it was requested."""
        if check in self._wanted:
            self._step(check, system, action)

    def _step(self, check: str, system: str, action: Callable[[], None]) -> None:
        """Run a step, and record it whether it fails or not."""
        begun = time.monotonic()
        ok = False
        try:
            action()
            ok = True
        finally:
            seconds = round(time.monotonic() - begun, 2)
            self.result["steps"].append({"check": check, "system": system, "ok": ok, "seconds": seconds})

    def _check_store(self, nix: Nix, machine: Machine) -> None:
        store, failure = asked_store(nix, machine, self._options["timeout"])
        expect(failure)
        self.result["builder_version"] = store.version
        self.result["trusted"] = store.trusted

    def _check_system(self, builds: _Builds, system: str) -> None:
        found: dict[str, Any] = {"sandboxed": None, "emulated": None, "kernel": "", "host": ""}
        self.result["systems"][system] = found
        # The first build shows whether there was a sandbox.
        if "smoke" in self._wanted or "sandbox" in self._wanted:
            self._step("smoke", system, lambda: builds.smoke(system, found))
        self._take("sandbox", system, lambda: _check_sandbox(found))
        self._take("trust", system, lambda: builds.trust(system))
        if "emulation" in self._wanted and has_probe(system):
            self._step("emulation", system, lambda: builds.emulation(system))
            found["emulated"] = True


class _Builds:
    """Build derivations on the builder or not at all. ``timeout`` is in seconds for each."""

    def __init__(self, nix: Nix, machine: Machine, timeout: int) -> None:
        self._nix = nix
        self._machine = machine
        self._timeout = timeout
        self._remote = "daemon" if daemon_socket() else None
        self.local_system = settings(nix)[0].get("system", "")

    def _built(self, kind: str, system: str, nonce: str, *, here: bool = False, **arguments: str) -> Built:
        machine = None if here else self._machine
        built = build(
            self._nix, machine, kind, system, nonce, self._timeout, remote=self._remote, **arguments
        )
        expect(built.failure)
        expect_text(nonce in built.text, built.text)
        return built

    def smoke(self, system: str, found: dict[str, Any]) -> None:
        report = report_of(self._built("smoke", system, secrets.token_hex(8)).text)
        found["host"] = report.get("host", "")
        found["kernel"] = report.get("kernel", "")
        if system.endswith("-linux"):
            found["sandboxed"] = found["host"] == SANDBOX_HOST

    def trust(self, system: str) -> None:
        nonce = secrets.token_hex(8)
        unsigned = self._built("input", self.local_system, nonce, here=True)
        self._built("trust", system, nonce, input=unsigned.path)

    def emulation(self, system: str) -> None:
        nonce = secrets.token_hex(8)
        built = emulation(self._nix, self._machine, system, nonce, self._timeout, self._remote)
        expect(built.failure)
        expect_text(built.text == probe_text(system), built.text)


def _check_sandbox(found: Mapping[str, Any]) -> None:
    if found["sandboxed"] is False:
        fail(
            "no_sandbox",
            "sandbox",
            "The builder builds without a sandbox",
            "Set `sandbox = true` and `sandbox-fallback = false` there: with the fallback, which is on "
            "by default, a build silently runs without a sandbox if that cannot be set up.",
            f"the build saw the host name {found['host']}",
        )
