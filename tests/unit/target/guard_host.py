# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for the real guard in a temporary directory: no root, no Nix and no service manager needed.

The guard finds its state, /run, /proc and the shell through variables that begin with ``NIXFERRY_``; ``nix-env`` and
``nix-store`` are small scripts that keep profiles and a store below the host's directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from guard_programs import NIX_ENV, NIX_STORE, SWITCH_TO_CONFIGURATION, SYSTEMCTL, SYSTEMD_RUN

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_id import new_activation_id
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, Kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import requests as _guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import Guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import ProbeResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import (
    GuardProgram,
    guard_program,
    guard_script,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

SHELLS = {
    "dash": "exec dash",
    "bash": "exec bash --posix",
    "busybox": "exec busybox sh",
}
SECOND = 15
"""Hundredths of a second that the guard's seconds last here."""
WAIT = 20.0
"""Seconds after which a test gives up waiting for a phase; far more than any of them needs."""


@dataclass(frozen=True)
class Completed:
    return_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Driver:
    """A kind whose driver is another one here and there: its functions and properties by name, without the prefix."""

    kind: Kind
    functions: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)

    def program(self) -> GuardProgram:
        """The guard with this driver."""
        prefix = self.kind.name.replace("-", "_")
        lines = [f"{prefix}_{name}() {{\n{text}\n}}" for name, text in self.functions.items()]
        if self.properties:
            set_all = "\n".join(
                f"KIND_{name}={shlex.quote(value)}" for name, value in self.properties.items()
            )
            copied = re.search(rf"(?ms)^{prefix}_properties\(\) {{$.*?^}}$", guard_program().text)
            assert copied
            lines.append(copied[0].replace("_properties()", "_own_properties()"))
            lines.append(f"{prefix}_properties() {{\n{prefix}_own_properties\n{set_all}\n}}")
        return changed_program("\n".join(lines), begins=DRIVER_BEGINS)


# The lines with which the guard begins, and with which its process does that runs a program of a kind.
GUARD_BEGINS = '\nmain "$@"\n'
DRIVER_BEGINS = "\ncase ${1:-} in\n    driver)\n"


def changed_program(code: str, begins: str = GUARD_BEGINS) -> GuardProgram:
    """Another version of the guard, with ``code`` before it begins."""
    before, found, after = guard_program().text.rpartition(begins)
    assert found
    return GuardProgram(f"{before}\n{code}{begins}{after}")


