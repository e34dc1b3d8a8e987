# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Find the image in what a variant of nixpkgs, or a format of nixos-generators, has built.

Such an output is a file, or a directory with one image, which ``nix-support/hydra-build-products`` may name.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import built_file

from .tools import STEP

SUPPORT = "nix-support"
PRODUCTS_BYTES = 64 * 1024
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")
_COMPRESSIONS = (".zst", ".xz", ".gz", ".bz2")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}")


def checked_variant(name: str) -> str:
    """Return the name of a variant. Raises ``NixferryError`` if it is not a valid one."""
    if NAME.fullmatch(name) is None:
        raise NixferryError(
            f"{name[:80]!r} is not a valid name of a variant",
            step=STEP,
            remedy="Give `disk`, or one of nixpkgs such as `qemu` or `amazon`.",
        )
    return name


def find_image(output: Path) -> Path:
    """Return the image in ``output``, a store path. Raises ``NixferryError`` unless there is exactly one."""
    if output.is_file():
        return built_file(output, output, step=STEP)
    found = _products(output) or [
        path
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.relative_to(output).parts[0] != SUPPORT
    ]
    if len(found) != 1:
        named = ", ".join(str(path.relative_to(output)) for path in found[:5])
        raise NixferryError(
            f"{output} has {len(found)} files and not one image{f': {named}' if named else ''}",
            step=STEP,
            remedy="Choose a variant that builds one file.",
        )
    return built_file(found[0], output, step=STEP)


def _products(output: Path) -> list[Path]:
    """Return the files that the build calls its products, as far as they are in ``output``."""
    try:
        with built_file(output / SUPPORT / "hydra-build-products", output, step=STEP).open("rb") as file:
            lines = file.read(PRODUCTS_BYTES).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        path = Path(words[2]) if len(words) >= 3 and words[0] == "file" else None
        if path is not None and path.is_relative_to(output) and ".." not in path.parts and path.is_file():
            found.append(path)
    return found


def extension_of(image: Path) -> str:
    """Return the extension of an image without its dot, such as ``qcow2`` or ``img.zst``."""
    name = image.name
    compression = ""
    for suffix in _COMPRESSIONS:
        if name.endswith(suffix):
            name, compression = name.removesuffix(suffix), suffix
    own = Path(name).suffix
    extension = f"{own if _EXTENSION.fullmatch(own) else ''}{compression}".lstrip(".")
    return extension or "img"
