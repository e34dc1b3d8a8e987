# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The options that every switching action takes, translated into the guard's request."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._ansible.action import PROGRESS_OPTION
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_id import (
    THIS_RUN,
    deployer_name,
    new_activation_id,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import (
    KINDS,
    Kind,
    kind_named,
    profile_kind,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import parse_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.requests import (
    StartRequest,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.words import Action, FailedUnits, Reboot
from ansible_collections.nixferry.deploy.plugins.plugin_utils._health.checks import HEALTH_CHECKS_OPTION

STEP = Step.READ_OPTIONS

SWITCH_OPTIONS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "choices": list(KINDS), "default": "nixos"},
    "profile": {"type": "path"},
    "activate_command": {"type": "str"},
    "timeout_activation": {"type": "int", "default": 600},
    "timeout_confirm": {"type": "int", "default": 60},
    "timeout_rollback": {"type": "int", "default": 600},
    "failed_units": {
        "type": "str",
        "choices": list(map(str, FailedUnits)),
        "default": str(FailedUnits.ROLLBACK),
    },
    "ignored_units": {"type": "list", "elements": "str", "default": []},
    "settle": {"type": "int", "default": 3},
    "health_checks": HEALTH_CHECKS_OPTION,
    "reboot": {"type": "str", "choices": list(map(str, Reboot)), "default": str(Reboot.NEVER)},
    "timeout_reboot": {"type": "int", "default": 600},
    "reboot_if_unreachable": {"type": "bool", "default": False},
    "despite_pull": {"type": "bool", "default": False},
    "metrics_directory": {"type": "str"},
    "guard": {"type": "path"},
    "progress": PROGRESS_OPTION,
}


STEPS = ("all", "activate", "confirm", "abort")
STEP_OPTIONS: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "choices": list(STEPS), "default": "all"},
    "activation": {"type": "raw"},
    "reason": {"type": "str", "default": ""},
    "take_back": {"type": "bool", "default": False},
    "timeout_hold": {"type": "int", "default": 600},
    "peers": {"type": "list", "elements": "str", "default": []},
    "peer_steps": {"type": "list", "elements": "str", "default": []},
}

# A deliberate roll back replaces any revision, so it takes no such options.
REVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "revision": {"type": "str", "default": ""},
    "repository": {"type": "path"},
    "force": {"type": "bool", "default": False},
}
# The characters of unit names (systemd.unit(5)) and of patterns. The guard takes this many of all together.
_UNIT_PATTERN = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]!^-]+")
LONGEST_PATTERNS = 1000
LONGEST_SETTLE = 600
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SET = re.compile(r"[0-9A-Za-z]{1,64}")
_REVISION = re.compile(r"[!-~]{1,200}")
# As in the table of target/lib/request.sh.
_SPECIALISATION = re.compile(r"(?![.-])[^/\x00-\x1f\x7f]+")
_SPECIALISATION_BYTES = 255
_PROFILE = re.compile(r"~?(/(?!\.{0,2}(/|$))[^/\x00-\x1f\x7f]+)+")
_PROFILE_BYTES = 4096
LONGEST_SECONDS = 999_999


def kind_of(options: Mapping[str, Any]) -> Kind:
    """Return the kind that the options name, with the user's command for kind ``profile``.

    Raises ``NixferryError`` when the options contradict each other, or ``profile`` is not a path.
    """
    name = str(options["kind"])
    profile = str(options.get("profile") or "")
    if profile and (_PROFILE.fullmatch(profile) is None or len(os.fsencode(profile)) > _PROFILE_BYTES):
        raise NixferryError(
            f"{profile!r} is not a valid profile",
            step=STEP,
            remedy="Give an absolute path, without `..`, such as /nix/var/nix/profiles/system.",
        )
    command = str(options.get("activate_command") or "")
    if name != "profile":
        if command:
            raise NixferryError(
                f"activate_command has no meaning for kind {name}",
                step=STEP,
                remedy="Leave it out, or use kind profile.",
            )
        return kind_named(name)
    if not options.get("profile"):
        raise NixferryError(
            "kind profile has no default profile",
            step=STEP,
            remedy="Give profile, such as /nix/var/nix/profiles/per-user/root/web.",
        )
    return profile_kind(command)


def _reboot_of(options: Mapping[str, Any], kind: Kind, action: Action) -> Reboot:
    """Read the option ``reboot``. Raises ``NixferryError`` where it has no meaning."""
    reboot = Reboot(options["reboot"])
    if reboot == Reboot.NEVER or action == Action.DRY_ACTIVATE:
        return Reboot.NEVER
    if not kind.has_boot_default:
        raise NixferryError(
            f"reboot: {reboot} has no meaning for kind {kind.name}, which no boot loader knows",
            step=STEP,
            remedy="Leave it out, and reboot the host by other means when it needs that.",
        )
    if action == Action.TEST:
        raise NixferryError(
            f"reboot: {reboot} and action: test contradict each other: a test leaves alone what boots",
            step=STEP,
            remedy="Use action: switch, which makes the new system the boot default only after the confirmation.",
        )
    return reboot


