# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Advise about a file that a flake's evaluation does not find: untracked, in a submodule, or not there at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.git import checkout_root, submodules

# Up to Nix 2.2x the copied tree simply lacks the file; later ones name it and the repository, or its path there.
_MISSING = re.compile(
    r"(?:getting status of|path) '/*nix/store/[0-9a-z]{32}-source/(?P<copied>[^']*)'.*(?:no such file|does not exist)"
    r"|path '(?P<tracked>[^']*)' in the repository \"(?P<repository>[^\"]*)\" is not tracked by git"
    r"|path '(?P<other>[^']*)' .*is not tracked by git"
    r"|source tree referenced by '[^']*' does not contain",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_GIT = "git+file:"

TRACKED = (
    "A flake in a Git repository consists of the tracked files only: `git add` the file, then run again. It does not "
    "need a commit."
)
UNKNOWN = (
    "The flake's source does not have this file: correct its name. In a Git repository the file has to be tracked "
    "(`git add`); one in a submodule needs `?submodules=1` in the flake's reference."
)
OUTSIDE = "The flake's directory does not have this file: correct its name, or put the file there."


def missing_file_remedy(text: str, argv: Sequence[str], directory: str) -> str:
    """Return what to do about a missing file in the error ``text`` of a Nix program; empty if that is not its cause.

    ``argv`` is the program's command line, whose last word names the flake, if any. A relative reference is relative to
    ``directory``.
    """
    match = _MISSING.search(text)
    if match is None:
        return ""
    name = match["copied"] or match["tracked"] or match["other"] or ""
    if name == "flake.nix":
        return ""
    place, in_git = _flake_place(argv, directory)
    if place is None and not match["repository"]:
        return UNKNOWN
    root = (
        Path(match["repository"])
        if match["repository"]
        else checkout_root(place)
        if place and in_git
        else None
    )
    if root is None:
        return OUTSIDE
    if any(name == module or name.startswith(f"{module}/") for module in submodules(root)):
        return (
            "The file is in a submodule, which a flake does not contain unless asked: give the flake as "
            f"`{_GIT}//{root}?submodules=1`."
        )
    return OUTSIDE if name and root.is_dir() and not (root / name).exists() else TRACKED


def _flake_place(argv: Sequence[str], directory: str) -> tuple[Path | None, bool]:
    """Return the local directory of the flake on a command line, and whether Git may tell what it consists of."""
    if Path(argv[0]).name != "nix" or len(argv) < 2:
        return None, False
    reference = argv[-1].partition("#")[0].partition("?")[0]
    in_git = not reference.startswith("path:")
    if _SCHEME.match(reference):
        scheme = next((each for each in (_GIT, "path:") if reference.startswith(each)), "")
        if not scheme:
            return None, False
        reference = reference.removeprefix(scheme)
        reference = "/" + reference.lstrip("/") if reference.startswith("//") else reference
    elif reference[:1] not in ("", ".", "/"):
        return None, False
    else:
        # Nix decodes URLs only.
        return Path(directory, reference), in_git
    return Path(directory, unquote(reference)), in_git
