# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Evaluate hosts with nix-eval-jobs, if it is installed.

It gives one host after the other to its workers, replaces a worker that has taken too much memory, and prints a line of
JSON for each host. Its answer equals that of ``evaluate.nix``. Its errors are terser, and it has no remote builders for
import from derivation. Therefore hosts without a derivation are evaluated again without it.

Options and lines are those of its versions 2.13 to 2.33 (its src/eval-args.cc, src/worker.cc and src/drv.cc).
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixRequest

from .attribute import (
    STEP,
    ExpressionRoot,
    Root,
)
from .limits import (
    Cost,
    Limits,
    worker_memory_mib,
)

PROGRAM = "nix-eval-jobs"
AUTO, REQUIRED, NEVER = MODES = ("auto", "required", "never")
PROBE_TIMEOUT_SECONDS = 60.0
# It has no --version, but every version reports the error of an attribute.
_PROBE = "{ version = throw builtins.nixVersion; }"
_VERSION = re.compile(r"error: (?P<major>\d+)\.(?P<minor>\d+)")
# A number would be looked up in a list (findAlongAttrPath in src/libexpr/attr-path.cc of Nix).
_NAME = "host{}"

Question = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class Derivation:
    """The answer of nix-eval-jobs for a host: the .drv path, and the outputs' store paths by name."""

    drv_path: str
    outputs: Mapping[str, str]


@dataclass
class JobAnswers:
    """The result of one run. Questions in none of the three had no answer; ``trouble`` says why."""

    derivations: dict[Question, Derivation] = field(default_factory=dict)
    failed: list[Question] = field(default_factory=list)
    trouble: str = ""


def usable(nix: Nix, mode: str) -> tuple[bool, str]:
    """Return whether to use nix-eval-jobs, and a warning if it exists but is not used.

    Raises ``NixferryError`` if it is required and cannot be used.
    """
    if mode == NEVER:
        return False, ""
    reason = "it is not on the PATH" if not nix.has(PROGRAM) else _unsuitable(nix)
    if not reason:
        return True, ""
    if mode == REQUIRED:
        raise NixferryError(
            f"{PROGRAM} cannot be used: {reason}",
            step=STEP,
            remedy="Install the one for this version of Nix, or set `nix_eval_jobs: auto` to do without it.",
        )
    return False, f"{PROGRAM} is not used: {reason}" if nix.has(PROGRAM) else ""


def can_ask(root: Root) -> TypeGuard[ExpressionRoot]:
    """Return True if nix-eval-jobs can evaluate ``root``: it reads a file, which is in another directory.

    Flakes are left to Nix itself: before 2.31 it cannot select attributes of a flake.
    """
    return isinstance(root, ExpressionRoot) and root.anywhere


def ask(
    nix: Nix,
    root: ExpressionRoot,
    questions: Sequence[Question],
    limits: Limits,
    deadline: float | None,
    cost: Cost | None = None,
) -> JobAnswers:
    """Evaluate ``questions`` below ``root``. ``deadline`` is a time of ``time.monotonic``, None for no limit."""
    names = {_NAME.format(number): question for number, question in enumerate(questions)}
    text = root.question(
        {name: path for name, (path, _special) in names.items()},
        special_args={name: special for name, (_path, special) in names.items()},
        bare=True,
    )
    workers, memory = worker_memory_mib(len(names), limits, cost)
    # In a private file, as the argument of --expr is in the process list.
    with tempfile.TemporaryDirectory(prefix="nixferry-") as directory:
        file = Path(directory, "question.nix")
        file.write_text(text, encoding="utf-8")
        sizes = ["--workers", str(workers), "--max-memory-size", str(memory)]
        request = NixRequest((PROGRAM, *sizes, *root.search_path, str(file)), deadline=deadline)
        result = nix.run_many([request], step=STEP, parallel=1)[0]
    answers = JobAnswers()
    for line in result.stdout.splitlines():
        job = _job(line)
        question = names.get(str(job.get("attr")))
        if question is None:
            continue
        derivation = _derivation(job)
        if derivation is not None:
            answers.derivations[question] = derivation
        else:
            answers.failed.append(question)
    if len(answers.derivations) + len(answers.failed) < len(names):
        error = result.error(step=STEP, deadline_name="the timeout for the evaluation")
        answers.trouble = error.cause
    return answers


def _unsuitable(nix: Nix) -> str:
    """Return why the nix-eval-jobs on PATH cannot be used, or nothing. Evaluators of two versions could differ."""
    deadline = time.monotonic() + PROBE_TIMEOUT_SECONDS
    request = NixRequest((PROGRAM, "--workers", "1", "--expr", _PROBE), deadline=deadline)
    try:
        result = nix.run_many([request], step=STEP, parallel=1)[0]
    except NixferryError as error:
        return f"it does not start ({error.cause})"
    found = None
    for line in result.stdout.splitlines():
        found = found or _VERSION.search(str(_job(line).get("error", "")))
    if found is None:
        message = result.error(step=STEP, deadline_name="the wait for its version").cause
        return f"it does not start ({message})"
    version = (int(found["major"]), int(found["minor"]))
    if version != nix.version():
        own = ".".join(map(str, nix.version()))
        return f"it evaluates like Nix {found['major']}.{found['minor']}, and this is Nix {own}"
    return ""


def _job(line: str) -> dict[str, Any]:
    try:
        job = json.loads(line)
    except ValueError:
        return {}
    return job if isinstance(job, dict) else {}


def _derivation(job: Mapping[str, Any]) -> Derivation | None:
    """Parse the derivation of a line; None for an error, anything else, or an output without a known path."""
    drv_path, outputs = job.get("drvPath"), job.get("outputs")
    if not isinstance(drv_path, str) or not isinstance(outputs, dict) or not outputs:
        return None
    if not all(isinstance(path, str) for path in outputs.values()):
        return None
    return Derivation(drv_path, outputs)