def start_request(
    options: Mapping[str, Any],
    toplevel: str,
    action: Action,
    specialisation: str = "",
    *,
    revision: str = "",
    is_rollback: bool = False,
    environment: tuple[tuple[str, str], ...] = (),
) -> StartRequest:
    """Return the request that starts one activation of ``toplevel``.

    Raises ``NixferryError`` when ``toplevel`` is not a store path, a time is not within bounds, the revision is not a
    word, the specialisation is not the name of a file, or a variable's name is not valid in a shell.
    """
    for name, _value in environment:
        if _VARIABLE.fullmatch(name) is None:
            raise NixferryError(f"{name!r} is not a valid name of an environment variable", step=STEP)
    if revision and (_REVISION.fullmatch(revision) is None or revision == "-"):
        raise NixferryError(
            f"{revision!r} is not a valid revision",
            step=STEP,
            remedy="Give a word without spaces, such as the hash of a commit.",
        )
    times = {
        name: int(options[name])
        for name in ("timeout_activation", "timeout_confirm", "timeout_rollback", "timeout_reboot")
    }
    for name, seconds in times.items():
        check_seconds(name, seconds)
    if specialisation and (
        _SPECIALISATION.fullmatch(specialisation) is None
        or len(os.fsencode(specialisation)) > _SPECIALISATION_BYTES
    ):
        raise NixferryError(
            f"{specialisation!r} is not a valid name of a specialisation",
            step=STEP,
            remedy="Give the name of one in the new system: `specialisation.NAME` of its configuration.",
        )
    kind = kind_of(options)
    return StartRequest(
        activation_id=new_activation_id(),
        kind=kind,
        toplevel=parse_store_path(toplevel, step=STEP).path,
        action=action,
        profile=str(options.get("profile") or ""),
        specialisation=specialisation,
        timeout_activation=times["timeout_activation"],
        timeout_confirm=times["timeout_confirm"],
        timeout_roll_back=times["timeout_rollback"],
        failed_units=FailedUnits(options["failed_units"]),
        ignored_units=_ignored_units(options["ignored_units"]),
        settle=_settle(int(options["settle"])),
        roll_back_on_failure=bool(options.get("rollback", True)),
        reboot=_reboot_of(options, kind, action),
        timeout_reboot=times["timeout_reboot"],
        reboot_if_unreachable=bool(options["reboot_if_unreachable"]),
        deploy=THIS_RUN,
        deployer=deployer_name(),
        revision=revision,
        any_revision=bool(options.get("force", False)),
        despite_pull=bool(options.get("despite_pull", False)),
        metrics_directory=_metrics_directory(str(options.get("metrics_directory") or "")),
        is_rollback=is_rollback,
        secrets=_secrets_of(options),
        expected_current=_expected(options, "current"),
        expected_profile=_expected(options, "boot_default"),
        environment=environment,
    )


def _expected(options: Mapping[str, Any], name: str) -> str:
    """Read one of the option ``expected``. Raises ``NixferryError`` for what is not a store path."""
    expected = options.get("expected")
    if not expected or options.get("force"):
        return ""
    return parse_store_path(expected[name], step=STEP).path if expected[name] else "none"


def check_seconds(name: str, seconds: int) -> None:
    """Raise ``NixferryError`` unless the option ``name`` is a number of seconds that the guard takes."""
    if not 1 <= seconds <= LONGEST_SECONDS:
        shown = seconds if abs(seconds) <= LONGEST_SECONDS else "out of range"
        raise NixferryError(f"{name} is {shown}", step=STEP, remedy=f"Give 1 to {LONGEST_SECONDS} seconds.")


def _ignored_units(patterns: Sequence[str]) -> str:
    """Read the option ``ignored_units``. Raises ``NixferryError`` for what cannot match the name of a unit."""
    for pattern in patterns:
        if _UNIT_PATTERN.fullmatch(pattern) is None:
            raise NixferryError(
                f"{pattern!r} is not a valid name or pattern of a unit",
                step=STEP,
                remedy="Give names such as backup.service in ignored_units, or patterns such as backup-*.service.",
            )
    joined = " ".join(patterns)
    if len(joined) > LONGEST_PATTERNS:
        raise NixferryError(
            f"ignored_units is longer than {LONGEST_PATTERNS} characters",
            step=STEP,
            remedy="Give patterns instead of names.",
        )
    return joined


def _settle(seconds: int) -> int:
    """Read the option ``settle``. Raises ``NixferryError`` when it is out of range."""
    if not 0 <= seconds <= LONGEST_SETTLE:
        raise NixferryError(f"settle is {seconds}", step=STEP, remedy=f"Give 0 to {LONGEST_SETTLE} seconds.")
    return seconds


def _metrics_directory(place: str) -> str:
    """Read the option ``metrics_directory``. Raises ``NixferryError`` for what is neither `none` nor a path."""
    if place not in ("", "none") and (_PROFILE.fullmatch(place) is None or place.startswith("~")):
        raise NixferryError(
            f"{place!r} is not a valid directory for metrics",
            step=STEP,
            remedy="Give an absolute path in metrics_directory, or `none`.",
        )
    return place


def _secrets_of(options: Mapping[str, Any]) -> str:
    """Read the option ``secrets``. Raises ``NixferryError`` when nix_secrets did not return it."""
    found = str(options.get("secrets") or "")
    if found and _SET.fullmatch(found) is None:
        raise NixferryError(
            "`secrets` is not a valid set of secrets",
            step=STEP,
            remedy="Give the `set` that nix_secrets returned with `stage: true`.",
        )
    return found
