# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Install the guard and its sudoers rule on a host (``target/guard/install.sh``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Completed
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import (
    LIBRARY,
    answer_of_script,
    host_script,
)

STEP = Step.INSTALL_GUARD
PARTS = (*LIBRARY, "lib/own.sh", "lib/reach.sh", "guard/install.sh")
_USER = re.compile(r"[A-Za-z_][0-9A-Za-z._-]*")
_SETTING = re.compile(r"INSTALLED_(VERSION|KIND|PROFILE|KEYS)=")
# A path that needs no quoting, neither in sudoers nor in a shell.
_FILE = re.compile(r"(/[0-9A-Za-z._+-]+)+")
_NIXOS = (
    "On NixOS put the program (`program` of this task's result) and the rule into the configuration; the guide about "
    "privileges shows how. Nothing was changed."
)
_REMEDIES = {
    "not_root": "Use `become: true` for this task; it is needed once. Nothing was changed.",
    "unsafe_place": "Give it to root alone, or choose another `path`, `sudoers_file` or `profile`. With a store that "
    "belongs to an ordinary user (a single-user installation of Nix) this user is root through any guard. "
    "Nothing was changed.",
    "generated": _NIXOS,
    "no_user": "Create the user first. Nothing was changed.",
    "no_sudo": "Install sudo on the host, or give no `users` and write a rule for what you have. Nothing was changed.",
    "no_include": f"Add `@includedir /etc/sudoers.d` with visudo. {_NIXOS}",
    "bad_rule": "This is a bug in nixferry.deploy: please report it. Nothing was changed.",
    "unwritable": "Make room on, or mount, the file system.",
    "ineffective": "Look for a rule behind the included ones in /etc/sudoers that takes it away. The rule was removed.",
}


@dataclass(frozen=True)
class GuardInstallation:
    """The changes of an installation, made or predicted."""

    program_before: tuple[str, ...]
    """The settings in the program, one a line; empty when there was none."""
    rule_before: tuple[str, ...]
    program_changed: bool
    rule_changed: bool

    @property
    def changed(self) -> bool:
        return self.program_changed or self.rule_changed


def sudoers_rule(users: Sequence[str], path: str) -> str:
    """Return the text of a file in sudoers.d. It allows only the program, without arguments and environment.

    Raises ``NixferryError`` for names that would need quoting.
    """
    for user in users:
        if _USER.fullmatch(user) is None:
            raise NixferryError(f"{user!r} is not a usable user name", step=STEP)
    lines = ["# Made by nixferry.deploy.nix_guard.", f"Defaults!{path} env_reset, !requiretty"]
    lines += [f'{user} ALL=(root) NOPASSWD:NOSETENV: {path} ""' for user in users]
    return "\n".join(lines)


def checked_file(path: str, option: str) -> str:
    """Return ``path`` if it is absolute and plain, else raise ``NixferryError``."""
    if _FILE.fullmatch(path) is None or "/../" in f"{path}/" or "/./" in f"{path}/":
        raise NixferryError(
            f"`{option}` is {path!r}",
            step=STEP,
            remedy="Give an absolute path of letters, digits, and the characters . _ + -.",
        )
    return path


def install_script(
    *,
    wanted: str,
    dry_run: bool,
    path: str,
    program: str,
    profile: str,
    rule_file: str,
    rule: str,
    users: Sequence[str],
) -> str:
    """Return the script for the host; with ``wanted`` ``absent`` the texts and ``profile`` are ignored."""
    present = wanted == "present"
    settings = {
        "WANTED": wanted,
        "DRY_RUN": str(int(dry_run)),
        "PROGRAM_FILE": path,
        "PROGRAM": program if present else "",
        "PROFILE": profile,
        "RULE_FILE": rule_file,
        "RULE": rule if present else "",
        "USERS": " ".join(users),
    }
    return host_script(settings, PARTS)


def settings_of(program: str) -> list[str]:
    """Return the settings in a program, which tell it from another one."""
    return [line for line in program.splitlines() if _SETTING.match(line)]


def parse_installation(completed: Completed) -> GuardInstallation:
    """Read the answer of the script. Raises ``NixferryError`` for an error that it reports."""
    answer = answer_of_script("install_guard", completed, step=STEP, remedies=_REMEDIES)
    return GuardInstallation(
        program_before=answer.all("program_before"),
        rule_before=answer.all("rule_before"),
        program_changed=answer.flag("program_changed"),
        rule_changed=answer.flag("rule_changed"),
    )
