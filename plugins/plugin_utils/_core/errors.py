# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The exception type that reaches the user, and its form as an Ansible result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OUTPUT_TAIL_LINES = 40


class NixferryError(Exception):
    """A failure that can be explained to the user.

    ``step`` is the phase of the deploy in the user's words ("evaluate", "copy", "confirm").
    ``remedy`` is the next step for the user, as a full sentence; it may be empty.
    ``output`` has the lines that the tool printed; only the end is kept.
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
        """Return one paragraph that names host, step, cause and remedy."""
        sentences = [f"{host}: {self.step} failed: {self.message.rstrip()}"]
        if self.remedy:
            sentences.append(f"What to do: {self.remedy}")
        return "\n".join(sentences)

    @classmethod
    def of_result(cls, host: str, result: Mapping[str, Any]) -> NixferryError:
        """Return the error in the result of an earlier task on ``host``."""
        error = cls(
            "", step=str(result["step"]), remedy=str(result["remedy"]), output=result.get("output", ())
        )
        before, _mark, after = error.text(host).partition("failed: ")
        error.message = str(result["msg"]).removeprefix(f"{before}failed: ").removesuffix(after)
        return error

    def result(self, host: str) -> dict[str, Any]:
        """Return the error as the result of an Ansible task on ``host``."""
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
