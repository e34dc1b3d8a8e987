# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Ask git on the controller which revision is deployed, and whether it contains another.

Without git, or outside of a checkout, the revision is empty; this is not an error.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from .deploy_record import DIRTY, base_revision
from .run import Ended, run_one

GIT_DEADLINE_SECONDS = 30.0
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REMOTE = re.compile(r"(?:github|gitlab|sourcehut):[^/?]+/[^/?]+/(?P<commit>[0-9a-f]{40})(?:\?|$)")
_PARAMETER = re.compile(r"[?&](?P<name>rev|ref)=(?P<value>[^&]+)")
_LOCAL_SCHEMES = ("path:", "git+file:")
# A git hook that starts a deploy sets these variables for its own repository.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
)


@dataclass(frozen=True)
class Revision:
    """The revision that a source was built from."""

    revision: str = ""
    """The full hash of the commit, with ``-dirty`` if tracked files were modified; empty if unknown."""
    repository: str = ""
    """The checkout on the controller; empty without one."""
    warning: str = ""
    """Why git did not answer, although there is a checkout."""


def flake_revision(reference: str, directory: str) -> Revision:
    """Return the revision of a flake reference without its fragment; relative ones are relative to ``directory``.

    Nothing is fetched: for a remote flake only the commit in the reference itself is known.
    """
    parameters = {match["name"]: unquote(match["value"]) for match in _PARAMETER.finditer(reference)}
    commit = parameters.get("rev", "")
    plain = reference.partition("?")[0]
    scheme = next((scheme for scheme in _LOCAL_SCHEMES if plain.startswith(scheme)), "")
    if not scheme and plain[:1] not in ("", ".", "/"):
        match = _REMOTE.match(reference)
        found = match["commit"] if match else commit
        return Revision(found if _COMMIT.fullmatch(found) else "")
    path = plain.removeprefix(scheme)
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    place = Path(directory, unquote(path) if scheme else path)
    return checkout_revision(place, commit or parameters.get("ref", ""))


def file_revision(file: str, directory: str) -> Revision:
    """Return the revision of the checkout around a Nix file; empty for an entry of the search path."""
    if file.startswith("<"):
        return Revision()
    path = Path(directory, Path(file).expanduser())
    return checkout_revision(path if path.is_dir() else path.parent)


def checkout_revision(place: Path, commit: str = "") -> Revision:
    """Return the commit of the checkout around a directory, or the one that ``commit`` names there."""
    try:
        place = place.resolve(strict=True)
    except OSError:
        return Revision()
    found = _git(place, "rev-parse", "--show-toplevel", "--verify", f"{commit or 'HEAD'}^{{commit}}")
    if found is None or found.return_code:
        complaint = "\n".join(found.errors).strip() if found else ""
        # Another user's checkout: warn, so that the protection is not silently absent.
        return Revision(warning=complaint.splitlines()[0] if "dubious ownership" in complaint else "")
    repository, _newline, revision = found.text.strip().rpartition("\n")
    if commit:
        return Revision(revision, repository)
    # Untracked files do not count, as in Nix.
    status = _git(place, "status", "--porcelain", "--untracked-files=no")
    modified = status is None or status.return_code != 0 or bool(status.text.strip())
    return Revision(revision + (DIRTY if modified else ""), repository)


def is_checkout(directory: str) -> bool:
    """Return True if git knows the directory."""
    done = _git(Path(directory), "rev-parse", "--git-dir") if directory else None
    return done is not None and done.return_code == 0


def checkout_root(directory: Path) -> Path | None:
    """Return the uppermost directory of the checkout around ``directory``; ``None`` outside of a checkout."""
    done = _git(directory, "rev-parse", "--show-toplevel")
    return None if done is None or done.return_code else Path(done.text.strip())


def submodules(root: Path) -> list[str]:
    """Return the paths of the submodules of the checkout in ``root``, relative to it."""
    done = _git(root, "config", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$")
    if done is None or done.return_code:
        return []
    return [line.partition(" ")[2] for line in done.text.splitlines()]


def contains(repository: str, new: str, old: str) -> bool | None:
    """Return True if ``old`` is ``new`` or one of its ancestors; ``None`` if the checkout lacks one of the two."""
    new, old = base_revision(new), base_revision(old)
    if not (_COMMIT.fullmatch(new) and _COMMIT.fullmatch(old)):
        return None
    done = _git(Path(repository), "merge-base", "--is-ancestor", old, new)
    if done is None or done.return_code not in (0, 1):
        return None
    return done.return_code == 0


def intend_to_add(path: Path) -> list[str]:
    """Register a new file with git, without its content. Return warnings; none outside of a checkout."""
    if not is_checkout(str(path.parent)):
        return []
    done = _git(path.parent, "add", "--intent-to-add", "--", path.name)
    if done is not None and done.return_code == 0:
        return []
    return [f"{path} is not known to git: {' '.join(done.errors) if done else 'git does not answer'}"]


def is_shallow(repository: str) -> bool:
    """Return True if the checkout lacks the older part of its history."""
    done = _git(Path(repository), "rev-parse", "--is-shallow-repository")
    return done is not None and done.text.strip() == "true"


def _git(directory: Path, *arguments: str) -> Ended | None:
    """Run git; ``None`` if git is missing or does not answer in time."""
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # No prompts, no download of missing objects of a partial clone, no lock that blocks the user.
    environment.update(GIT_TERMINAL_PROMPT="0", GIT_NO_LAZY_FETCH="1", GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
    try:
        ended = run_one(
            ["git", "-C", str(directory), *arguments], timeout=GIT_DEADLINE_SECONDS, environment=environment
        )
    except OSError:
        return None
    return None if ended.timed_out else ended
