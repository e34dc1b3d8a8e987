# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The exception type that reaches the user, and its form as an Ansible result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from .said import CUT, clean_line, clean_lines, clean_text

OUTPUT_TAIL_LINES = 40
# Of the text of an error: who reads it at night sees these lines and no others. The rest is in `cause` and `output`.
TEXT_CAUSE_LINES = 3
TEXT_LINE_CHARACTERS = 800
CONTROLLER = "controller"


class Step(StrEnum):
    """The step that failed, in the user's words: "web1: STEP failed: ..."."""

    READ_OPTIONS = "read the options"
    REACH = "reach the host"
    READ_STORE_PATH = "read the store path"
    READ_FLEET = "read the fleet"
    READ_ACCESS = "read the access to hosts"
    READ_SECRETS = "read the secrets"
    READ_FLEET_SECRETS = "read the secrets of the fleet"
    READ_BUILD = "read the result of nix_build"
    PASS_ARGUMENTS = "pass the arguments to Nix"  # noqa: S105
    CHOOSE_KIND = "choose the kind"
    CHOOSE_GENERATION = "choose the generation"
    COMPARE_REVISIONS = "compare revisions"
    COMPARE_CLOSURES = "compare closures"
    FIND_NIX = "find Nix"
    TO_NIX = "to_nix"
    QUERY = "query"
    EVALUATE = "evaluate"
    BUILD = "build"
    WAIT_FOR_BUILD = "wait for the same build"
    KEEP_BUILD = "keep the build from the garbage collector"
    SIGN = "sign"
    TRUST_KEYS = "trust the keys"
    SIGN_POINTER = "sign the pointer"
    READ_POINTER = "read the pointer"
    READ_CACHE = "read the cache"
    PUBLISH = "publish"
    MAKE_RELEASE = "make the release"
    TRY_RELEASE = "try the release"
    COLLECT_GARBAGE = "collect garbage"
    MAKE_KEY = "make the key"
    MAKE_IMAGE = "make the image"
    SEND_IMAGE = "send the image"
    COPY = "copy"
    COPY_BACK = "copy to the controller"
    PLACE_SECRETS = "place the secrets"
    UPDATE_PINS = "update the pins"
    PROBE = "probe"
    START = "start"
    FORECAST = "dry-activate"
    DEPLOY = "deploy"
    TRANSACTION = "deploy together"
    HEALTH_CHECK = "health check"
    PRE_DEPLOY_CHECK = "pre-deploy check"
    ACTIVATE = "activate"
    REBOOT = "reboot"
    CONFIRM = "confirm"
    COMMIT = "commit"
    STATUS = "status"
    HOLD = "hold"
    RECOVER = "recover"
    SETTLE = "settle"
    ABORT = "abort"
    TAKE_BACK = "take back"
    GUARD = "guard"
    WAIT_FOR_GUARD = "wait for the guard"
    ASK_INSTALLED_GUARD = "ask the installed guard"
    INSTALL_GUARD = "install the guard"
    INSTALL_PULL_AGENT = "install the pull agent"
    READ_PLAN = "read the plan"
    WRITE_PLAN = "write the plan"
    READ_PULL_STATUS = "read the status of the pull agent"
    RETURN_RESULT = "return the result"
    LOOK_AT_MACHINE = "look at the machine"
    START_INSTALLER = "start the installer"
    FORMAT_DISKS = "format the disks"
    PLACE_FILES = "place the files"
    INSTALL_SYSTEM = "install the system"
    BOOT_SYSTEM = "boot the new system"
    READ_HARDWARE = "read the hardware"
    KNOW_HOST = "write the host key to known_hosts"
    WATCH_CONTROLLER = "watch the controller"


_OPTION = "Correct this option of the task, or the variable of the role that sets it."
_VALUE = (
    "Give a value that Nix has as well: text, a number, true, false, null, or a list or dictionary of these."
)
# What to do about an error whose cause says all that is known. Other errors have a remedy of their own.
STEP_REMEDIES = {
    Step.READ_OPTIONS: _OPTION,
    Step.INSTALL_GUARD: _OPTION,
    Step.LOOK_AT_MACHINE: _OPTION,
    Step.INSTALL_PULL_AGENT: _OPTION,
    Step.ASK_INSTALLED_GUARD: _OPTION,
    Step.CHOOSE_GENERATION: "Name another generation: the playbook nixferry.deploy.status shows those of a host.",
    Step.PASS_ARGUMENTS: _VALUE,
    Step.TO_NIX: _VALUE,
    Step.READ_ACCESS: "Correct it where the access is declared (`ssh_access`).",
    Step.UPDATE_PINS: "Correct the file of the pins, or the option of the task that names it.",
    Step.DEPLOY: "Correct what failed on the hosts that are named, then deploy again.",
}
_SEE_OUTPUT = "`output` has what the program said, and -vvv shows how it was called."
_SEE_MORE = (
    "-vvv shows what was run. If that does not explain it, please report it as a bug of nixferry.deploy."
)


