# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The options of nix_install: their specification, and what the steps need of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import TRANSFER_OPTIONS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    BUILD_OPTION,
    built_toplevel,
    is_known_later,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    built_file,
    parse_store_path,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.declared import STORAGES

from .hardware import PROGRAMS
from .judge import KEXEC_MEMORY_MIB, Needs
from .login import LOGIN_OPTIONS, InstallerLogin, installer_login
from .look import NOTHING, STEP

CHECK, HARDWARE, KEXEC, DISKS, SYSTEM, REBOOT = STEPS = (
    "check",
    "hardware",
    "kexec",
    "disks",
    "system",
    "reboot",
)
_SECONDS = ("timeout_kexec", "timeout_disks", "timeout_install", "timeout_reboot")

SPECIFICATION: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "choices": list(STEPS), "required": True},
    "build": BUILD_OPTION,
    "disko_build": {"type": "dict"},
    "disks": {"type": "list", "elements": "str", "default": []},
    "confirm": {"type": "list", "elements": "str", "default": []},
    "disk_keys": {"type": "dict", "no_log": True},
    "mount_point": {"type": "str", "default": "/mnt"},
    "login": {"type": "dict", "options": LOGIN_OPTIONS},
    "secure_boot": {"type": "bool", "default": False},
    "kexec": {"type": "path"},
    "kexec_memory_mib": {"type": "int", "default": KEXEC_MEMORY_MIB},
    "kexec_port": {"type": "int", "default": 22},
    "nixos_anywhere": {"type": "str", "default": "nixos-anywhere"},
    "host_keys": {"type": "dict", "no_log": True},
    "host_key_types": {"type": "list", "elements": "str", "default": ["ed25519"], "no_log": False},
    "host_key_directory": {"type": "str", "default": "/etc/ssh", "no_log": False},
    "keep_host_keys": {"type": "bool", "default": False, "no_log": False},
    "known_hosts": {"type": "str", "default": "auto"},
    "files": {"type": "dict", "no_log": True},
    "secrets": {"type": "dict", "no_log": True},
    "storage": {"type": "str", "choices": list(STORAGES)},
    "hardware": {"type": "str", "choices": list(PROGRAMS), "default": PROGRAMS[0]},
    "hardware_file": {"type": "path"},
    "timeout_kexec": {"type": "int", "default": 900},
    "timeout_disks": {"type": "int", "default": 1800},
    "timeout_install": {"type": "int", "default": 3600},
    "timeout_reboot": {"type": "int", "default": 900},
    **TRANSFER_OPTIONS,
}


@dataclass(frozen=True)
class InstallOptions:
    """The validated options of a task. ``toplevel`` and ``script`` are empty where check mode does not know them."""

    given: Mapping[str, Any]
    toplevel: str
    script: str
    login: InstallerLogin
    check_mode: bool
    diff_mode: bool
    verbosity: int
    read_file: Callable[[str], bytes]
    directory: str
    """That of the playbook."""

    @property
    def disks(self) -> list[str]:
        """The disks of the installation, without duplicates."""
        return list(dict.fromkeys(self.given["disks"]))

    @property
    def confirm(self) -> list[str]:
        """Those of them with data that may be destroyed."""
        return list(dict.fromkeys(self.given["confirm"]))

    @property
    def mount_point(self) -> str:
        """Where the new system's root is mounted on the installer."""
        return str(self.given["mount_point"])

    @property
    def transfer(self) -> dict[str, Any]:
        """The options of a copy."""
        return {name: self.given[name] for name in TRANSFER_OPTIONS}

    @property
    def needs(self) -> Needs:
        """What the installation asks of the machine."""
        return Needs(
            system=_system_of(self.toplevel),
            can_kexec=bool(self.given["kexec"]),
            kexec_memory_mib=self.given["kexec_memory_mib"],
            secure_boot=self.given["secure_boot"],
        )


def _system_of(toplevel: str) -> str:
    """Return the platform of a toplevel that is in the store of the controller; empty if it is not."""
    if not toplevel:
        return ""
    try:
        system = built_file(Path(toplevel, "system"), Path(toplevel), step=STEP)
        return system.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return ""


def install_options(
    options: Mapping[str, Any],
    subject: str,
    *,
    check_mode: bool,
    diff_mode: bool,
    verbosity: int,
    read_file: Callable[[str], bytes],
    directory: str,
) -> InstallOptions:
    """Return the options of a task for the host ``subject``. Raises ``NixferryError``."""
    for name in _SECONDS:
        if options[name] <= 0:
            raise NixferryError(f"`{name}` must be positive", step=STEP)
    mount_point = str(options["mount_point"])
    if (
        not mount_point.startswith("/")
        or mount_point.rstrip("/") != mount_point
        or not mount_point.isprintable()
    ):
        raise NixferryError(
            f"`mount_point` is {mount_point!r}", step=STEP, remedy="Give an absolute path such as /mnt."
        )
    step = options["step"]
    wants_system = step in (KEXEC, SYSTEM, REBOOT)
    wants_script = step in (KEXEC, DISKS)
    return InstallOptions(
        given=options,
        toplevel=_built(options["build"], subject, "build", needed=wants_system, dry=check_mode),
        script=_built(options["disko_build"], subject, "disko_build", needed=wants_script, dry=check_mode),
        login=installer_login(options["login"]),
        check_mode=check_mode,
        diff_mode=diff_mode,
        verbosity=verbosity,
        read_file=read_file,
        directory=directory,
    )


def _built(build: Mapping[str, Any] | None, subject: str, name: str, *, needed: bool, dry: bool) -> str:
    if not build:
        if needed:
            raise NixferryError(
                f"`{name}` is required for this step",
                step=STEP,
                remedy=f"Give what nix_build has registered. {NOTHING}",
            )
        return ""
    if dry and is_known_later(subject, build):
        return ""
    return parse_store_path(built_toplevel(subject, build), step=STEP).path
