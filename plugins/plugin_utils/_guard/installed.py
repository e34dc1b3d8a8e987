# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The guard as a program on the host, for deployers who may become root for it alone.

Usually every verb is a script that carries the guard's text, and whoever may run it as root may run anything. The
installed program has the text, the kind's own commands and the profile in it, and reads a request: lines of text that
it judges field by field (``target/guard/installed.sh``) and never runs. What it activates must be signed.
"""

from __future__ import annotations

import functools
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS, Kind

from .requests import (
    ACTIONS,
    FAILED_UNITS_POLICIES,
    REBOOTS,
    ProbeRequest,
    StartRequest,
    probe_script,
    start_script,
)
from .script import GuardScript, guard_text

STEP = "ask the installed guard"

# What a caller may say, and the rule of target/guard/installed.sh that judges it. Every other field of a request, such
# as the commands of a kind, its environment or what reboots a host, is part of the program and cannot be asked for.
REQUEST_FIELDS: Mapping[str, str] = {
    "id": "identifier",
    "kind": "kind",
    "profile": "profile",
    "toplevel": "path",
    "action": f"choice/{'/'.join(ACTIONS)}",
    "specialisation": "name",
    "timeout_activation": "seconds",
    "timeout_confirm": "seconds",
    "timeout_roll_back": "seconds",
    "timeout_reboot": "seconds",
    "reboot": f"choice/{'/'.join(REBOOTS)}",
    "failed_units": f"choice/{'/'.join(FAILED_UNITS_POLICIES)}",
    "force": "flag",
    "roll_back_on_failure": "flag",
    "reboot_if_unreachable": "flag",
    "deployer": "text",
    "deploy": "name",
    "revision": "token",
    "known_revision": "token",
    "any_revision": "flag",
    "is_rollback": "flag",
    "history": "flag",
    "secrets": "identifier",
    "closure": "flag",
    "wait_while": "words",
    "seconds": "seconds",
    "reason": "text",
}
# Whether a probe also runs the dry activation, whose command is the program's.
FORECAST = "forecast"
_DRY_ACTIVATE = "dry_activate"
# How the program finds its profile, which is fixed.
_FOLLOWS_PROFILE = "find_profile"
# What the program starts from instead of its caller's environment.
ENVIRONMENT: Mapping[str, str] = {"HOME": "/root"}
TEXT_LENGTH = 1000
_ANY_ID = "0"
_ANY_PATH = f"/nix/store/{'0' * 32}-any"


@dataclass(frozen=True)
class InstalledGuard:
    """What one installed guard may deploy."""

    kind: Kind
    profile: str
    public_keys: tuple[str, ...]
    """One of these must have signed what is activated, in the form of ``trusted-public-keys``."""


def installed_guard(kind: Kind, profile: str, public_keys: Sequence[str]) -> InstalledGuard:
    """What a guard for ``kind`` may do. Raises ``NixferryError`` for a kind or a profile that is no use as root."""
    chosen = profile or kind.profile
    if not chosen.startswith("/"):
        raise NixferryError(
            f"kind {kind.name} is activated by an ordinary user, who needs no guard to become root",
            step=STEP,
            remedy="Deploy it as that user, without `guard`.",
        )
    if not all("!" <= character <= "~" and character not in "'\"" for character in chosen):
        raise NixferryError(f"{chosen!r} is not a usable profile", step=STEP)
    if not public_keys:
        raise NixferryError(
            "without a key the guard would have to refuse everything",
            step=STEP,
            remedy="Give the public key that deploys are signed with.",
        )
    return InstalledGuard(kind, chosen, tuple(public_keys))


def guard_program(guard: InstalledGuard, environment: Mapping[str, str] | None = None) -> str:
    """The program for the host, which sets ``environment`` (else ``ENVIRONMENT``) for itself."""
    return _program(guard, ENVIRONMENT if environment is None else environment, guard_version())


@functools.cache
def guard_version() -> str:
    """Tells one text of the program from another, whatever it is installed for."""
    texts = [_program(InstalledGuard(kind, "", ()), {}, "") for kind in KINDS.values()]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _program(guard: InstalledGuard, environment: Mapping[str, str], version: str) -> str:
    settings = {
        "INSTALLED_VERSION": version,
        "INSTALLED_KIND": guard.kind.name,
        "INSTALLED_PROFILE": guard.profile,
        "INSTALLED_KEYS": " ".join(guard.public_keys),
        "INSTALLED_FIELDS": " ".join(
            f"{name}:{rule}" for name, rule in {**REQUEST_FIELDS, FORECAST: "flag"}.items()
        ),
        "NIXFERRY_GUARD": guard_text(),
    }
    start = fixed_fields(start_script(StartRequest(_ANY_ID, guard.kind, _ANY_PATH, profile=guard.profile)))
    probe = fixed_fields(probe_script(ProbeRequest(guard.kind, guard.profile, dry_activate=True)))
    forecast = {_DRY_ACTIVATE: probe.pop(_DRY_ACTIVATE)}
    own = {"kind": guard.kind.name, "profile": guard.profile}
    return "\n".join(
        [
            _text("guard/installed_begin.sh"),
            "INSTALLED_CALLER=$1",
            *(f"{name}={shlex.quote(value)}; export {name}" for name, value in environment.items()),
            *(f"{name}={shlex.quote(value)}" for name, value in settings.items()),
            _text("guard/installed.sh"),
            "case $verb in",
            f"    start) {_arguments({**start, **own})} ;;",
            f"    probe) {_arguments({**probe, **own})} ;;",
            "esac",
            f'if [ "$verb:$forecast" = probe:1 ]; then {_arguments(forecast)}; fi',
            'eval "$NIXFERRY_GUARD"',
            "",
        ]
    )


def fixed_fields(script: GuardScript) -> dict[str, str]:
    """The fields of a script that no caller may choose."""
    return {name: value for name, value in script.fields.items() if name not in REQUEST_FIELDS}


def request_text(script: GuardScript) -> str:
    """What the installed guard is sent instead of ``script``.

    Raises ``NixferryError`` when the script asks for something that only the program itself may say.
    """
    fixed = _plain_fields(script)
    lines = [f"version={guard_version()}", f"verb={script.verb}"]
    for name, value in script.fields.items():
        if name in REQUEST_FIELDS:
            if value:
                lines.append(f"{name}={_printable(value)}")
        elif script.verb == "probe" and name == _DRY_ACTIVATE:
            lines.append(f"{FORECAST}={int(bool(value))}")
        elif name != _FOLLOWS_PROFILE and value != fixed.get(name, ""):
            raise NixferryError(
                f"with an installed guard, {name} is not for the deploy to choose",
                step=STEP,
                remedy="Leave the option out. What activates a system was fixed when the guard was installed "
                "(nixferry.deploy.nix_guard).",
            )
    return "\n".join([*lines, ""])


def _plain_fields(script: GuardScript) -> Mapping[str, str]:
    """The fields of such a script when nobody chooses anything."""
    if "kind" not in script.fields:
        return {}
    kind = KINDS[script.fields["kind"]]
    if script.verb == "start":
        return start_script(StartRequest(_ANY_ID, kind, _ANY_PATH)).fields
    return probe_script(ProbeRequest(kind)).fields


def _printable(value: str) -> str:
    """``value`` in printable ASCII, on one line: reasons and names may hold anything."""
    return "".join(each if " " <= each <= "~" else "?" for each in value)[:TEXT_LENGTH]


def _arguments(fields: Mapping[str, str]) -> str:
    words = " ".join(shlex.quote(f"{name}={value}") for name, value in fields.items())
    return f'set -- "$@" {words}'


def _text(name: str) -> str:
    return ((Path(__file__).parent.parent / "target") / name).read_text(encoding="utf-8")