class NixferryError(Exception):
    """A failure that can be explained to the user. It is immutable: ``with_`` makes another one.

    ``cause`` says what is wrong, without a full stop. ``step`` is what was being done. ``remedy`` is what to do next,
    as full sentences; if it is empty, the user is told what helps with any error of the step. ``output`` holds what the
    tool printed, one string a line; only its end is kept.
    The texts may quote a host or a program: they are cleaned and bounded (``_core/said.py``).
    ``where`` is the machine on which it failed: ``CONTROLLER``, the name of another host such as a build host, or empty
    for the host that the task is for.
    """

    def __init__(
        self, cause: str, *, step: Step, remedy: str = "", output: Sequence[str] = (), where: str = ""
    ) -> None:
        cause = clean_text(cause)
        super().__init__(cause)
        self._cause = cause
        self._step = Step(step)
        self._remedy = clean_text(remedy)
        self._output = clean_lines(tuple(output)[-OUTPUT_TAIL_LINES:])
        self._where = where

    @property
    def cause(self) -> str:
        """Return the cause."""
        return self._cause

    @property
    def headline(self) -> str:
        """Return the first line of the cause."""
        return self._cause.partition("\n")[0]

    @property
    def step(self) -> Step:
        """Return the step that failed."""
        return self._step

    @property
    def remedy(self) -> str:
        """Return the next step for the user."""
        return self._remedy

    @property
    def advice(self) -> str:
        """Return the remedy, or what helps with any error of the step; never empty."""
        return self._remedy or STEP_REMEDIES.get(self._step, _SEE_OUTPUT if self._output else _SEE_MORE)

    @property
    def output(self) -> list[str]:
        """Return the end of the tool's output, one string per line."""
        return list(self._output)

    @property
    def where(self) -> str:
        """Return the machine of the failure; empty: the host of the task."""
        return self._where

    def with_(
        self,
        *,
        cause: str | None = None,
        step: Step | None = None,
        remedy: str | None = None,
        output: Sequence[str] | None = None,
        where: str | None = None,
    ) -> Self:
        """Return the same error, of the same type, with other values."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        NixferryError.__init__(
            other,
            self.cause if cause is None else cause,
            step=self.step if step is None else step,
            remedy=self.remedy if remedy is None else remedy,
            output=self._output if output is None else output,
            where=self.where if where is None else where,
        )
        return other

    def __str__(self) -> str:
        return f"{self.step}: {self.cause}"

    def text(self, host: str) -> str:
        """Return at most five lines that name host, step, cause and remedy."""
        place = f" on {self.where}" if self.where not in ("", CONTROLLER, host) else ""
        lines = [line.rstrip() for line in self.cause.splitlines() if line.strip()] or [""]
        if len(lines) > TEXT_CAUSE_LINES:
            lines = [*lines[: TEXT_CAUSE_LINES - 1], lines[TEXT_CAUSE_LINES - 1] + CUT]
        lines[0] = f"{host}: {self.step}{place} failed: {lines[0]}"
        lines.append(f"What to do: {' '.join(self.advice.split())}")
        return "\n".join(clean_line(line, TEXT_LINE_CHARACTERS) for line in lines)

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> NixferryError:
        """Return the error that the result of an earlier task was made from."""
        return NixferryError(
            str(result["cause"]),
            step=Step(result["step"]),
            remedy=str(result["remedy"]),
            output=result.get("output", ()),
            where=str(result["where"]),
        )

    def result(self, host: str) -> dict[str, Any]:
        """Return the error as the result of an Ansible task on ``host``."""
        result: dict[str, Any] = {"failed": True, "changed": False, **self.told(host)}
        if self._output:
            result["output"] = self.output
        return result

    def told(self, host: str) -> dict[str, str]:
        """Return the text, and its parts as data."""
        return {
            "msg": self.text(host),
            "where": self.where or host,
            "step": str(self.step),
            "cause": self.cause.rstrip(),
            "remedy": self.advice,
        }
