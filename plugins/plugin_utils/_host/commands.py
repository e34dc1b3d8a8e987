# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Run commands on a host that has Nix, and read their output.

The answer has the guard's form: ``line`` for each line of output, and ``code``, the exit code of the command that
failed, or 0. So what a login script prints is not taken for output, and output that was cut off is noticed. Standard
error stays apart, and only its end leaves the host.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

from .answer import ANSWER_BEGIN, Completed, parse_answer
from .script import EXTEND_SEARCH_PATH

# Of standard error, in bytes. The log of a build may be far longer, and Ansible holds all that comes in memory.
ERROR_BYTES = 16 * 1024 * 1024
_VERB = "commands"
# Bytes that an answer does not have become question marks: store paths and numbers contain none.
_ENCODE = "LC_ALL=C tr -c '\\011\\012\\040-\\176' '?' | LC_ALL=C sed -e 's/%/%25/g' -e 's/\t/%09/g'"


@dataclass(frozen=True)
class CommandOutput:
    """The lines of standard output that are not empty, and the exit code."""

    lines: tuple[str, ...]
    code: int

    @property
    def text(self) -> str:
        """Return the output as one text."""
        return "\n".join(self.lines)


def command_script(commands: Iterable[str], *, reads_input: bool = False) -> str:
    """Return a script for ``/bin/sh`` that runs sh ``commands`` one after the other until one fails.

    The script may come on standard input, which then is not that of the commands. ``reads_input``: it comes as an
    argument, and the commands read standard input.
    """
    redirection = "" if reads_input else " </dev/null"
    body = "\n".join(f"        {{ {command}; }}{redirection} || exit $?" for command in commands)
    # A login script may have printed text without a newline.
    return f"""{EXTEND_SEARCH_PATH}
printf '\\n{ANSWER_BEGIN}\\n'
if command -v nix-store >/dev/null 2>&1; then
    exec 4>&1
    {{ {{ (
{body or "        :"}
    ) 3>&- 4>&-
    printf '\\n%s\\n' "$?"; }} 2>&3 | {_ENCODE} -e '$!s/^/line=/' -e '$s/^/code=/' >&4
    }} 3>&1 | tail -c {ERROR_BYTES} >&2
else
    printf '%s\\n' "$PATH" | {_ENCODE} -e 's/^/no_nix=/'
fi
printf 'end={_VERB}\\n'
"""


def read_commands(completed: Completed, *, step: Step) -> CommandOutput:
    """Return the output of ``command_script``. Raises ``NixferryError`` if the host has no Nix, or did not answer."""
    answer = parse_answer(_VERB, completed, step=step)
    if answer.all("no_nix"):
        raise NixferryError(
            "nix-store was not found on the host",
            step=step,
            remedy="Install Nix on the host, or name the directory of its programs there in the host's variable "
            "`nixferry_nix_directory`. "
            f"Searched: {answer.text('no_nix')}.",
        )
    code = answer.integer("code")
    if code is None:
        raise answer.broken("it has no exit code")
    return CommandOutput(tuple(line for line in answer.all("line") if line), code)
