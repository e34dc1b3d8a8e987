# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Evaluate many hosts in parallel, within a memory budget, so that one bad host fails alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.explain import code_remedy

from . import jobs
from .attribute import (
    STEP,
    Attribute,
    Root,
)
from .costs import remember_cost, remembered_cost
from .limits import Budget, Cost, Limits, chunk_size, evaluator_memory_mib
from .places import with_places

TIMEOUT_NAME = "the timeout for the evaluation"
# Linux allows 128 KiB (MAX_ARG_STRLEN); the rest is for the text around the requests.
ARGUMENT_BYTES = 96 * 1024


@dataclass(frozen=True)
class Evaluation:
    """A derivation: its .drv path, and its outputs' store paths by name.

    ``about`` is what a fleet says about the host (``nixferryAbout`` in nix/fleet/main.nix); ``None`` without a fleet,
    and if nix-eval-jobs has evaluated it.
    """

    drv_path: str
    outputs: Mapping[str, str]
    about: Mapping[str, Any] | None = field(default=None, compare=False)


# An attribute path, and the literal of further module arguments.
_Question = jobs.Question


@dataclass
class _Chunk:
    """Attribute paths below one root for one evaluator process, with the hosts that request them."""

    root: Root
    hosts: dict[_Question, list[str]] = field(default_factory=dict)

    @property
    def all_hosts(self) -> list[str]:
        return [host for hosts in self.hosts.values() for host in hosts]

    def request(self, deadline: float | None) -> NixRequest:
        request = self.root.request(
            {str(number): path for number, (path, _special) in enumerate(self.hosts)},
            special_args={str(number): special for number, (_path, special) in enumerate(self.hosts)},
        )
        return replace(request, deadline=deadline)

    def pieces(self, size: int) -> Iterable[_Chunk]:
        """Split the group into chunks of at most ``size``, each short enough for one argument of a program."""
        piece: dict[_Question, list[str]] = {}
        room = ARGUMENT_BYTES
        for question, hosts in self.hosts.items():
            length = len(question[1].encode())
            if piece and (len(piece) == size or length > room):
                yield _Chunk(self.root, piece)
                piece, room = {}, ARGUMENT_BYTES
            piece[question] = hosts
            room -= length
        if piece:
            yield _Chunk(self.root, piece)


Answers = dict[str, Evaluation | NixferryError]


