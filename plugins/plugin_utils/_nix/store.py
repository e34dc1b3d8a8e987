# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Query a Nix store: valid paths, closures and their sizes.

Every function takes the ``step`` for errors, raises ``NixferryError`` if Nix fails or does not answer in time, and
takes a ``timeout`` in seconds (``None``: no limit).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import whole_number
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import (
    is_store_path,
    parse_store_path,
)

from .command import Nix
from .narinfo import base32, fingerprint

QUERY_TIMEOUT_SECONDS = 300.0
# The error of src/nix-store/nix-store.cc of Nix 2.8 to 2.34.
_FLOATING = re.compile(r"output path of floating content-address(?:ed|ing) derivation")
# Paths on one command line: less than half a MiB, since a name has at most 211 characters; macOS allows one MiB. Each
# process takes its machine some 20 ms, and the closure of a system has a thousand paths or three.
PATHS_PER_COMMAND = 2000


# A closure may have tens of thousands of them.
@dataclass(frozen=True, slots=True)
class Item:
    """A store path, and its size in bytes as a NAR, which is close to its size on disk."""

    path: str
    nar_size: int


def batches(paths: Sequence[str], size: int = PATHS_PER_COMMAND) -> Iterator[Sequence[str]]:
    """Yield ``paths`` in order, at most ``size`` at a time."""
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def invalid_paths(
    nix: Nix, paths: Iterable[str], *, step: Step, timeout: float | None = QUERY_TIMEOUT_SECONDS
) -> set[str]:
    """Return the ``paths`` that the controller's store does not have."""
    wanted = sorted(set(paths))
    if not wanted:
        return set()
    check = ["nix-store", "--check-validity", "--print-invalid", *wanted]
    return set(query(nix, check, step=step, timeout=timeout).split())


def derivation_outputs(nix: Nix, drv_path: str, *, step: Step) -> dict[str, str]:
    """Return the outputs of a derivation in the controller's store, by name.

    A content-addressed derivation, and one that needs such a one, has none before it is built.
    Raises ``NixferryError`` also if ``drv_path`` is not a valid derivation.
    """
    derivation = parse_store_path(drv_path, step=step)
    if not derivation.path.endswith(".drv"):
        raise NixferryError(
            f"{drv_path} is not a derivation: its name does not end in .drv",
            step=step,
            remedy="Give a built store path as `store_path`.",
        )
    if invalid_paths(nix, [derivation.path], step=step):
        raise NixferryError(
            f"the derivation {derivation.path} is not in the controller's store",
            step=step,
            remedy="Evaluate it here first, or copy it here with `nix copy --derivation --from`.",
        )
    try:
        answer = query(nix, ["nix-store", "--query", "--outputs", derivation.path], step=step)
    except NixferryError as error:
        if _FLOATING.search(error.cause):
            return {}
        raise
    return named_outputs(derivation.path, answer.split(), step=step)


def named_outputs(drv_path: str, paths: Iterable[str], *, step: Step) -> dict[str, str]:
    """Return the store paths of a derivation's outputs by name. Raises ``NixferryError`` for the path of another one.

    Output paths are named like the derivation, with ``-<output>`` unless it is ``out``
    (``outputPathName`` in src/libstore/derivations.cc of Nix).
    """
    name = parse_store_path(drv_path, step=step).name.removesuffix(".drv")
    outputs = {}
    for path in paths:
        found = parse_store_path(path, step=step).name
        if found != name and not found.startswith(f"{name}-"):
            raise NixferryError(f"{path} is not an output of {drv_path}", step=step)
        outputs[found.removeprefix(name).removeprefix("-") or "out"] = path
    return outputs


@dataclass(frozen=True)
class BuildGraph:
    """What derivations need to be built: ``requisites``, and ``outputs``, all that they and those make."""

    requisites: frozenset[str]
    outputs: frozenset[str]


def build_graph(
    nix: Nix, derivations: Sequence[str], *, step: Step, timeout: float | None = QUERY_TIMEOUT_SECONDS
) -> BuildGraph:
    """Return all that building ``derivations`` of the controller's store needs and makes.

    The outputs of content-addressed derivations are missing: their paths are not known before they are built.
    """
    requisites = closure_names(nix, derivations, step=step, timeout=timeout)
    outputs: set[str] = set()
    for batch in batches([path for path in requisites if path.endswith(".drv")]):
        answer = query(nix, ["nix-store", "--query", "--outputs", *batch], step=step, timeout=timeout)
        outputs.update(filter(is_store_path, answer.split()))
    return BuildGraph(frozenset(requisites), frozenset(outputs))


