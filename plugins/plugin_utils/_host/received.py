# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Send a script with contents for it, on one standard input: neither shows in a process list."""

from __future__ import annotations

import secrets as random
import shlex

from .script import EXTEND_SEARCH_PATH


def received_script(verb: str, what: str, script: bytes, contents: bytes) -> tuple[str, bytes]:
    """Return a command for the host, and its standard input: ``script``, then ``contents``.

    The command receives all or nothing, and runs the script. The script finds all in the file NIXFERRY_RECEIVED, the
    contents after NIXFERRY_SKIP bytes. They are saved first: a shell that read the script from its input would take
    contents into its buffer. ``what`` did not arrive is the error ``incomplete`` in the answer to ``verb``.
    """
    place = '"$directory/received"'
    receive = " && ".join(
        [
            'mkdir "$directory"',
            f"cat >{place}",
            f'[ "$(wc -c <{place})" -eq {len(script) + len(contents)} ]',
            f'head -c {len(script)} {place} >"$directory/script"',
        ]
    )
    incomplete = rf"nixferry=1\nerror=incomplete\nmessage={what} did not arrive completely\nend={verb}"
    command = (
        f"{EXTEND_SEARCH_PATH}; umask 077; trap '' HUP PIPE; "
        f"directory=${{NIXFERRY_ROOT:-}}/run/nixferry-{random.token_hex(16)}; "
        f"if {receive}; then NIXFERRY_SKIP={len(script)} NIXFERRY_RECEIVED={place} "
        '${NIXFERRY_SH:-/bin/sh} "$directory/script" </dev/null; result=$?; '
        f"else result=1; printf '\\n{incomplete}\\n'; fi; "
        'rm -rf "$directory"; exit "$result"'
    )
    return f"/bin/sh -c {shlex.quote(command)}", script + contents
