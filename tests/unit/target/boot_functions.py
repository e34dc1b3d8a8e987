# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's functions for boot loaders, called one by one on the host that ``guard_host`` makes."""

from __future__ import annotations

from pathlib import Path

from guard_host import Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import requests as _guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import GUARD_PARTS

OLD = "/nix/store/0ld-nixos-system-web1-24.05"
NEW = "/nix/store/n3w-nixos-system-web1-24.11"


def call(host: Host, command: str) -> tuple[int, str]:
    """Run one of the functions of the seam on the host; returns its exit code and output."""
    text = "\n".join(
        (Path(_guard.__file__).parents[1] / "target" / part).read_text()
        for part in GUARD_PARTS
        if part.startswith(("lib/", "boot/"))
    )
    done = host.run(f"{text}\n{command}\n")
    return done.return_code, done.stdout.strip()


def answer(host: Host, command: str) -> str:
    return call(host, command)[1]


def answers(host: Host, *questions: str, before: str = "") -> list[str]:
    """Ask several questions in one go, since most of the time goes into reading the program."""
    printed = "".join(f'printf "%s\\n--\\n" "$({question})"\n' for question in questions)
    return [text.strip() for text in answer(host, f"{before}\n{printed}").removesuffix("--").split("--\n")]
