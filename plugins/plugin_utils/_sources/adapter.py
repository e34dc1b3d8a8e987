# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Join the Nix code in ``nix/fleet`` to one text: a flake's evaluation cannot read other files."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.literal import nix_string

_ADAPTERS = Path(__file__).parent.parent / "nix" / "fleet"
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}


@functools.cache
def adapter_text() -> str:
    """Return the function of main.nix with the other parts as an expression."""
    parts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(_ADAPTERS.glob("*.nix"))}
    main = _without_comments(parts.pop("main"))
    del parts["default"]
    entries = " ".join(f"{name} = ({_without_comments(text)});" for name, text in parts.items())
    return f"(({main}) {{ {entries} }})"


def adapter_options(format_: str | None, arguments: str, access: str) -> str:
    """Return the attributes of that function's argument."""
    known = "null" if format_ is None else nix_string(format_)
    machine = platform.machine().lower()
    # A Mac also deploys to Linux.
    system = nix_string(f"{_MACHINES.get(machine, machine)}-linux")
    return f"format = {known}; arguments = {arguments}; access = {access}; system = {system};"


def _without_comments(text: str) -> str:
    """Return Nix code without comments and indentation: a program's arguments have a maximum length.

    No string in the code spans several lines.
    """
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))
