# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""What a fleet file says about a host, for the result of a build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .variables import login


def about_host(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool, the login, the tags and the place of the host ``name`` in its fleet file.

    ``said`` is ``nixferryAbout`` of nix/fleet/main.nix. What the file leaves open is ``None``.
    """
    variables = login(name, {**said, "ssh_options": []})
    return {
        "tool": str(said["tool"]),
        "address": variables.get("ansible_host"),
        "user": variables.get("ansible_user"),
        "port": variables.get("ansible_port"),
        "tags": list(map(str, said["tags"])),
        "place": said["place"],
    }
