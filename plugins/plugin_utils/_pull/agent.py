# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The pull agent as a program on the host, and its units: what fetches, what activates, when, and under which limits.

The same files of ``target/agent`` are read by the NixOS module ``plugins/plugin_utils/nix/pull.nix``.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    GuardPolicy,
    guard_version,
    installed_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.on_host import host_checks
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    LARGEST_NUMBER,
    NAME,
    NAMESPACE,
    PRINCIPAL,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

STEP = Step.INSTALL_PULL_AGENT
DIRECTORY = "/var/lib/nixferry-pull"
# The parts of the agent in the order in which they are joined.
AGENT_PARTS = (
    "lib/base.sh",
    "lib/answer.sh",
    "lib/request.sh",
    "lib/time.sh",
    "lib/files.sh",
    "lib/process.sh",
    "lib/claim.sh",
    "agent/state.sh",
    "agent/pointer.sh",
    "agent/window.sh",
    "agent/fetch.sh",
    "agent/outcome.sh",
    "agent/ask.sh",
    "agent/activate.sh",
    "agent/verbs.sh",
)
UNITS = (
    "nixferry-pull.service",
    "nixferry-pull.timer",
    "nixferry-pull-activate.service",
    "nixferry-pull-resume.service",
    "nixferry-pull-reach.service",
    "nixferry-pull-checks.service",
    "nixferry-pull-report.service",
)
SANDBOX = "sandbox.conf"
KINDS_THAT_PULL = ("nixos", "system-manager", "profile")
REBOOT_CHOICES = ("never", "if-required", "window")
# A line of a window, as target/agent/window.sh reads it.
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_WINDOW = re.compile(rf"(?:{_DAYS}(?:,{_DAYS})* )?{_TIME}-(?:{_TIME}|24:00)")
# No character that a shell, a unit file or a list separated by spaces would read.
_URL = re.compile(r"(?:https?|file)://[A-Za-z0-9._~:/?#@&=+,;%-]+")
# A calendar event or a time span of systemd (systemd.time(7)), on one line. systemd itself judges it.
_CALENDAR = re.compile(r"[0-9A-Za-z*:/,.~ -]{1,100}")
_TARGET = Path(__file__).parent.parent / "target"


@dataclass(frozen=True)
class AgentSettings:
    """What one agent does. Times are whole seconds."""

    host: str
    channel: str
    url: str
    """The directory of the pointers, as the host reads it."""
    kind: Kind
    profile: str
    public_keys: tuple[str, ...]
    """The keys of Nix of which one must have signed a system, in the form of ``trusted-public-keys``."""
    pointer_keys: tuple[str, ...]
    """The keys of OpenSSH of which one must have signed a pointer, ``type base64``."""
    calendar: str = "*:0/10"
    jitter: int = 480
    windows: tuple[str, ...] = ()
    reboot: str = "never"
    reboot_windows: tuple[str, ...] = ()
    min_serial: int = 0
    min_free: int = 256
    """MiB of the store's file system that a fetch leaves free."""
    timeout_activation: int = 300
    timeout_confirm: int = 180
    timeout_roll_back: int = 300
    timeout_reboot: int = 600
    timeout_reach: int = 60
    checks: tuple[HealthCheck, ...] = ()
    addresses: tuple[str, ...] = ()
    metrics_directory: str = ""
    report_url: str = ""
    netrc: str = ""

    def __post_init__(self) -> None:
        """Raise ``NixferryError`` for what the program or a unit file could not hold."""
        for kind, name in (("host", self.host), ("channel", self.channel)):
            _check(NAME.fullmatch(name) is not None, f"{name!r} is not a valid name of a {kind} in pointers")
        _check(
            self.kind.name in KINDS_THAT_PULL,
            f"a system of the kind {self.kind.name} cannot be pulled; {', '.join(KINDS_THAT_PULL)} can",
        )
        _check(bool(self.pointer_keys), "no `pointer_keys` are given, so that every pointer would be refused")
        for url in (self.url, *self.addresses, *([self.report_url] if self.report_url else [])):
            _check(_URL.fullmatch(url) is not None, f"{url!r} is not a valid address")
        for window in (*self.windows, *self.reboot_windows):
            _check(_WINDOW.fullmatch(window) is not None, f"{window!r} is not a valid window")
        _check(
            _CALENDAR.fullmatch(self.calendar) is not None, f"{self.calendar!r} is not a valid calendar event"
        )
        _check(self.reboot in REBOOT_CHOICES, f"{self.reboot!r} is not a valid choice for `reboot`")
        times = (
            self.timeout_activation,
            self.timeout_confirm,
            self.timeout_roll_back,
            self.timeout_reboot,
            self.timeout_reach,
        )
        _check(min(times) >= 1, "a timeout is below one second")
        _check(max(times) <= 999999, "a timeout is above 999999 seconds")
        _check(0 <= self.jitter <= 999999, "`jitter` is not between 0 and 999999 seconds")
        _check(0 <= self.min_serial <= LARGEST_NUMBER, "`min_serial` is not a valid serial")
        _check(0 <= self.min_free <= 999999999, "`min_free` is not a valid number of MiB")
        _check(
            all(check.on_host for check in self.checks),
            "a health check of a pulling host is a `command` or a `unit`: no controller is there for the others",
        )
        needed = self.timeout_reach + sum(check.budget for check in self.checks)
        _check(
            self.timeout_confirm >= needed,
            f"`timeout_confirm` is {self.timeout_confirm} s, but `timeout_reach` and the health checks may take "
            f"{needed} s",
        )

    @property
    def pointer_url(self) -> str:
        """Return the address of the host's pointer."""
        return f"{self.url.rstrip('/')}/{self.channel}/hosts/{self.host}"

    def signers(self) -> str:
        """Return the file of trusted keys for ssh-keygen, without the last newline."""
        return "\n".join(f'{PRINCIPAL} namespaces="{NAMESPACE}" {key}' for key in self.pointer_keys)

    def variables(self, *, program: Mapping[str, str]) -> dict[str, str]:
        """Return the settings as shell variables; ``program`` are paths of files on the host."""
        return {
            "PULL_HOST": self.host,
            "PULL_CHANNEL": self.channel,
            "PULL_URL": self.pointer_url,
            "PULL_KIND": self.kind.name,
            "PULL_PROFILE": self.profile,
            "PULL_SIGNERS": program["allowed_signers"],
            "PULL_GUARD": program["guard"],
            "PULL_GUARD_VERSION": guard_version(),
            "PULL_CHECKS": program["checks"] if self.checks else "",
            "PULL_CHECK_COUNT": str(len(self.checks)),
            "PULL_ADDRESSES": " ".join(self.addresses),
            "PULL_WINDOWS": "\n".join(self.windows),
            "PULL_REBOOT": self.reboot,
            "PULL_REBOOT_WINDOWS": "\n".join(self.reboot_windows),
            "PULL_MIN_SERIAL": str(self.min_serial),
            "PULL_MIN_FREE": str(self.min_free),
            "PULL_TIMEOUT_ACTIVATION": str(self.timeout_activation),
            "PULL_TIMEOUT_CONFIRM": str(self.timeout_confirm),
            "PULL_TIMEOUT_ROLL_BACK": str(self.timeout_roll_back),
            "PULL_TIMEOUT_REBOOT": str(self.timeout_reboot),
            "PULL_TIMEOUT_REACH": str(self.timeout_reach),
            "PULL_METRICS": self.metrics_directory,
            "PULL_REPORT": self.report_url,
        }


