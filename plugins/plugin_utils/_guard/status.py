# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The guard's report on an activation."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.answer import Answer, decode_answer

from .texts import REASONS, REASONS_WITHOUT_UNITS
from .words import Phase

# What the guard puts in front of the reason of an abort.
_ABORTED = "aborted"


def _phase(answer: Answer) -> Phase:
    text = answer.text("phase")
    try:
        return Phase(text)
    except ValueError:
        raise answer.broken(f"unknown phase {text!r}") from None


def _phase_times(answer: Answer) -> tuple[tuple[str, int], ...]:
    """Return the phases with their begin, in seconds since the epoch, unaffected by changes of the clock.

    A line is ``PHASE EPOCH UPTIME``. Only differences of the uptime count, and those of the clock where the host has
    booted in between. Malformed lines, such as half a line from a full disk, are skipped.
    """
    times: list[tuple[str, int]] = []
    last: tuple[int, int] | None = None
    for line in answer.all("phase_time"):
        phase, *fields = line.split(" ")
        numbers = [found for found in map(whole_number, fields) if found is not None]
        if not numbers or len(numbers) != len(fields):
            continue
        clock, uptime = numbers[0], numbers[-1]
        moment = clock
        if last is not None:
            moment = times[-1][1] + (uptime - last[1] if uptime >= last[1] else max(0, clock - last[0]))
        times.append((phase, moment))
        last = clock, uptime
    return tuple(times)


@dataclass(frozen=True)
class GuardStatus:
    """The state of one activation: the answer to ``start``, ``status``, ``confirm``, ``abort`` and ``recover``."""

    activation_id: str = field(metadata={"key": "id"})
    phase: Phase = field(metadata={"read": _phase})
    unchanged: bool
    """``start`` found that the host already runs and boots the requested system."""
    action: str
    kind: str
    toplevel: str
    system: str
    """The system to activate: the toplevel or its specialisation (real path)."""
    profile: str
    deployer: str
    old_toplevel: str
    """Where the profile pointed before; empty on a first deploy."""
    old_system: str
    """The real path of the system that ran before; empty on a first deploy."""
    old_generation: int | None
    """The number of the profile's generation before."""
    new_generation: int | None
    """The number of the generation that the profile points to now."""
    boot_default: str
    """``new`` or ``old``: the system that the profile points to, which starts after a power cut. Empty if it is
    neither, as without an earlier generation, and in the phase ``committing``, when it is unknown."""
    reason: str
    """The reason for the roll back in one word (a key of ``REASONS``); empty otherwise."""
    message: str
    """The same in a sentence, with exit codes and times."""
    exit_code: int | None
    """Of the activation program; above 128, signal number plus 128 if it was killed."""
    commit_exit_code: int | None
    roll_back_exit_code: int | None
    failed_units: tuple[str, ...] = field(metadata={"key": "failed_unit"})
    """Units that failed and had not failed before the activation."""
    failed_units_before: tuple[str, ...] = field(metadata={"key": "failed_unit_before"})
    reboot_reasons: tuple[str, ...] = field(metadata={"key": "reboot_reason"})
    """What differs between the booted and the new system: ``kernel initrd kernel-modules kernel-params
    init-interface-version switch-inhibitors``."""
    reboot_required: bool
    reboot: str
    """A reboot inside the activation: ``planned``, ``under-way`` or ``done``; empty when there is none."""
    seconds_left: int | None
    """Until the roll back, in the phase ``awaiting-confirmation``."""
    left_running: bool
    """The activation failed and was not rolled back, as requested."""
    other_system: str
    """The running system if a third party has switched the host meanwhile; the guard left it alone. Else empty."""
    interrupted: bool
    """The phase is not final and no process works on it: the host went down or the guard was killed; ``recover``."""
    notes: tuple[str, ...] = field(metadata={"key": "note"})
    phase_times: tuple[tuple[str, int], ...] = field(metadata={"key": "phase_time", "read": _phase_times})
    """Phases in order with the time they began (seconds since the epoch, the host's clock)."""
    log: str
    """The end of the programs' output."""
    log_path: str
    """The path of the whole log on the host."""

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.phase.final

    @property
    def why(self) -> str:
        """Return the reason in a sentence, in the user's words."""
        if self.message == _ABORTED:
            return "the deployer had it rolled back"
        return self.message.removeprefix(f"{_ABORTED}: ") or self.reason.replace("_", " ")

    @property
    def journal(self) -> str:
        """Return the command that shows on the host what the new system said while it ran."""
        moments = dict(self.phase_times)
        begin, end = moments.get(Phase.ACTIVATING), moments.get(Phase.ROLLING_BACK)
        span = "" if begin is None else f" --since @{begin}" + ("" if end is None else f" --until @{end}")
        return f"journalctl{span or ' --boot'}"

    @property
    def remedy(self) -> str:
        """A remedy for the user, as a sentence; may be empty."""
        if self.phase == Phase.FAILED:
            if self.other_system:
                return f"{REASONS['other_system']} The log on the host: {self.log_path}."
            if self.left_running:
                remedy = f"Look at what fails there, then deploy again. The log on the host: {self.log_path}."
            else:
                remedy = (
                    "Look at the host: the old system could not be restored completely. "
                    f"The log on the host: {self.log_path}."
                )
            if self.kind in KINDS and KINDS[self.kind].has_boot_default and self.boot_default == "old":
                remedy += " Its boot default is still the old system, so a reboot brings that back."
            elif not self.old_toplevel:
                remedy += " It had no earlier generation, so no reboot brings an old system back."
            return remedy
        # The host names them, and the user may paste the command.
        units = "".join(f" --unit {shlex.quote(unit)}" for unit in self.failed_units)
        known = KINDS.get(self.kind)
        reasons = REASONS if known is None or known.has_units else REASONS_WITHOUT_UNITS
        return reasons.get(self.reason, "").format(journal=self.journal, log_path=self.log_path, units=units)


def read_status(answer: Answer) -> GuardStatus:
    """Read an answer about an activation. Raises ``NixferryError`` when its phase does not exist."""
    return decode_answer(answer, GuardStatus)