@dataclass
class Host:
    """Also a shell for the guard's client."""

    directory: Path
    shell: str
    environment: dict[str, str] = field(default_factory=dict)
    login_shell: str = "guard-shell"
    sent: list[bytes] = field(default_factory=list)
    """What was sent to the host so far, a script a round trip."""
    program_sent: GuardProgram = field(default_factory=guard_program)
    """The version of the guard that the controller has."""

    @property
    def kind(self) -> Kind:
        return KINDS["nixos"]

    @property
    def guard(self) -> Guard:
        return Guard(self, self.program_sent)  # type: ignore[arg-type]

    @property
    def profile(self) -> Path:
        return self.directory / "profiles" / "system"

    @property
    def state(self) -> Path:
        return self.directory / "var/lib/nixferry"

    def toplevel(self, name: str, *, first: str = ":", test: str = ":", boot: str = ":") -> str:
        """Add a system to the store; ``test`` and ``boot`` are shell code that its program runs on the way.

        ``first`` is what it does before the system is the current one.
        """
        path = self.directory / "store" / name
        (path / "bin").mkdir(parents=True)
        (path / "nixos-version").write_text(name)
        text = SWITCH_TO_CONFIGURATION.replace("@self@", str(path)).replace("@name@", name)
        program = path / "bin" / "switch-to-configuration"
        text = text.replace("@first@", first).replace("@test@", test).replace("@boot@", boot)
        program.write_text(text)
        program.chmod(0o755)
        return str(path)

    def set_profile(self, toplevel: str) -> None:
        """Make ``toplevel`` a new generation of the profile."""
        command = [self.programs / "nix-env", "-p", self.profile, "--set", toplevel]
        subprocess.run(command, check=True, env=self.env())

    def switch_to(self, toplevel: str) -> None:
        """Let the host run ``toplevel``, as a third party does by calling its program."""
        link = self.directory / "run/current-system"
        link.unlink(missing_ok=True)
        link.symlink_to(toplevel)

    def collect_old_generations(self) -> None:
        """Remove the links of all generations but the one that the profile leads to, as `nix-collect-garbage -d`."""
        for link in self.profile.parent.glob(f"{self.profile.name}-*-link"):
            if link.name != str(self.profile.readlink()):
                link.unlink()

    def run_system(self, toplevel: str) -> None:
        """The host runs and boots ``toplevel``, which is a new generation of the profile."""
        self.set_profile(toplevel)
        for name in ("current-system", "booted-system"):
            link = self.directory / "run" / name
            link.unlink(missing_ok=True)
            link.symlink_to(toplevel)
        self.boot_default.write_text(toplevel + "\n")

    @property
    def programs(self) -> Path:
        return self.directory / "programs"

    @property
    def boot_default(self) -> Path:
        return self.directory / "boot-default"

    @property
    def current(self) -> str:
        return os.path.realpath(self.directory / "run/current-system")

    @property
    def boots(self) -> str:
        return self.boot_default.read_text().strip()

    @property
    def profile_target(self) -> str:
        return os.path.realpath(self.profile)

    @property
    def actions(self) -> list[str]:
        """What switch-to-configuration was called with so far: ``test new``."""
        path = self.directory / "actions"
        lines = path.read_text().splitlines() if path.exists() else []
        return [f"{line.split()[0]} {Path(line.split()[1]).name}" for line in lines]

    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.directory / "home"),
            "HOST": str(self.directory),
            "FAULTS": str(self.directory / "faults"),
            "NIXFERRY_ROOT": str(self.directory),
            "NIXFERRY_SECOND": str(SECOND),
            "NIXFERRY_NAP": "0.03",
            "NIXFERRY_SH": str(self.programs / "guard-shell"),
            **self.environment,
        }

    def fault(self, name: str) -> None:
        (self.directory / "faults" / name).touch()

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def with_service_manager(self, *, failed_before: str = "", failed_after: str = "") -> None:
        """Let the host have systemd; ``failed_after`` are units that fail when a system makes $HOST/tested."""
        (self.directory / "run/systemd/system").mkdir(parents=True)
        self.program(
            "systemctl", SYSTEMCTL.replace("@before@", failed_before).replace("@after@", failed_after)
        )
        self.program("systemd-run", SYSTEMD_RUN)

    def run(self, script: str, **_step: str) -> Completed:
        data = script.encode("utf-8", "surrogateescape")
        self.sent.append(data)
        done = subprocess.run(
            [str(self.programs / self.login_shell)],
            input=data,
            capture_output=True,
            env=self.env(),
            timeout=60,
            check=False,
        )
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))

    def request(self, toplevel: str, **options: object) -> _guard.StartRequest:
        request = _guard.StartRequest(
            new_activation_id(),
            self.kind,
            toplevel,
            profile=str(self.profile),
            timeout_activation=100,
            timeout_confirm=100,
            timeout_roll_back=100,
            deployer="tester@controller",
        )
        return replace(request, **options)  # type: ignore[arg-type]

    def knows(self, options: dict[str, object]) -> dict[str, object]:
        """``options`` for a request; for a ``Driver`` as their kind this is the guard's version from now on."""
        kind = options.get("kind")
        if isinstance(kind, Driver):
            self.program_sent = kind.program()
            kind = kind.kind
        if not isinstance(kind, Kind):
            return options
        given = {} if kind.profile == KINDS[kind.name].profile else {"profile": kind.profile}
        return {**given, **options, "kind": kind}

    def start(self, toplevel: str, **options: object) -> GuardStatus:
        known = self.knows(options)
        return self.guard.start(self.request(toplevel, **known))

    def status(self, activation_id: str, *wait_while: str) -> GuardStatus:
        return self.guard.status(activation_id, wait_while=wait_while, seconds=100)

    def awaited(self, activation_id: str) -> GuardStatus:
        """The status once the activation has ended, well or ill."""
        return self.status(activation_id, "prepared", "activating")

    def ended(self, activation_id: str) -> GuardStatus:
        """The status once nothing more happens without a confirmation."""
        running = ("prepared", "activating", "awaiting-confirmation", "committing", "rolling-back")
        return self.status(activation_id, *running)

    def confirm(self, activation_id: str) -> GuardStatus:
        """Confirm. After a commit wait for the guard, which still tidies up when its answer is here already."""
        done = self.guard.confirm(activation_id, seconds=100)
        with contextlib.suppress(OSError):
            worker = self.worker(activation_id)
            if done.phase == "committed":
                wait_for(lambda: not self.is_alive(worker), "the end of the guard")
        return done

    def abort(self, activation_id: str, reason: str = "") -> GuardStatus:
        return self.guard.abort(activation_id, seconds=100, reason=reason)

    def recover(self, activation_id: str) -> GuardStatus:
        return self.guard.recover(activation_id)

    def probe(self, **options: object) -> ProbeResult:
        known = self.knows(options)
        request = _guard.ProbeRequest(self.kind, profile=str(self.profile))
        return self.guard.probe(replace(request, **known))  # type: ignore[arg-type]

    def deploy(self, toplevel: str, **options: object) -> GuardStatus:
        """Start, wait for the activation, confirm."""
        started = self.start(toplevel, **options)
        self.awaited(started.activation_id)
        return self.confirm(started.activation_id)

    def record(self, activation_id: str) -> Path:
        return self.state / "activations" / activation_id

    def worker(self, activation_id: str) -> int:
        return int((self.record(activation_id) / "worker").read_text().split()[1])

    @staticmethod
    def is_alive(process: int) -> bool:
        """Whether the process exists and is not a zombie."""
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state != "Z"

    def story(self) -> str:
        """Everything that the guard has recorded."""
        texts = []
        for path in sorted(self.state.glob("activations/*/**/*")):
            if path.is_file() and path.name != "guard.sh" and path.parent.name not in ("request", "phases"):
                texts.append(f"--- {path.relative_to(self.state)}\n{path.read_text(errors='replace')}")
        return "\n".join(texts)

    def kill_everything(self) -> None:
        """End every process of this host, as a power cut does."""
        # Again until there are none: one of them may have started another meanwhile.
        while found := self.processes():
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Every process of this host."""
        return [
            int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and self._is_ours(path)
        ]

    def _is_ours(self, process: Path) -> bool:
        """Whether it is a process of this host. A zombie has no environment any more."""
        try:
            return f"NIXFERRY_ROOT={self.directory}\0".encode() in (process / "environ").read_bytes()
        except OSError:
            return False

    def power_cut(self) -> None:
        """Everything stops; the host comes back with its boot default and a new boot identity."""
        self.kill_everything()
        shutil.rmtree(self.directory / "run/nixferry", ignore_errors=True)
        for name in ("current-system", "booted-system"):
            link = self.directory / "run" / name
            link.unlink(missing_ok=True)
            link.symlink_to(self.boots)
        self.next_boot()

    def next_boot(self) -> None:
        """From now on it is another boot."""
        boot_id = self.directory / "proc/sys/kernel/random/boot_id"
        boot_id.parent.mkdir(parents=True, exist_ok=True)
        boot_id.write_text(f"boot-{time.monotonic_ns()}\n")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds; fails the test after ``WAIT`` seconds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT} s for {what}"
        time.sleep(0.02)


def make_host(directory: Path, shell: str) -> Host:
    if shutil.which(SHELLS[shell].split()[1]) is None:
        pytest.skip(f"{shell} is not installed")
    for name in ("programs", "store", "profiles", "run", "faults", "home", "nix/var/nix/gcroots", "var/lib"):
        (directory / name).mkdir(parents=True)
    host = Host(directory, shell)
    host.program("nix-env", NIX_ENV)
    host.program("nix-store", NIX_STORE)
    host.program("id", "#!/bin/sh\ncase $1 in -u) echo 0 ;; *) echo root ;; esac\n")
    host.program("guard-shell", f'#!/bin/sh\n{SHELLS[shell]} "$@"\n')
    host.next_boot()
    host.run_system(host.toplevel("old"))
    return host


def script_of(host: Host, request: _guard.StartRequest) -> bytes:
    """What a start sends to a host that has no guard yet."""
    lines = _guard.request_lines(host.program_sent.name, "start", _guard.request_fields(request))
    return guard_script(host.program_sent, "start", lines, whole=True).encode()


def run_library(host: Host, script: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """What ``script``, parts of the guard with code behind them, prints in the shell of the host."""
    return subprocess.run(
        [str(host.programs / "guard-shell"), "-c", script],
        capture_output=True,
        text=True,
        env=host.env(),
        check=False,
        timeout=seconds,
    )
