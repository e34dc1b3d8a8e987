# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Ask the host a second question in the same round trip.

Each command costs the controller a process of ssh, and a slow link a round trip, which for many hosts is most of what a
small question costs.
"""

from __future__ import annotations

import secrets

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step

from .connection import ANSWER_SECONDS, OUTPUT_CHARACTERS, RemoteShell
from .result import RemoteResult


class AskingShell(RemoteShell):
    """A shell in which each script follows ``question``, a script that changes nothing and may fail.

    ``asked`` is the output of the question before the last script, None as long as the host has not answered it.
    The results of scripts have nothing of it. A command that is not a script (``run_command``) runs alone.
    """

    def __init__(self, shell: RemoteShell, question: str) -> None:
        super().__init__(shell.action, shell.host)
        self.search_path = shell.search_path
        self.question = question
        self.asked: RemoteResult | None = None

    def run(
        self,
        script: str,
        *,
        step: Step,
        seconds: float | None = ANSWER_SECONDS,
        most: int = OUTPUT_CHARACTERS,
    ) -> RemoteResult:
        """Run the question and ``script``. Arguments and errors are those of ``RemoteShell.run``."""
        mark = f"nixferry-question-{secrets.token_hex(8)}"
        # A shell of its own, which may exit. The standard input of this one is the rest of the script.
        asking = f"printf '\\n%s\\n' {mark}\n(\n{self.question}\n) </dev/null\nprintf '\\n%s\\n' {mark}\n"
        whole = super().run(f"{asking}{script}", step=step, seconds=seconds, most=most)
        # What a login prints comes first. Without the second mark the host has not come to the script.
        parts = whole.stdout.split(f"\n{mark}\n")
        if len(parts) != 3:
            return whole
        before, asked, after = parts
        self.asked = RemoteResult(0, asked, whole.stderr)
        return RemoteResult(whole.return_code, f"{before}\n{after}", whole.stderr)