def closure_names(
    nix: Nix, paths: Sequence[str], *, step: Step, timeout: float | None = QUERY_TIMEOUT_SECONDS
) -> list[str]:
    """Return the closure of ``paths`` in the controller's store, every path behind those it refers to."""
    found: dict[str, None] = {}
    for batch in batches(paths):
        answer = query(nix, ["nix-store", "--query", "--requisites", *batch], step=step, timeout=timeout)
        found.update(dict.fromkeys(answer.split()))
    return list(found)


def closure(nix: Nix, paths: Sequence[str], *, step: Step, timeout: float | None = None) -> list[Item]:
    """Return the closure of ``paths`` in the controller's store, every path behind those it refers to.

    The closure of a derivation is everything that building it needs, without its outputs.
    Raises ``NixferryError`` also if a path is missing.
    """
    names = closure_names(nix, paths, step=step, timeout=timeout)
    sizes: list[str] = []
    for batch in batches(names):
        sizes += query(nix, ["nix-store", "--query", "--size", *batch], step=step, timeout=timeout).split()
    if len(sizes) != len(names):
        raise NixferryError(
            f"nix-store --query --size printed {len(sizes)} sizes for {len(names)} paths", step=step
        )
    return [Item(path, int(size)) for path, size in zip(names, sizes, strict=True)]


@dataclass(frozen=True)
class Registered:
    """All that a store has registered of ``path``. ``digest`` is the hash of its content as a NAR."""

    path: str
    digest: bytes
    nar_size: int
    references: tuple[str, ...]

    @property
    def fingerprint(self) -> bytes:
        """Return what a signature of the path is made over."""
        return fingerprint(self.path, f"sha256:{base32(self.digest)}", self.nar_size, self.references)


def registered(
    nix: Nix, paths: Sequence[str], *, step: Step, timeout: float | None = QUERY_TIMEOUT_SECONDS
) -> dict[str, Registered]:
    """Return what the controller's store has registered of ``paths``. Raises ``NixferryError`` if one is missing."""
    found: dict[str, Registered] = {}
    for batch in batches(paths):
        answer = query(nix, ["nix-store", "--dump-db", *batch], step=step, timeout=timeout)
        found.update((each.path, each) for each in parse_registrations(answer, step=step))
    missing = [path for path in paths if path not in found]
    if missing:
        raise NixferryError(f"nix-store --dump-db said nothing about {missing[0]}", step=step)
    return found


def parse_registrations(text: str, *, step: Step) -> Iterator[Registered]:
    """Parse what ``nix-store --dump-db`` prints, the same from Nix 2.8 to 2.34 (src/libstore/store-api.cc).

    For each path: the path, the hash in base 16, the size, the deriver or an empty line, the number of references, and
    each of these on a line.
    """
    lines = iter(text.splitlines())
    for path in lines:
        try:
            digest, size, _deriver, count = (next(lines) for _each in range(4))
            nar_size, references = whole_number(size), whole_number(count)
            if nar_size is None or references is None:
                raise ValueError(size, count)
            named = tuple(next(lines) for _each in range(references))
            found = Registered(path, bytes.fromhex(digest), nar_size, named)
        # A generator turns StopIteration into RuntimeError.
        except (StopIteration, ValueError, RuntimeError):
            raise NixferryError(
                f"nix-store --dump-db printed what is not a registration of {path}", step=step
            ) from None
        yield found


def closure_elsewhere(
    nix: Nix, source: str, paths: Sequence[str], *, step: Step, timeout: float | None = None
) -> list[Item]:
    """Return the closure of ``paths`` in the store ``source``, in no particular order."""
    listing = ["nix", "path-info", "--recursive", "--size", "--store", source, *paths]
    return parse_path_info(query(nix, listing, step=step, timeout=timeout))


def parse_path_info(text: str) -> list[Item]:
    """Parse ``nix path-info --size``: a path and a number on each line. The text may come from a hostile host."""
    items = []
    for line in text.splitlines():
        path, *words = line.split() or [""]
        size = whole_number(words[0]) if len(words) == 1 else None
        if size is not None and is_store_path(path):
            items.append(Item(path, size))
    return items


def query(
    nix: Nix, arguments: Sequence[str], *, step: Step, timeout: float | None = QUERY_TIMEOUT_SECONDS
) -> str:
    """Return the standard output of a Nix program."""
    return nix.run(
        arguments, step=step, timeout=timeout, deadline_name="the wait for the Nix store's answer"
    ).stdout
