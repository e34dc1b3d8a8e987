# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Choose the generation to go back to."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_id import deploy_time
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.deploy_record import DeployRecord
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.probe import Generation, ProbeResult

STEP = Step.CHOOSE_GENERATION
PREVIOUS = "previous"
DEPLOY = "deploy:"
TIME = "time:"
# Seconds by which the clocks of controller and host may differ before a time counts as one in the future.
CLOCK_TOLERANCE_SECONDS = 300
# How many known deploys the error for an unknown deploy id names.
NEAREST_DEPLOYS = 3
# The newest ones that are compared, and the length of an id with room for other forms.
IDS_COMPARED = 1000
ID_CHARACTERS = 64


@dataclass(frozen=True)
class Chosen:
    """Where to go back to; ``number`` is 0 for a store path that need not be a generation."""

    number: int
    path: str
    reason: str = ""
    """Why it was chosen, where the user did not name it."""

    def text(self) -> str:
        """Return the text for a line of progress."""
        found = f"generation {self.number}, {self.path}" if self.number else self.path
        return f"{found}: {self.reason}" if self.reason else found


def choose_generation(probe: ProbeResult, to: str, known_deploys: Collection[str] = ()) -> Chosen:
    """Find what ``to`` means on a host: ``previous``, a number, a store path, ``deploy:ID`` or ``time:WHEN``.

    ``previous`` is the newest generation below the profile's current one that holds another system: going "back" to
    the same system under another number would change nothing. ``known_deploys`` are the ids that other hosts remember.

    Raises ``NixferryError`` when the generation does not exist, or cannot be determined.
    """
    if is_store_path(to):
        return Chosen(0, to)
    if to.startswith(DEPLOY):
        return _of_deploy(probe, to.removeprefix(DEPLOY), known_deploys)
    if to.startswith(TIME):
        moment = _moment(to.removeprefix(TIME))
        return _at(probe, moment, f"what the profile held at {_shown(moment)}")
    remedy = _known(probe)
    if to == PREVIOUS:
        current = probe.generation or 0
        for generation in reversed(probe.generations):
            if generation.number < current and generation.path != probe.profile_target:
                return Chosen(generation.number, generation.path)
        raise NixferryError(
            f"{probe.profile} has no earlier generation with another system", step=STEP, remedy=remedy
        )
    number = whole_number(to)
    if number is None:
        raise NixferryError(
            f"{to[:80]!r} is neither {PREVIOUS}, nor a number, a store path, {DEPLOY}ID or {TIME}WHEN",
            step=STEP,
            remedy=remedy,
        )
    for generation in probe.generations:
        if generation.number == number:
            return Chosen(generation.number, generation.path)
    raise NixferryError(f"{probe.profile} has no generation {to}", step=STEP, remedy=remedy)


def _of_deploy(probe: ProbeResult, deploy: str, known_deploys: Collection[str]) -> Chosen:
    """Choose what a deploy brought to this host, or what the host held then if the deploy did not change it.

    The latter only for a deploy that some host remembers: a mistyped id also contains a time.
    """
    moment = deploy_time(deploy)
    if moment is None:
        raise NixferryError(
            f"{deploy!r} is not a valid deploy id",
            step=STEP,
            remedy="An id looks like 20260921T141300-3fa2c1d4; the playbook nixferry.deploy.status shows them.",
        )
    remembered = (*probe.deploys, *probe.history)
    for record in reversed(remembered):
        if record.deploy == deploy:
            return _still_there(probe, record, f"deploy {deploy} brought it")
    if deploy not in known_deploys:
        raise _unknown(deploy, moment, [*known_deploys, *remembered_deploys(probe)])
    reason = f"deploy {deploy} did not change this host, which held it at {_shown(moment)}"
    return _at(probe, moment, reason, _run_time)


def further_back(probe: ProbeResult, known_deploys: Collection[str]) -> str:
    """Return a warning if ``previous`` would take the host further back than the last deploy reached; else nothing.

    ``known_deploys`` are the ids that the hosts of the play remember: the last deploy may have changed others only.
    """
    known = sorted((moment, each) for each in known_deploys if (moment := deploy_time(each)) is not None)
    own = probe.deployed.deploy if probe.deployed else ""
    # An id begins with its time.
    if not known or known[-1][1] == own or (deploy_time(own) or 0) >= known[-1][0]:
        return ""
    undone = f"deploy {own}" if own else "what it had before"
    earlier = (
        f" {DEPLOY}{known[-2][1]} takes all hosts to what they had before the last deploy."
        if known[1:]
        else ""
    )
    return f"the last deploy, {known[-1][1]}, did not change this host, so `{PREVIOUS}` undoes {undone} here.{earlier}"


