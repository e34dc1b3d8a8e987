# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Copy what a build host has built to the controller, over Ansible's connection to that host.

As in the other direction (``_copy/transport.py``), either ``nix copy`` runs over Ansible's ssh, or exported paths
travel through the connection. Ansible reads the output of commands as text, so there they travel as base64.

The build host may be hostile. The contents of what it has built are its word: nothing shows that they are what the
derivation would make, unless the derivation names their hash (``fixed.py``). But it can only give outputs of the
derivations that were to be built, or of those that they need: the controller knows their paths (``Wanted``), imports by
name, and never a path that was not wanted.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    NixferryError,
    Step,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.store_path import is_store_path
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import (
    OUTPUT_CHARACTERS,
    RemoteShell,
    controller_temporary,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.wait import CLEAN_UP_SECONDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import (
    BuildGraph,
    Item,
    batches,
    closure_names,
    invalid_paths,
    parse_path_info,
)

from .explain import CopyError, explain
from .export import Exported, read_export
from .fixed import Fixed, expect_content, fixed_outputs
from .options import PIECE_BYTES, groups
from .signed import CACHE_INFO, Proof, description, hash_part, parse_proofs
from .store import NIX_COMMAND, TargetStore
from .stream import PIECE_SECONDS
from .transport import TARGET_ALIAS, Transport, choose_transport, search_path_with, ssh_program

STEP = Step.COPY_BACK
TIMEOUT_NAME = "the timeout for the build"
# Of one line of base64, below the bound of a line in an answer.
ENCODED_CHARACTERS = 4000
# Of the names in an export beside a NAR: room for thousands of references.
TRAILER_MOST_BYTES = 1024 * 1024
# The number of paths that an error names.
PATHS_NAMED = 3


@dataclass(frozen=True)
class Wanted:
    """What to copy: ``paths`` and their closures.

    ``graph`` is what the controller has evaluated: then a missing path must be in it, with or without a signature. None
    if the controller knows nothing but the paths: then each missing one needs a signature that the controller trusts.
    """

    paths: tuple[str, ...]
    graph: BuildGraph | None


def copy_back(shell: RemoteShell, wanted: Wanted, *, nix: Nix, timeout: float | None) -> None:
    """Make ``wanted`` of the host valid in the controller's store.

    ``timeout`` is in seconds for everything, None for no limit. Raises ``NixferryError``, also if the host gives
    less or other than was wanted.
    """
    transport = choose_transport(shell)
    if transport is Transport.LOCAL:
        # The host is the controller, and has one store.
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    back = _CopyBack(shell, wanted, nix, deadline)
    with back.kept():
        absent = back.absent()
        fixed = back.fixed(absent)
        if transport is Transport.SSH:
            # Nix would take them without a look. They refer to nothing, and others may refer to them.
            back.by_stream(list(fixed), fixed)
            back.by_ssh([path for path in absent if path not in fixed])
        else:
            back.by_stream(absent, fixed)
    back.verify()


class _CopyBack:
    def __init__(self, shell: RemoteShell, wanted: Wanted, nix: Nix, deadline: float | None) -> None:
        self._shell = shell
        self._store = TargetStore(shell, step=STEP)
        self._wanted = wanted
        self._nix = nix
        self._deadline = deadline

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Protect the paths from the host's garbage collector, which a builder with a full disk starts by itself."""
        with self._directory() as place:
            make = 'umask 077; mkdir "$directory" || exit 1; '
            for number, some in enumerate(batches(self._wanted.paths)):
                root = (
                    f'nix-store --realise --add-root "$directory/root{number}" {shlex.join(some)} >/dev/null'
                )
                self._ask(f"{place}; {make}{root}")
                make = ""
            yield

    def absent(self) -> list[str]:
        """Return the paths of the closure that the controller lacks, each after its references.

        The host says what the closure is: raise ``CopyError`` for a path that the build does not make.
        """
        told: dict[str, None] = {}
        for some in batches(self._wanted.paths):
            lines = self._ask(f"nix-store --query --requisites {shlex.join(some)}")
            told.update(dict.fromkeys(filter(is_store_path, lines)))
        lacking = [path for path in self._wanted.paths if path not in told]
        if lacking:
            raise _refused(f"does not have {_named(lacking)}, which it was to build")
        invalid = invalid_paths(self._nix, told, step=STEP)
        absent = [path for path in told if path in invalid]
        graph = self._wanted.graph
        if graph is not None:
            foreign = [path for path in absent if path not in graph.outputs]
            if foreign:
                raise _refused(f"wants to add {_named(foreign)}, which the build does not make")
        return absent

    def fixed(self, absent: Sequence[str]) -> dict[str, Fixed]:
        """Return those of ``absent`` of which the controller knows the hash."""
        graph = self._wanted.graph
        if graph is None:
            return {}
        return fixed_outputs(self._nix, absent, graph.requisites, step=STEP, timeout=self._seconds_left())

    def by_ssh(self, absent: Sequence[str]) -> None:
        """Let Nix copy exactly ``absent``: of a closure, the host would say what it contains."""
        with ssh_program(self._shell, "exec nix-store --serve --write", compress=None) as directory:
            for some in batches(absent):
                self._import(f"ssh://{TARGET_ALIAS}", some, {"PATH": search_path_with(directory)})

    def by_stream(self, absent: Sequence[str], fixed: Mapping[str, Fixed]) -> None:
        """Fetch exports through the connection, and let Nix read ``absent`` by name from a cache made of them.

        ``nix-store --import`` would take whatever an export contains.
        """
        sizes: dict[str, int] = {}
        proofs: dict[str, Proof] = {}
        for some in batches(absent):
            lines = self._ask(f"{NIX_COMMAND} path-info --size {shlex.join(some)}")
            sizes.update({item.path: item.nar_size for item in parse_path_info("\n".join(lines))})
            proofs.update(
                parse_proofs("\n".join(self._ask(f"{NIX_COMMAND} path-info --sigs {shlex.join(some)}")))
            )
        unknown = [path for path in absent if path not in sizes]
        if unknown:
            raise _refused(f"does not tell the size of {_named(unknown)}")
        for group in groups(Item(path, sizes[path]) for path in absent):
            paths = [item.path for item in group]
            with tempfile.TemporaryDirectory(prefix="nixferry-", dir=controller_temporary()) as cache:
                with tempfile.TemporaryFile(dir=controller_temporary()) as file:
                    most = sum(item.nar_size + TRAILER_MOST_BYTES for item in group)
                    self._fetch(paths, file, most)
                    file.seek(0)
                    exported = read_export(file, paths, step=STEP)
                    for each in exported:
                        if each.path in fixed:
                            expect_content(file, each, fixed[each.path], step=STEP)
                    _make_cache(Path(cache), file, exported, proofs)
                for some in batches(paths):
                    self._import(f"file://{cache}", some, {})

    def verify(self) -> None:
        """Raise ``CopyError`` unless all paths have arrived, and refer to nothing outside of the build."""
        paths = self._wanted.paths
        lacking = invalid_paths(self._nix, paths, step=STEP)
        if lacking:
            raise _refused(f"did not give {_named(sorted(lacking))}, which it was to build")
        graph = self._wanted.graph
        if graph is None:
            return
        whole = closure_names(self._nix, paths, step=STEP, timeout=self._seconds_left())
        foreign = [path for path in whole if path not in graph.outputs and path not in graph.requisites]
        if foreign:
            raise _refused(f"gave something that refers to {_named(foreign)}, which the build does not need")

    def _fetch(self, paths: Sequence[str], file: IO[bytes], most: int) -> None:
        """Write an export of ``paths`` into ``file``, of at most ``most`` bytes."""
        with self._directory() as place:
            make = 'umask 077; mkdir "$directory" || exit 1'
            self._ask(f'{place}; {make}; nix-store --export {shlex.join(paths)} >"$directory/export"')
            pieces = 0
            while True:
                read = f'dd if="$directory/export" bs={PIECE_BYTES} skip={pieces} count=1 2>/dev/null'
                fold = f"tr -d '\\n' | fold -w {ENCODED_CHARACTERS}"
                longest = 2 * PIECE_BYTES + OUTPUT_CHARACTERS
                piece = _decoded(self._ask(f"{place}; {read} | base64 | {fold}", most=longest))
                if len(piece) > PIECE_BYTES or file.tell() + len(piece) > most:
                    raise _refused("sent more than it had told")
                file.write(piece)
                pieces += 1
                if len(piece) < PIECE_BYTES:
                    return

    def _import(self, source: str, paths: Sequence[str], environment: dict[str, str]) -> None:
        trust = [] if self._wanted.graph is None else ["--no-check-sigs"]
        result = self._nix.run(
            ["nix", "copy", "--no-recursive", *trust, "--from", source, *paths],
            step=STEP,
            timeout=self._seconds_left(),
            extra_environment=environment,
            check=False,
        )
        _expect_success(result)

    @contextlib.contextmanager
    def _directory(self) -> Iterator[str]:
        """Yield sh text that sets ``directory`` to a name on the host, and remove that directory at the end.

        The name is unguessable. Make the directory without -p, so that no other user can have made it.
        """
        unique = f"nixferry-{secrets.token_hex(16)}"
        place = f'directory=/var/tmp; [ -w "$directory" ] || directory=/tmp; directory=$directory/{unique}'
        try:
            yield place
        finally:
            # A lost host keeps the directory until it clears its temporary files.
            with contextlib.suppress(NixferryError):
                self._store.ask([place, 'rm -rf "$directory"'], seconds=CLEAN_UP_SECONDS)

    def _ask(self, command: str, *, most: int = OUTPUT_CHARACTERS) -> tuple[str, ...]:
        """Return the lines that sh ``command`` prints on the host, ``most`` characters; it must succeed."""
        left = self._seconds_left()
        seconds = PIECE_SECONDS if left is None else min(left, PIECE_SECONDS)
        return self._store.ask([command], seconds=seconds, most=most).lines

    def _seconds_left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NixferryError(f"{TIMEOUT_NAME} expired", step=STEP, remedy="Raise `timeout`, or run again.")
        return left


def _make_cache(
    cache: Path, export: IO[bytes], exported: Sequence[Exported], proofs: dict[str, Proof]
) -> None:
    """Make a binary cache in ``cache`` of the paths in an export."""
    (cache / "nix-cache-info").write_text(f"{CACHE_INFO}\n", encoding="ascii")
    for each in exported:
        name = hash_part(each.path)
        export.seek(each.offset)
        with (cache / f"{name}.nar").open("wb") as nar:
            left = each.size
            while left:
                left -= nar.write(export.read(min(left, PIECE_BYTES)))
        text = description(each, f"{name}.nar", proofs.get(each.path, Proof()))
        (cache / f"{name}.narinfo").write_text(text, encoding="ascii")


def _decoded(lines: Sequence[str]) -> bytes:
    try:
        return base64.b64decode("".join(lines), validate=True)
    except binascii.Error as error:
        raise _refused("sent what is not base64") from error


def _named(paths: Sequence[str]) -> str:
    more = len(paths) - PATHS_NAMED
    return ", ".join(paths[:PATHS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _refused(what: str) -> NixferryError:
    return CopyError(
        f"the build host {what}",
        remedy="Nothing of it was used. Look whether the build host is in order, or build elsewhere (`build_on`).",
    ).with_(step=STEP)


def _expect_success(result: NixResult) -> None:
    """Raise the failure. Here the controller checks signatures, unlike in ``explain``."""
    if result.timed_out:
        raise result.error(step=STEP, deadline_name=TIMEOUT_NAME)
    if result.return_code == 0:
        return
    error = explain(result.stderr.splitlines(), f"Nix ended with exit code {result.return_code}")
    if error.untrusted:
        error = error.with_(
            cause=error.cause.replace("the host's Nix", "the controller's Nix"),
            remedy="The daemon of the controller takes unsigned paths from trusted users only. Add yourself to its "
            "`trusted-users`; or let the build host sign what it builds (`secret-key-files` in its nix.conf) and add "
            "the key to `trusted-public-keys` here.",
            where=CONTROLLER,
        )
    raise error.with_(step=STEP)