def evaluate(
    nix: Nix,
    attributes: Mapping[str, Attribute],
    *,
    limits: Limits,
    deadline: float | None,
    eval_jobs: str = jobs.NEVER,
    on_start: Callable[[Sequence[str]], None] = lambda hosts: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> Answers:
    """Evaluate the request of each host; an attribute that several hosts share is evaluated once.

    ``deadline`` is a time of ``time.monotonic``, None for no limit. ``eval_jobs`` is one of ``MODES`` of
    ``jobs.py``. ``on_start`` gets the hosts that an evaluator starts with. A host that cannot be evaluated has
    its error in the result.
    Raises ``NixferryError`` only if nothing can be evaluated at all: without Nix, for instance.
    """
    groups: dict[Root, _Chunk] = {}
    for host, attribute in attributes.items():
        chunk = groups.setdefault(attribute.root, _Chunk(attribute.root))
        chunk.hosts.setdefault((attribute.path, attribute.special_args), []).append(host)
    answers: Answers = {}
    cost = remembered_cost(groups)
    alone = _ask_jobs(nix, groups, eval_jobs, limits, cost, deadline, on_start, on_warning, answers)
    size, evaluators = chunk_size(
        sum(len(group.hosts) for group in groups.values()) + len(alone), limits, cost
    )
    budget = Budget(evaluator_memory_mib(limits), cost.of(size))
    chunks: list[_Chunk] = list(alone)
    for group in groups.values():
        pieces = list(group.pieces(size))
        error = _lock(nix, group.root, deadline) if len(pieces) > 1 else None
        if error is None:
            chunks += pieces
        else:
            answers.update(dict.fromkeys(group.all_hosts, error))
    failed = _run_chunks(nix, chunks, evaluators, budget, deadline, on_start, answers)
    _try_alone(nix, failed, evaluators, budget, deadline, on_start, answers)
    return {host: answers[host] for host in attributes}


def _ask_jobs(
    nix: Nix,
    groups: Mapping[Root, _Chunk],
    mode: str,
    limits: Limits,
    cost: Cost,
    deadline: float | None,
    on_start: Callable[[Sequence[str]], None],
    on_warning: Callable[[str], None],
    answers: Answers,
) -> list[_Chunk]:
    """Evaluate with nix-eval-jobs as far as possible, and leave the rest in ``groups``.

    Returns the hosts that it could not evaluate, each in a chunk of its own: Nix itself reports their errors.
    """
    asked = [(group, root) for root, group in groups.items() if len(group.hosts) > 1 and jobs.can_ask(root)]
    if not asked:
        return []
    use, warning = jobs.usable(nix, mode)
    if warning:
        on_warning(warning)
    if not use:
        return []
    alone = []
    for group, root in asked:
        on_start(group.all_hosts)
        found = jobs.ask(nix, root, list(group.hosts), limits, deadline, cost)
        for question, derivation in found.derivations.items():
            evaluation = Evaluation(derivation.drv_path, derivation.outputs)
            answers.update(dict.fromkeys(group.hosts.pop(question), evaluation))
        for question in found.failed:
            alone.append(_Chunk(root, {question: group.hosts.pop(question)}))
        if found.trouble:
            names = ", ".join(group.all_hosts)
            on_warning(f"{jobs.PROGRAM} gave no answer for {names}, evaluated without it: {found.trouble}")
    return alone


def _lock(nix: Nix, root: Root, deadline: float | None) -> NixferryError | None:
    """Update a flake's lock file, so that parallel evaluators neither race for it nor differ."""
    request = root.lock_request()
    if request is None:
        return None
    result = nix.run_many([replace(request, deadline=deadline)], step=STEP, parallel=1)[0]
    return None if result.return_code == 0 else _error(result)


def _run_chunks(
    nix: Nix,
    chunks: Sequence[_Chunk],
    evaluators: int,
    budget: Budget,
    deadline: float | None,
    on_start: Callable[[Sequence[str]], None],
    answers: Answers,
) -> list[tuple[_Chunk, NixferryError]]:
    """Run one evaluator per chunk, collect their answers, and return the failed chunks."""
    requests = [chunk.request(deadline) for chunk in chunks]
    by_request = {id(request): chunk for request, chunk in zip(requests, chunks, strict=True)}
    results = nix.run_many(
        requests,
        step=STEP,
        parallel=evaluators,
        on_start=lambda request: on_start(by_request[id(request)].all_hosts),
        may_start=budget.may_start,
    )
    measured: dict[Root, list[tuple[int, int]]] = {}
    for chunk, result in zip(chunks, results, strict=True):
        # One that has failed may have taken little.
        if result.return_code == 0:
            measured.setdefault(chunk.root, []).append((len(chunk.hosts), result.peak_mib))
    for root, taken in measured.items():
        remember_cost(root, taken)
    failed = []
    for chunk, result in zip(chunks, results, strict=True):
        if result.return_code != 0 or result.timed_out:
            failed.append((chunk, _error(result)))
        else:
            answers.update(_read_answers(chunk, result.stdout))
    return failed


def _try_alone(
    nix: Nix,
    failed: Sequence[tuple[_Chunk, NixferryError]],
    evaluators: int,
    budget: Budget,
    deadline: float | None,
    on_start: Callable[[Sequence[str]], None],
    answers: Answers,
) -> None:
    """Find the failing hosts in failed chunks, each with its own error."""
    alone: list[_Chunk] = []
    shared: dict[Root, NixferryError | None] = {}
    for chunk, error in failed:
        if len(chunk.hosts) == 1:
            answers.update(dict.fromkeys(chunk.all_hosts, _explained(nix, chunk, deadline, error)))
            continue
        if chunk.root not in shared:
            # If the file or flake itself is broken, a host alone fails as well.
            empty = replace(chunk.root.request({}), deadline=deadline)
            result = nix.run_many([empty], step=STEP, parallel=1)[0]
            shared[chunk.root] = None if result.return_code == 0 else _error(result)
        common = shared[chunk.root]
        if common is None:
            alone += chunk.pieces(1)
        else:
            answers.update(dict.fromkeys(chunk.all_hosts, common))
    for chunk, error in _run_chunks(nix, alone, evaluators, budget, deadline, on_start, answers):
        answers.update(dict.fromkeys(chunk.all_hosts, _explained(nix, chunk, deadline, error)))


def _explained(nix: Nix, chunk: _Chunk, deadline: float | None, error: NixferryError) -> NixferryError:
    return with_places(nix, chunk.request(deadline), error, step=STEP)


def _read_answers(chunk: _Chunk, stdout: str) -> Answers:
    try:
        described = json.loads(stdout)
        return {
            host: Evaluation(
                drv_path=described[str(number)]["drv_path"],
                outputs=described[str(number)]["outputs"],
                about=described[str(number)].get("about"),
            )
            for number, hosts in enumerate(chunk.hosts.values())
            for host in hosts
        }
    except (ValueError, KeyError, TypeError) as error:
        raise NixferryError(
            f"the evaluator's answer cannot be read: {error}", step=STEP, output=stdout.splitlines()
        ) from error


def _error(result: NixResult) -> NixferryError:
    error = result.error(step=STEP, deadline_name=TIMEOUT_NAME)
    return error.with_(
        remedy=error.remedy or code_remedy(error.cause, "Fix the Nix code; the output says where.")
    )