def nearest_deploys(deploy: str, known: Collection[str]) -> list[str]:
    """Return the few ids among ``known`` that are most similar to ``deploy``, itself first; none if it is empty."""
    if not deploy:
        return []
    # Hosts name them, as many and as long as they like, and a comparison takes its time.
    ids = sorted(each for each in set(known) if 0 < len(each) <= ID_CHARACTERS)[-IDS_COMPARED:]
    if deploy in known and deploy not in ids:
        ids.append(deploy)
    return difflib.get_close_matches(deploy, ids, n=NEAREST_DEPLOYS, cutoff=0)


def remembered_deploys(probe: ProbeResult) -> list[str]:
    """Return the ids of the deploys that the host has recorded, unordered; those of older versions are empty."""
    return [record.deploy for record in (*probe.deploys, *probe.history)]


def _unknown(deploy: str, moment: int, known: Collection[str]) -> NixferryError:
    nearest = nearest_deploys(deploy, known)
    told = (
        f"those that are known and come nearest are {', '.join(nearest)}"
        if nearest
        else "none is known at all"
    )
    when = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return NixferryError(
        f"no host that was asked knows the deploy {deploy}; {told}",
        step=STEP,
        remedy="Correct the id (the playbook nixferry.deploy.status shows the newest), or include a host that the "
        f"deploy has changed. {TIME}{when} goes back to what each profile held then, whatever was deployed.",
    )


def _run_time(record: DeployRecord) -> int:
    """Return when the deploy began, by the controller's clock if that is known."""
    return deploy_time(record.deploy) or record.time


def _commit_time(record: DeployRecord) -> int:
    """Return when the deploy was committed, by the host's clock."""
    return record.time


def _at(
    probe: ProbeResult, moment: int, reason: str, time_of: Callable[[DeployRecord], int] = _commit_time
) -> Chosen:
    """Choose what the profile held at a time: the last deploy, or a later generation that was not deployed."""
    if moment > time.time() + CLOCK_TOLERANCE_SECONDS:
        raise NixferryError(f"{_shown(moment)} lies in the future", step=STEP)
    # A run may switch a host twice, as a transaction that rolls back does: of equals, max takes the first.
    deployed = max(
        (record for record in reversed(probe.history) if time_of(record) <= moment),
        key=time_of,
        default=None,
    )
    made = max(
        (each for each in probe.generations if each.date is not None and each.date <= moment),
        key=lambda each: (each.date or 0, each.number),
        default=None,
    )
    if made is not None and (deployed is None or (made.date or 0) > deployed.time):
        _refuse_gap(probe, made.number, moment, time_of)
        return Chosen(made.number, made.path, reason)
    if deployed is None:
        raise NixferryError(
            f"no generation of {probe.profile} is known to be as old as {_shown(moment)}",
            step=STEP,
            remedy=_known(probe),
        )
    chosen = _still_there(probe, deployed, reason)
    _refuse_gap(probe, deployed.generation, moment, time_of)
    return chosen


def _still_there(probe: ProbeResult, record: DeployRecord, reason: str) -> Chosen:
    """Choose the generation that holds the deployed system; raises ``NixferryError`` if it is gone."""
    same: list[Generation] = [each for each in probe.generations if each.path == record.toplevel]
    for generation in same:
        if generation.number == record.generation:
            return Chosen(generation.number, generation.path, reason)
    if same:
        return Chosen(same[-1].number, same[-1].path, reason)
    raise NixferryError(
        f"generation {record.generation}, which was deployed on {record.moment}, was deleted since: "
        f"{record.toplevel} is in no generation of {probe.profile}",
        step=STEP,
        remedy=f"Deploy that revision again. {_known(probe)}",
    )


def _refuse_gap(probe: ProbeResult, number: int, moment: int, time_of: Callable[[DeployRecord], int]) -> None:
    """Raise ``NixferryError`` if a deleted generation after ``number`` may have been the one that was current then."""
    later = [generation.number for generation in probe.generations if generation.number > number]
    explained = {record.generation for record in probe.history if time_of(record) > moment}
    gone = [each for each in range(number + 1, min(later, default=number + 1)) if each not in explained]
    if gone:
        raise NixferryError(
            f"what {probe.profile} held at {_shown(moment)} is unknown: "
            f"the deleted generations {', '.join(map(str, gone))} may have been current then",
            step=STEP,
            remedy=f"Name a generation or a store path for this host. {_known(probe)}",
        )


def _moment(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise NixferryError(
            f"{text!r} is not a valid time",
            step=STEP,
            remedy="Write it as in time:2026-09-21T14:13:00+02:00.",
        ) from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _shown(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _known(probe: ProbeResult) -> str:
    numbers = ", ".join(str(generation.number) for generation in probe.generations) or "none"
    return f"The generations on the host are: {numbers}."
