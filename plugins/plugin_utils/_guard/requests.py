# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What the controller says to the guard on the host: one shell script for each verb.

The guard (``target/*.sh``) is POSIX sh. Every script built here carries it whole and goes to
the standard input of one ``/bin/sh``, so that a verb costs one round trip and nothing has to be installed first;
``start`` leaves a copy in the host's state directory for the process that outlives the connection.

``probe``     read-only: what runs, what boots, generations, and what a deploy of a given path would meet
``start``     checks, takes the lock, records the old system, arms the dead-man, starts the activation, returns
``status``    reports an activation; can wait on the host until its phase changes
``hold``      gives more time to confirm
``confirm``   says that the host is healthy: the guard commits
``abort``     asks for the roll back now
``recover``   puts an activation in order that a power cut or a kill interrupted; ``start`` does it by itself

An activation goes through these phases: ``prepared`` ``activating`` ``awaiting-confirmation`` ``committing``
``committed``, or from any of the first four ``rolling-back`` ``rolled-back``; ``failed`` when even that failed or was
not asked for.
The answers are read by ``_guard/status.py`` and ``_guard/probe.py``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind

from .script import GuardScript, guard_script

ACTIONS = ("switch", "boot", "test", "dry-activate")
FAILED_UNITS_POLICIES = ("rollback", "ignore")
REBOOTS = ("never", "if-required", "always")

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,62}")


@dataclass(frozen=True)
class StartRequest:
    """Everything the guard has to know; it needs the controller no more until the confirmation.

    What is added here cannot be asked of an installed guard, unless it is also a row of ``REQUEST_FIELDS`` in
    ``_guard/installed.py``.
    """

    activation_id: str
    """Fresh for each activation (``new_activation_id``): an old confirmation can never count for a new run."""
    kind: Kind
    toplevel: str
    action: str = "switch"
    """``switch``, ``boot`` (commit only), ``test`` (activate and confirm, no commit) or ``dry-activate``."""
    profile: str = ""
    """The profile link; empty: the kind's default."""
    specialisation: str = ""
    timeout_activation: int = 300
    """Seconds the activation may take, and the commit likewise, before its processes are killed."""
    timeout_confirm: int = 60
    """Seconds from the end of the activation within which the confirmation has to come."""
    timeout_roll_back: int = 300
    """Seconds the roll back may take before its processes are killed."""
    failed_units: str = "rollback"
    """What newly failed units mean: ``rollback`` or ``ignore`` (a note). Units that failed before never count."""
    force: bool = False
    """Activate even when the host already runs and boots the toplevel."""
    roll_back_on_failure: bool = True
    """Whether a system that fails or is not confirmed is rolled back. If not, the activation ends ``failed`` and the
    system runs on. All the same a failed commit is undone in the profile and the boot loader, and what a power cut
    has interrupted is rolled back."""
    reboot: str = "never"
    """``if-required``: boot the new system once, and confirm it then, when only a reboot brings all of it. ``always``:
    also when not."""
    timeout_reboot: int = 600
    """Seconds from the order to reboot until the host has gone down; the controller waits as long for its return."""
    reboot_if_unreachable: bool = False
    """Reboot into the old system when, after a roll back, nobody gets in within ``timeout_confirm`` either. Also when
    a failed system was left running (``roll_back_on_failure`` false)."""
    deployer: str = ""
    """Who deploys from where, for the next one who finds the lock taken, and for the record."""
    deploy: str = ""
    """What all hosts of this run have in common, for the record; empty: none."""
    revision: str = ""
    """The commit that is deployed, with ``-dirty`` when the working tree was modified; empty: not known."""
    known_revision: str = ""
    """A deployed revision that ``revision`` is known to descend from. Any other is refused (``other_revision``)."""
    any_revision: bool = False
    """Deploy over any revision."""
    is_rollback: bool = False
    """Going back on purpose: over any revision, and recorded as such."""
    secrets: str = ""
    """The set of secrets that was staged for this activation, which takes its place and goes with it."""
    environment: tuple[tuple[str, str], ...] = ()
    """Extra environment for the kind's programs, such as NIXOS_INSTALL_BOOTLOADER or HOME_MANAGER_BACKUP_EXT."""
    reboot_command: str = ""
    """Empty: ``systemctl reboot`` or ``reboot``."""


@dataclass(frozen=True)
class ProbeRequest:
    """A question that changes nothing on the host."""

    kind: Kind
    profile: str = ""
    toplevel: str = ""
    """Also report on this path: valid, complete, reasons for a reboot."""
    specialisation: str = ""
    reboot: str = "never"
    """As in ``StartRequest``: also report whether the host would reboot, and whether it could."""
    history: bool = False
    """Also tell of deploys whose generations may be gone."""
    closure: bool = False
    """Also list the closures of what is current and of ``toplevel``, with sizes."""
    dry_activate: bool = False
    """Also run the kind's dry activation of ``toplevel``."""
    environment: tuple[tuple[str, str], ...] = ()
    """Extra environment for the dry activation."""
    timeout: int = 300
    """Seconds the dry activation may take."""


def probe_script(request: ProbeRequest) -> GuardScript:
    """The script for ``probe``; its answer is read by ``parse_probe``."""
    kind = request.kind
    return guard_script(
        "probe",
        kind=kind.name,
        **_profile(kind, request.profile),
        current=kind.current,
        booted=kind.booted,
        required=" ".join(kind.required),
        has_boot_default=kind.has_boot_default,
        toplevel=request.toplevel,
        specialisation=request.specialisation,
        reboot=request.reboot,
        prepare_boot=kind.prepare_boot,
        history=request.history,
        closure=request.closure,
        dry_activate=kind.dry_activate if request.dry_activate else "",
        timeout_activation=request.timeout,
        environment=_environment(request.environment),
    )


def start_script(request: StartRequest) -> GuardScript:
    """The script for ``start``; its answer is read by ``parse_status``.

    With the action ``dry-activate`` it runs to the end at once and leaves no trace on the host.
    Raises ``ValueError`` when the request was not checked by the caller.
    """
    kind = request.kind
    if _ID.fullmatch(request.activation_id) is None:
        raise ValueError(f"not an activation id: {request.activation_id!r}")
    if request.action not in ACTIONS or request.failed_units not in FAILED_UNITS_POLICIES:
        raise ValueError(f"unknown action or policy: {request.action!r}, {request.failed_units!r}")
    if request.reboot not in REBOOTS:
        raise ValueError(f"unknown reboot: {request.reboot!r}")
    timeouts = (
        request.timeout_activation,
        request.timeout_confirm,
        request.timeout_roll_back,
        request.timeout_reboot,
    )
    if min(timeouts) < 1:
        raise ValueError(f"timeouts are whole seconds, at least one: {timeouts}")
    return guard_script(
        "start",
        id=request.activation_id,
        kind=kind.name,
        activate=kind.activate,
        commit=kind.commit,
        roll_back=kind.roll_back,
        restore_boot_default=kind.restore_boot_default,
        deactivate=kind.deactivate,
        remains=kind.remains,
        prepare_boot=kind.prepare_boot,
        dry_activate=kind.dry_activate,
        current=kind.current,
        booted=kind.booted,
        required=" ".join(kind.required),
        exit_failed_units=_optional(kind.exit_failed_units),
        exit_reboot_required=_optional(kind.exit_reboot_required),
        exit_locked=_optional(kind.exit_locked),
        lock=kind.lock,
        locked_words=kind.locked_words,
        begun_words=kind.begun_words,
        unfinished=kind.unfinished,
        has_boot_default=kind.has_boot_default,
        check_units=kind.check_units,
        action=request.action,
        toplevel=request.toplevel,
        **_profile(kind, request.profile),
        specialisation=request.specialisation,
        timeout_activation=request.timeout_activation,
        timeout_confirm=request.timeout_confirm,
        timeout_roll_back=request.timeout_roll_back,
        timeout_reboot=request.timeout_reboot,
        reboot=request.reboot,
        failed_units=request.failed_units,
        force=request.force,
        reboot_if_unreachable=request.reboot_if_unreachable,
        roll_back_on_failure=request.roll_back_on_failure,
        reboot_command=request.reboot_command,
        deployer=request.deployer,
        deploy=request.deploy,
        revision=request.revision,
        known_revision=request.known_revision,
        any_revision=request.any_revision,
        is_rollback=request.is_rollback,
        secrets=request.secrets,
        environment=_environment(request.environment),
    )


def status_script(activation_id: str, *, wait_while: Iterable[str] = (), seconds: int = 0) -> GuardScript:
    """The script for ``status``: the host waits up to ``seconds`` while the phase is one of ``wait_while``."""
    return guard_script("status", id=activation_id, wait_while=" ".join(wait_while), seconds=seconds)


def hold_script(activation_id: str, *, seconds: int) -> GuardScript:
    """The script for ``hold``: the confirmation has to come within ``seconds`` from now.

    It is refused (error ``not_awaiting``) unless the guard is waiting for a confirmation.
    """
    return guard_script("hold", id=activation_id, seconds=seconds)


def confirm_script(activation_id: str, *, seconds: int) -> GuardScript:
    """The script for ``confirm``: waits up to ``seconds`` for the end.

    It is refused (error ``not_awaiting``) unless the guard is waiting for it; repeating it after a lost
    connection does no harm.
    """
    return guard_script("confirm", id=activation_id, seconds=seconds)


def abort_script(activation_id: str, *, seconds: int, reason: str = "") -> GuardScript:
    """The script for ``abort``: asks for the roll back and waits up to ``seconds`` for the end.

    ``reason`` is recorded, such as the health check that failed. After the commit has begun it is refused
    (error ``too_late``).
    """
    return guard_script("abort", id=activation_id, seconds=seconds, reason=reason)


def recover_script(activation_id: str) -> GuardScript:
    """The script for ``recover``: finishes or undoes an activation whose status says ``interrupted``."""
    return guard_script("recover", id=activation_id)


def _profile(kind: Kind, given: str) -> dict[str, str]:
    """The profile that was given, or how the host finds the kind's own."""
    return {"profile": given or kind.profile, "find_profile": "" if given else kind.find_profile}


def _environment(variables: tuple[tuple[str, str], ...]) -> str:
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in variables)


def _optional(number: int | None) -> str:
    return "" if number is None else str(number)
