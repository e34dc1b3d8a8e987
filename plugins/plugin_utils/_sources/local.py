# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Name a flake in a directory of the controller in a way that Nix understands."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError

from .outputs import STEP

# They end the path in a reference, in every version of Nix, and no version has another way to write them.
_NEVER = re.compile(r"[?#^]")
# What Nix 2.8 reads in the path of a URL. In a path without a scheme it reads the same, but for @ and the colon.
_OF_URLS = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=\"/@:-]*")
_OF_URLS_ONLY = re.compile(r"[@:]")


def local_reference(word: str, directory: str) -> str:
    """Return the reference of the flake at the path ``word``, which counts from ``directory`` and may have a query.

    No version of Nix decodes a path without a scheme, so it stays as it is. Where a URL is needed, it is the one that
    Nix itself makes of a path. Raises ``NixferryError`` if Nix cannot read the path in any form.
    """
    given, mark, query = word.partition("?")
    path = os.path.normpath(Path(directory, Path(given).expanduser())).removesuffix("/flake.nix")
    found = _NEVER.search(path)
    if found:
        raise NixferryError(
            f"Nix reads no flake in a directory with {found[0]} in its path: {path}",
            step=STEP,
            remedy="Rename the directory.",
        )
    if not _OF_URLS_ONLY.search(path) or not _OF_URLS.fullmatch(path):
        return path + mark + query
    parameters = [query] if query else []
    repository = next((each for each in (Path(path), *Path(path).parents) if (each / ".git").exists()), None)
    base = f"path:{path}"
    if repository is not None:
        base = f"git+file://{repository}"
        if repository != Path(path):
            parameters.append(f"dir={Path(path).relative_to(repository).as_posix()}")
        if (repository / ".git/shallow").exists():
            parameters.append("shallow=1")
    return f"{base}?{'&'.join(parameters)}" if parameters else base
