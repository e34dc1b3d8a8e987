# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Requests from the controller to the guard on the host.

``probe``     read-only: what runs, what boots, generations, and what a deploy of a given path would change
``start``     checks, takes the lock, records the old system, arms the dead-man, starts the activation, returns
``status``    reports an activation; can wait on the host until its phase changes
``hold``      gives more time to confirm
``confirm``   confirms that the host is healthy: the guard commits
``abort``     asks for the roll back now
``recover``   finishes or undoes an activation that a power cut or a kill interrupted; ``start`` does so by itself

An activation goes through these phases: ``prepared`` ``activating`` ``awaiting-confirmation`` ``committing``
``committed``, or from any of the first four ``rolling-back`` ``rolled-back``; ``failed`` when the roll back failed or
was disabled.
The form of a request is described in ``target/lib/request.sh``, which reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind

from .words import Action, FailedUnits, Reboot

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,62}")
# All other bytes are written as %xx: a request is printable ASCII, and a script holds it in single quotes.
_CODED = re.compile(rb"[^ -$&(-~]")


def check_id(activation_id: str) -> None:
    """Raise ``ValueError`` if it is not a valid activation id."""
    if _ID.fullmatch(activation_id) is None:
        raise ValueError(f"not an activation id: {activation_id!r}")


@dataclass(frozen=True)
class StartRequest:
    """Everything that the guard needs until the confirmation.

    Each field is a row of the table in ``target/lib/request.sh``, which says whether an installed guard takes it.
    Raises ``ValueError`` when the request was not checked by the caller.
    """

    activation_id: str
    """Fresh for each activation (``new_activation_id``): an old confirmation can never count for a new run."""
    kind: Kind
    toplevel: str
    action: Action = Action.SWITCH
    profile: str = ""
    """The profile link; empty: the kind's default."""
    specialisation: str = ""
    timeout_activation: int = 300
    """Seconds the activation may take, and the commit likewise, before its processes are killed."""
    timeout_confirm: int = 60
    """Seconds from the end of the activation within which the confirmation has to come."""
    timeout_roll_back: int = 300
    """Seconds the roll back may take before its processes are killed."""
    failed_units: FailedUnits = FailedUnits.ROLLBACK
    """Whether newly failed units cause a roll back or a note. Units that failed before never count."""
    ignored_units: str = ""
    """Names and patterns of units whose failure does not count, separated by spaces."""
    settle: int = 3
    """Seconds that services which the activation has started must run after its end; 0: do not wait."""
    force: bool = False
    """Activate even when the host already runs and boots the toplevel."""
    despite_pull: bool = False
    """Activate even when a pull agent keeps the profile. The agent itself sets it."""
    expected_current: str = ""
    """What must run now, or `none`; empty: anything."""
    expected_profile: str = ""
    """What the profile must point to now, or `none`; empty: anything."""
    roll_back_on_failure: bool = True
    """Whether a system that fails or is not confirmed is rolled back. If not, the activation ends ``failed`` and the
    system keeps running. Even then a failed commit is undone in the profile and the boot loader, and an activation
    interrupted by a power cut is rolled back."""
    reboot: Reboot = Reboot.NEVER
    """``if-required``: if only a reboot activates all of the new system, boot it once and confirm it then. ``always``:
    do so for every change."""
    timeout_reboot: int = 600
    """Seconds from the order to reboot until the host has gone down; the controller waits as long for its return."""
    reboot_if_unreachable: bool = False
    """Reboot into the old system when no login follows a roll back within ``timeout_confirm``. Also when
    a failed system was left running (``roll_back_on_failure`` false)."""
    metrics_directory: str = ""
    """Where the guard leaves metrics of the activation; ``none``: nowhere; empty: where Debian's collector looks."""
    deployer: str = ""
    """The deployer and the controller, for the record and for other deployers who find the lock taken."""
    deploy: str = ""
    """The id that all hosts of this run share, for the record; empty: none."""
    revision: str = ""
    """The deployed commit, with ``-dirty`` if the working tree was modified; empty: unknown."""
    known_revision: str = ""
    """A deployed revision that ``revision`` is known to descend from. Any other is refused (``other_revision``)."""
    any_revision: bool = False
    """Deploy over any revision."""
    is_rollback: bool = False
    """A deliberate roll back: it replaces any revision, and is recorded as such."""
    secrets: str = ""
    """The set of secrets staged for this activation. It is placed and rolled back with the activation."""
    environment: tuple[tuple[str, str], ...] = ()
    """Extra environment for the kind's programs, such as NIXOS_INSTALL_BOOTLOADER or HOME_MANAGER_BACKUP_EXT."""
    reboot_command: str = ""
    """Empty: ``systemctl reboot`` or ``reboot``."""

    def __post_init__(self) -> None:
        check_id(self.activation_id)
        # Raises ValueError for any other word.
        Action(self.action), FailedUnits(self.failed_units), Reboot(self.reboot)
        timeouts = (
            self.timeout_activation,
            self.timeout_confirm,
            self.timeout_roll_back,
            self.timeout_reboot,
        )
        if min(timeouts) < 1:
            raise ValueError(f"timeouts are whole seconds, at least one: {timeouts}")
        if self.settle < 0:
            raise ValueError(f"settle is in whole seconds: {self.settle}")


@dataclass(frozen=True)
class ProbeRequest:
    """A question that changes nothing on the host."""

    kind: Kind
    profile: str = ""
    toplevel: str = ""
    """Also report on this path: valid, complete, reasons for a reboot."""
    specialisation: str = ""
    reboot: Reboot = Reboot.NEVER
    """As in ``StartRequest``: also report whether the host would reboot, and whether it could."""
    force: bool = False
    """As in ``StartRequest``: do not call the path unchanged."""
    history: bool = False
    """Also report deploys whose generations may be gone."""
    closure: bool = False
    """Also list the closures of the current system and of ``toplevel``, with sizes."""
    dry_activate: bool = False
    """Also run the kind's dry activation of ``toplevel``."""
    environment: tuple[tuple[str, str], ...] = ()
    """Extra environment for the dry activation."""
    timeout_activation: int = 300
    """Seconds the dry activation may take."""


def request_fields(request: StartRequest | ProbeRequest) -> Iterator[tuple[str, str]]:
    """Yield keys and values of a request; ``variable`` may come several times."""
    for field in fields(request):
        value = getattr(request, field.name)
        if isinstance(value, Kind):
            yield "kind", value.name
            yield "activate_command", value.activate_command
        elif field.name == "environment":
            for name, text in value:
                yield "variable", f"{name}={text}"
        elif field.name == "activation_id":
            yield "id", value
        elif isinstance(value, bool):
            yield field.name, "1" if value else ""
        else:
            yield field.name, str(value)


def encode_value(value: str) -> str:
    """Encode ``value`` for the guard; inverse of ``unescape``."""
    raw = value.encode("utf-8", "surrogateescape")
    return _CODED.sub(lambda match: b"%%%02x" % match[0][0], raw).decode("ascii")


def request_lines(
    version: str, verb: str, values: Iterator[tuple[str, str]] | Mapping[str, str]
) -> list[str]:
    """Return the lines of a request. Raises ``ValueError`` for a value with a NUL, which no shell can hold."""
    lines = [f"version={version}", f"verb={verb}"]
    for key, value in values.items() if isinstance(values, Mapping) else values:
        if "\0" in value:
            raise ValueError(f"{key} holds a NUL character")
        if value:
            lines.append(f"{key}={encode_value(value)}")
    return [*lines, f"end={verb}"]
