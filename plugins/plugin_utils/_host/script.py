# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Small scripts for the host beside the guard, built from parts of ``target/``. They answer in the guard's form."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step

from .answer import (
    Answer,
    Completed,
    parse_answer,
)

# The parts that every script of the collection needs, in this order.
LIBRARY = ("lib/base.sh", "lib/answer.sh", "lib/time.sh", "lib/files.sh", "lib/process.sh")
# The parts for a script that takes the deploy lock or reads records of activations.
RECORDS = (*LIBRARY, "lib/claim.sh", "lib/record.sh", "lib/lock.sh")


def host_script(settings: Mapping[str, str], parts: Sequence[str]) -> str:
    """Return the script of ``parts``, files of ``target/``, after ``settings`` as shell variables."""
    directory = Path(__file__).parent.parent / "target"
    return "\n".join(
        [
            *(f"{name}={shlex.quote(value)}" for name, value in settings.items()),
            *((directory / part).read_text(encoding="utf-8") for part in parts),
        ]
    )


def answer_of_script(verb: str, completed: Completed, *, step: Step, remedies: Mapping[str, str]) -> Answer:
    """Return the answer of a script. Raises ``NixferryError`` for an error in it, with the remedy for its code."""
    answer = parse_answer(verb, completed)
    code = answer.text("error")
    if not code:
        return answer
    if code not in remedies:
        raise answer.broken(f"unknown error {code!r}")
    # A terminal would mix output and answer, so a script may put its output into the answer.
    output = [*answer.all("output"), *completed.stderr.splitlines()]
    raise NixferryError(answer.text("message"), step=step, remedy=remedies[code], output=output)


# The variable of a host that names the directory of Nix's programs, where they are in none of the usual ones.
NIX_DIRECTORY = "nixferry_nix_directory"


def nix_directory_path(given: object) -> str:
    """Return sh text that puts the directory ``given`` in front of PATH; empty for none.

    Raises ``NixferryError`` if it is not the absolute path of a directory.
    """
    if given in (None, ""):
        return ""
    text = str(given)
    if not text.startswith("/") or ":" in text or not text.isprintable():
        raise NixferryError(
            f"{NIX_DIRECTORY} is not a valid directory: {text!r}",
            step=Step.READ_OPTIONS,
            remedy="Give the absolute path of the directory with nix-store on the host, such as /opt/nix/bin.",
        )
    return f"PATH={shlex.quote(text)}${{PATH:+:$PATH}}; export PATH; "


# Where Nix may be on a host whose PATH for commands without a login does not have it: NixOS, a multi-user and a
# single-user installation, distributions.
EXTEND_SEARCH_PATH = (
    'PATH="${PATH:-/usr/bin:/bin}:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin'
    ':${HOME:-/root}/.nix-profile/bin:/usr/local/bin:/usr/bin:/bin"; export PATH'
)
