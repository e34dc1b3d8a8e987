# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What one pull agent does, as the administrator says it: judged here, before a host is touched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import guard_version
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HealthCheck
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    LARGEST_NUMBER,
    NAME,
    NAMESPACE,
    PRINCIPAL,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import public_key

from .repository import Repository, is_ssh_address, repository_variables

STEP = Step.INSTALL_PULL_AGENT
KINDS_THAT_PULL = ("nixos", "system-manager", "profile")
REBOOT_CHOICES = ("never", "if-required", "window")
# In place of a host's name in pointers: the name that the host has when the agent runs.
OWN_NAME = "@hostname"
# A line of a window, as target/agent/window.sh reads it.
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_WINDOW = re.compile(rf"(?:{_DAYS}(?:,{_DAYS})* )?{_TIME}-(?:{_TIME}|24:00)")
# No character that a shell, a unit file or a list separated by spaces would read.
_URL = re.compile(r"(?:https?|file)://[A-Za-z0-9._~:/?#@&=+,;%-]+")
_PASSWORD = re.compile(r"[a-z]+://[^/@]*:[^/@]*@")
# A file whose name a unit file and git's settings can hold.
_PATH = re.compile(r"/[A-Za-z0-9._/+-]+")
# A calendar event or a time span of systemd (systemd.time(7)), on one line. systemd itself judges it.
_CALENDAR = re.compile(r"[0-9A-Za-z*:/,.~ -]{1,100}")


@dataclass(frozen=True)
class AgentSettings:
    """What one agent does. Times are whole seconds."""

    host: str
    """The name of the host in pointers, or ``OWN_NAME``."""
    channel: str
    url: str
    """The directory of the pointers, as the host reads it."""
    kind: Kind
    profile: str
    public_keys: tuple[str, ...]
    """The keys of Nix of which one must have signed a system, in the form of ``trusted-public-keys``."""
    pointer_keys: tuple[str, ...]
    """The keys of OpenSSH of which one must have signed a pointer, ``type base64``."""
    repository: Repository | None = None
    """What the host builds by itself; ``url`` and the keys above are empty then."""
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
    certificate: str = ""
    """The path, on the host, of a certificate with which it logs in to servers; its key is in ``certificate_key``."""
    certificate_key: str = ""

    def __post_init__(self) -> None:
        """Raise ``NixferryError`` for what the program or a unit file could not hold."""
        names = [("host", self.host), ("channel", self.channel)]
        for kind, name in names[1:] if self.host == OWN_NAME else names:
            _check(NAME.fullmatch(name) is not None, f"{name!r} is not a valid name of a {kind} in pointers")
        _check(
            self.kind.name in KINDS_THAT_PULL,
            f"a system of the kind {self.kind.name} cannot be pulled; {', '.join(KINDS_THAT_PULL)} can",
        )
        _check(
            self.repository is None or self.host != OWN_NAME,
            f"with a `repository`, `host` must be a name, since it names the system: not {OWN_NAME}",
        )
        if self.repository is None:
            _check(
                bool(self.pointer_keys), "no `pointer_keys` are given, so that every pointer would be refused"
            )
        for url in (
            self.repository.url if self.repository else self.url,
            *self.addresses,
            *([self.report_url] if self.report_url else []),
        ):
            _check_address(url, with_ssh=self.repository is not None and url == self.repository.url)
        self._check_certificate()
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

    def _check_certificate(self) -> None:
        """Raise ``NixferryError`` for a certificate that could not be used, or a key that every user could read."""
        both = (self.certificate, self.certificate_key)
        _check(bool(both[0]) == bool(both[1]), "`certificate` and `certificate_key` need each other")
        for path in filter(None, both):
            _check(_PATH.fullmatch(path) is not None, f"{path!r} is not a valid absolute path")
        _check(
            not self.certificate_key.startswith("/nix/store/"),
            "`certificate_key` is in the store, where every user can read it",
        )
        address = self.repository.url if self.repository else self.url
        _check(
            not self.certificate or address.startswith("https://"),
            f"a `certificate` is for an address that begins with https://, not for {address}",
        )

    def credentials(self, *, repository_key: str) -> dict[str, str]:
        """Return the paths of what systemd gives to the units that fetch, by name. ``repository_key`` is a path."""
        found = {"certificate": self.certificate, "certificate_key": self.certificate_key}
        if self.repository and self.repository.key:
            found["repository_key"] = repository_key
        return {name: path for name, path in found.items() if path}

    @property
    def pointer_url(self) -> str:
        """Return the address of the host's pointer; of the directory for ``OWN_NAME``, and none for a repository."""
        if self.repository is not None:
            return ""
        hosts = f"{self.url.rstrip('/')}/{self.channel}/hosts"
        return hosts if self.host == OWN_NAME else f"{hosts}/{self.host}"

    def signers(self) -> str:
        """Return the file of trusted keys for ssh-keygen, without the last newline."""
        return "\n".join(f'{PRINCIPAL} namespaces="{NAMESPACE}" {key}' for key in self.pointer_keys)

    def variables(self, *, program: Mapping[str, str]) -> dict[str, str]:
        """Return the settings as shell variables; ``program`` are paths of files on the host."""
        return {
            "PULL_HOST": "" if self.host == OWN_NAME else self.host,
            "PULL_CHANNEL": self.channel,
            "PULL_URL": self.pointer_url,
            **repository_variables(self.repository, self.host, program),
            "PULL_KIND": self.kind.name,
            "PULL_PROFILE": self.profile,
            "PULL_CERTIFICATE": self.certificate,
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
            "PULL_PATH": "",
        }


def _check_address(url: str, *, with_ssh: bool) -> None:
    if _PASSWORD.match(url):
        raise NixferryError(
            "an address has a password in it, which every user of the host could read",
            step=STEP,
            remedy="Give the login in `netrc`.",
        )
    _check(
        _URL.fullmatch(url) is not None or (with_ssh and is_ssh_address(url)),
        f"{url!r} is not a valid address",
    )


def _check(holds: bool, cause: str) -> None:
    if not holds:
        raise NixferryError(cause, step=STEP)


def checked_ssh_keys(keys: Sequence[str], option: str) -> tuple[str, ...]:
    """Return public keys of OpenSSH without comments. Raises ``NixferryError``, without quoting what was given."""
    found = [public_key(key) for key in keys]
    valid = [key for key in found if key is not None]
    if len(valid) != len(found):
        raise NixferryError(
            f"number {found.index(None) + 1} of `{option}` is not a valid public key of OpenSSH",
            step=STEP,
            remedy="Give the line of the .pub file that ssh-keygen has made.",
        )
    return tuple(dict.fromkeys(valid))
