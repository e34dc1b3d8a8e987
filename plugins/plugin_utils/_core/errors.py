# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The one exception type that reaches the user, and how it becomes an Ansible result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OUTPUT_TAIL_LINES = 40


class NixferryError(Exception):
    """A failure that can be explained to the user.

    ``step`` is the phase of the deploy in the user's words ("evaluate", "copy", "confirm").
    ``remedy`` is what to do next, as a full sentence; it may be empty.
    ``output`` holds what the tool printed, one string a line; only its end is kept.
    """

    def __init__(self, message: str, *, step: str, remedy: str = "", output: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.step = step
        self.remedy = remedy
        self.output = list(output)[-OUTPUT_TAIL_LINES:]

    def __str__(self) -> str:
        return f"{self.step}: {self.message}"

    def text(self, host: str) -> str:
        """One paragraph that names host, step, cause and remedy."""
        sentences = [f"{host}: {self.step} failed: {self.message.rstrip()}"]
        if self.remedy:
            sentences.append(f"What to do: {self.remedy}")
        return "\n".join(sentences)

    @classmethod
    def of_result(cls, host: str, result: Mapping[str, Any]) -> NixferryError:
        """The error that the result of an earlier task on ``host`` was made from."""
        error = cls(
            "", step=str(result["step"]), remedy=str(result["remedy"]), output=result.get("output", ())
        )
        before, _mark, after = error.text(host).partition("failed: ")
        error.message = str(result["msg"]).removeprefix(f"{before}failed: ").removesuffix(after)
        return error

    def result(self, host: str) -> dict[str, Any]:
        """The error as the result of an Ansible task on ``host``."""
        result: dict[str, Any] = {
            "failed": True,
            "changed": False,
            "msg": self.text(host),
            "step": self.step,
            "remedy": self.remedy,
        }
        if self.output:
            result["output"] = self.output
        return result
