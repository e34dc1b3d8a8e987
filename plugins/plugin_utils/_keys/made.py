# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Make signing keys and replace them without an outage.

Beside the file of a secret key lie up to two others and their public halves::

    cache.key           signs                    cache.key.pub
    cache.key.next      will sign                cache.key.next.pub
                        signed, still trusted    cache.key.old.pub

A key is replaced in three steps, between which the verifying side learns the public keys that ``trusted`` lists: a
successor is made (``next``), it takes over (``promoted``), and the old one is no longer trusted (``retired``).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.run import run_one
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix

from .pointers import PRINCIPAL, read_pointer_key
from .signing import is_public_key, read_signing_key
from .ssh_signature import public_key

STEP = Step.MAKE_KEY
MAKE_SECONDS = 60.0
STATES = ("present", "next", "promoted", "retired")
_COUNTED = re.compile(r"(?P<name>.*?)-(?P<number>[0-9]{1,6})")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,100}")


@dataclass(frozen=True)
class KeyKind:
    """A kind of key. ``make`` writes a secret key to a new file, ``public_of`` reads the public half of one."""

    make: Callable[[Path, str], None]
    public_of: Callable[[Path], str]
    is_public: Callable[[str], bool]


def cache_keys(nix: Nix) -> KeyKind:
    """Keys of Nix, which sign store paths. Their names end in a counter, as is the custom."""

    def make(file: Path, name: str) -> None:
        # Nix prints the key to the file itself: it is in no memory but Nix's.
        with file.open("wb") as output:
            nix.run(
                ["nix", "key", "generate-secret", "--key-name", name],
                step=STEP,
                timeout=MAKE_SECONDS,
                deadline_name="the wait for a new key",
                output=output,
            )

    return KeyKind(make, lambda file: read_signing_key(str(file)).public_key, is_public_key)


def pointer_keys() -> KeyKind:
    """Keys of OpenSSH, which sign pointers."""

    def make(file: Path, name: str) -> None:
        file.unlink()
        try:
            done = run_one(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)],
                timeout=MAKE_SECONDS,
            )
        except OSError as error:
            raise NixferryError(
                f"ssh-keygen could not be started: {error.strerror}", step=STEP, remedy="Install OpenSSH."
            ) from None
        if not done.succeeded:
            raise NixferryError("ssh-keygen made no key", step=STEP, output=done.errors)
        file.with_name(f"{file.name}.pub").unlink()

    return KeyKind(
        make, lambda file: read_pointer_key(str(file)).public, lambda text: public_key(text) is not None
    )


@dataclass(frozen=True)
class KeyFiles:
    """The public keys beside the file of a secret key; empty for those that do not exist."""

    current: str = ""
    next: str = ""
    old: tuple[str, ...] = ()

    @property
    def trusted(self) -> list[str]:
        """Return what the verifying side must trust now, the present one first."""
        return list(dict.fromkeys(filter(None, (self.current, self.next, *self.old))))


def read_keys(path: Path, kind: KeyKind) -> KeyFiles:
    """Return the public keys of what lies there. Raises ``NixferryError`` for a file that is not a key."""
    following = _beside(path, ".next")
    return KeyFiles(
        current=kind.public_of(path) if path.exists() else "",
        next=kind.public_of(following) if following.exists() else "",
        old=_old_keys(path, kind),
    )


def _old_keys(path: Path, kind: KeyKind) -> tuple[str, ...]:
    file = _beside(path, ".old.pub")
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    except OSError as error:
        raise _cannot(file, error) from None
    wrong = [line for line in lines if line.strip() and not kind.is_public(line.strip())]
    if wrong:
        raise NixferryError(
            f"{file} has a line that is not a public key", step=STEP, remedy="Mend it by hand."
        )
    return tuple(line.strip() for line in lines if line.strip())


def change_keys(
    path: Path, kind: KeyKind, state: str, *, name: str, dry_run: bool
) -> tuple[KeyFiles, KeyFiles | None]:
    """Bring the files to ``state``; return the public keys before and after, the latter None if a dry run cannot know.

    Every state can be asked for again, and then changes nothing. Raises ``NixferryError`` for a step that would not be
    safe: a successor takes over only after it was made in a step of its own.
    """
    before = read_keys(path, kind)
    if state != "present" and not before.current:
        raise NixferryError(
            f"there is no key {path} to replace", step=STEP, remedy="Make one with the state `present` first."
        )
    following = _beside(path, ".next")
    if state == "present" and not before.current:
        if dry_run:
            return before, None
        _make(path, kind, _first_name(name))
    elif state == "next" and not before.next:
        if dry_run:
            return before, None
        _make(following, kind, _next_name(before.current, name))
    elif state == "promoted" and before.next:
        after = KeyFiles(before.next, "", tuple(dict.fromkeys((before.current, *before.old))))
        if dry_run:
            return before, after
        # The old public key is noted first: a step that ends half-way never forgets a key that is still in use.
        _write(_beside(path, ".old.pub"), "".join(f"{key}\n" for key in after.old))
        _move(following, path)
        _write_public(path, after)
        return before, after
    elif state == "promoted" and not before.old:
        raise NixferryError(
            f"{path} has no successor yet",
            step=STEP,
            remedy="Make one with the state `next`, and let it be trusted everywhere before it takes over.",
        )
    elif state == "retired" and before.old:
        if not dry_run:
            _remove(_beside(path, ".old.pub"))
        return before, KeyFiles(before.current, before.next)
    elif dry_run:
        return before, before
    after = read_keys(path, kind)
    _write_public(path, after)
    return before, after


def _write_public(path: Path, keys: KeyFiles) -> None:
    """Keep the public halves beside the secret ones, also after a step that ended half-way."""
    for suffix, public in (("", keys.current), (".next", keys.next)):
        file = _beside(path, f"{suffix}.pub")
        if not public:
            _remove(file)
        elif not file.exists() or file.read_text(encoding="utf-8", errors="replace").strip() != public:
            _write(file, f"{public}\n")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def _first_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise NixferryError(
            f"{name!r} is not a valid name of a key",
            step=STEP,
            remedy="Give one such as cache.example.org in `name`; a number is added to it.",
        )
    return name if _COUNTED.fullmatch(name) else f"{name}-1"


def _next_name(current: str, name: str) -> str:
    """Return the name of a successor: that of the present key of Nix, counted on."""
    present = current.partition(":")[0] if ":" in current else ""
    counted = _COUNTED.fullmatch(present)
    if counted is not None:
        return f"{counted['name']}-{int(counted['number']) + 1}"
    return f"{present}-2" if present else name or PRINCIPAL


def _make(path: Path, kind: KeyKind, name: str) -> None:
    """Make a key in a private directory beside its place, and move it there whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".nixferry-", dir=path.parent) as directory:
            file = Path(directory) / "key"
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            kind.make(file, name)
            try:
                # Another process may have made one meanwhile: its public half may be in use already.
                os.link(file, path)
            except FileExistsError:
                raise NixferryError(
                    f"{path} was made by another process",
                    step=STEP,
                    remedy="Run this again, which then keeps it.",
                ) from None
    except OSError as error:
        raise _cannot(path, error) from None


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _cannot(path, error) from None


def _move(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise _cannot(target, error) from None


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        try:
            path.unlink()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _cannot(path, error) from None


def _cannot(path: Path, error: OSError) -> NixferryError:
    return NixferryError(
        f"{path} cannot be written or read: {error.strerror}",
        step=STEP,
        remedy="Look at the owner of its directory.",
    )