def _check(holds: bool, cause: str) -> None:
    if not holds:
        raise NixferryError(cause, step=STEP)


def checked_pointer_keys(keys: Sequence[str]) -> tuple[str, ...]:
    """Return public keys of OpenSSH without comments. Raises ``NixferryError``, without quoting what was given."""
    found = [public_key(key) for key in keys]
    valid = [key for key in found if key is not None]
    if len(valid) != len(found):
        raise NixferryError(
            f"number {found.index(None) + 1} of `pointer_keys` is not a valid public key of OpenSSH",
            step=STEP,
            remedy="Give the line of the .pub file that ssh-keygen has made.",
        )
    return tuple(dict.fromkeys(valid))


BEGIN = """\
#!/bin/sh
#
# The nixferry pull agent: fetches the system that a signed pointer names for this host, and has the guard activate it.
# Made by nixferry.deploy; changes are overwritten. Its verbs are described at the end of this file.
"""


@functools.cache
def agent_text() -> str:
    """Return the agent without its settings."""
    return "\n".join((_TARGET / part).read_text(encoding="utf-8") for part in AGENT_PARTS)


@functools.cache
def agent_version() -> str:
    """Return the version of the agent's text, which does not depend on the settings."""
    return hashlib.sha256(agent_text().encode()).hexdigest()[:16]


FILES_OF_PROGRAM = ("allowed_signers", "guard", "checks")


def agent_program(settings: AgentSettings, files: Mapping[str, str] | None = None) -> str:
    """Return the program, without the last newline. ``files`` are the paths of its other files on the host."""
    places = files or {name: f"{DIRECTORY}/{name}" for name in FILES_OF_PROGRAM}
    variables = {"PULL_VERSION": agent_version(), **settings.variables(program=places)}
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([BEGIN, *lines, "", agent_text()]).rstrip("\n")


def agent_files(settings: AgentSettings) -> dict[str, tuple[str, str]]:
    """Return text and mode of each file that the host gets in ``DIRECTORY``."""
    policy = GuardPolicy(settings.kind, settings.profile, settings.public_keys)
    files = {
        "agent": (agent_program(settings), "755"),
        "guard": (installed_program(policy).rstrip("\n"), "700"),
        "allowed_signers": (settings.signers(), "644"),
        "profile": (settings.profile, "644"),
    }
    if settings.checks:
        files["checks"] = (host_checks(settings.checks).rstrip("\n"), "700")
    if settings.netrc:
        files["netrc"] = (settings.netrc.rstrip("\n"), "600")
    return files


def agent_units(settings: AgentSettings) -> dict[str, str]:
    """Return the text of each unit. ``@GROUPS@`` is left for the host, which knows who may ask the Nix daemon."""
    directory = _TARGET / "agent/units"
    values = {
        "SANDBOX": (directory / SANDBOX).read_text(encoding="utf-8").rstrip("\n"),
        "AGENT": f"{DIRECTORY}/agent",
        "STATE": DIRECTORY,
        "LOGIN": f"StandardInput=file:{DIRECTORY}/netrc" if settings.netrc else "",
        "TIMEOUT_CONFIRM": str(settings.timeout_confirm),
        "CALENDAR": settings.calendar,
        "JITTER": str(settings.jitter),
    }
    return {name: _filled((directory / name).read_text(encoding="utf-8"), values) for name in UNITS}


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.rstrip("\n")
