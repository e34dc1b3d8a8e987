# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The result of nix_image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .manifest import Manifest
from .task import ImageRequest, Made


def facts(made: Made | None, directory: Path) -> dict[str, Any]:
    """Return what is told of the image; of one that check mode would make, only what was there before."""
    manifest = made.manifest if made else None
    before = made.before if made else None
    return {
        "image": str(directory / manifest.image) if manifest else None,
        "manifest": str(directory / manifest.file) if manifest else None,
        "sha256": manifest.sha256 if manifest else None,
        "size": manifest.size if manifest else None,
        "virtual_size": (manifest.virtual_size or None) if manifest else None,
        "toplevel": (manifest.toplevel or None) if manifest else None,
        "system": (manifest.system or None) if manifest else None,
        "closure_paths": manifest.closure_paths if manifest else None,
        "closure_size": manifest.closure_size if manifest else None,
        "previous_image": str(directory / before.image) if before else None,
        "previous_toplevel": (before.toplevel or None) if before else None,
    }


def diff(made: Made, request: ImageRequest, sent: Sequence[str]) -> dict[str, str]:
    """Return the difference that is shown."""
    after = _lines(made.manifest) or f"variant {request.variant}\nfrom {request.toplevel}\n"
    news = "the signature is written\n" if made.signed else ""
    news += "".join(f"sent to {address}\n" for address in sent)
    return {
        "before_header": f"image {request.name}",
        "after_header": f"image {request.name}",
        "before": _lines(made.before),
        "after": after + news,
    }


def _lines(manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    source = manifest.toplevel or manifest.wishes.get("source")
    return f"variant {manifest.variant}\nfrom {source}\nsha256 {manifest.sha256}\n"
