# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A repository from which a host builds its system by itself, in place of pointers and a cache."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import Kind

STEP = Step.INSTALL_PULL_AGENT
# For ssh-keygen: any of the keys may sign, and nothing but objects of git.
COMMITTER = "committer"
COMMIT_NAMESPACE = "git"
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_\"'.+-]{1,300}")
_FILE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9._/+-]{0,199}")
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})?")


@dataclass(frozen=True)
class Repository:
    """Which branch a host follows, whom it trusts for that, and what it builds. Times are whole seconds."""

    url: str
    attribute: str
    """The system, in the flake of the repository, or in ``file``."""
    branch: str = "main"
    testing_branches: bool = True
    """Whether a branch ``testing-HOST`` on top of ``branch`` is activated without becoming the boot default."""
    file: str = ""
    commit_keys: tuple[str, ...] = ()
    """The keys of OpenSSH of which one must have signed a commit. None: no signature is wanted."""
    min_commit: str = ""
    allow_rewrite: bool = False
    timeout_build: int = 7200

    def __post_init__(self) -> None:
        """Raise ``NixferryError`` for what the program could not hold."""
        _check(_is_branch(self.branch), f"{self.branch!r} is not a valid name of a branch")
        _check(
            _ATTRIBUTE.fullmatch(self.attribute) is not None, f"{self.attribute!r} is not a valid `attribute`"
        )
        inside = not self.file or (
            _FILE.fullmatch(self.file) is not None and ".." not in self.file.split("/")
        )
        _check(inside, f"{self.file!r} is not a valid path in a repository")
        _check(
            _COMMIT.fullmatch(self.min_commit) is not None, "`min_commit` is not the full name of a commit"
        )
        _check(1 <= self.timeout_build <= 999999, "`timeout_build` is not between 1 and 999999 seconds")

    def signers(self) -> str:
        """Return the file of trusted keys for ssh-keygen, without the last newline."""
        return "\n".join(f'{COMMITTER} namespaces="{COMMIT_NAMESPACE}" {key}' for key in self.commit_keys)


def _check(holds: bool, cause: str) -> None:
    if not holds:
        raise NixferryError(cause, step=STEP)


def _is_branch(name: str) -> bool:
    """Whether git would take it, and no shell or URL would make something else of it (git-check-ref-format(1))."""
    parts = name.split("/")
    return _BRANCH.fullmatch(name) is not None and not any(
        part.startswith(".") or part.endswith((".", ".lock")) or ".." in part or not part for part in parts
    )


def default_attribute(kind: Kind, host: str) -> str:
    """Return where a flake usually has the system of a host. Raises ``NixferryError`` if there is no usual place."""
    if not kind.flake_output:
        raise NixferryError(
            f"a flake has no usual place for the kind {kind.name}",
            step=STEP,
            remedy="Give `attribute`, such as packages.x86_64-linux.web.",
        )
    return ".".join(part for part in (kind.flake_output, f'"{host}"', kind.flake_attribute) if part)


def repository_variables(repository: Repository | None, host: str, signers: str) -> dict[str, str]:
    """Return the settings as shell variables; empty ones without a repository. ``signers`` is a path on the host."""
    given = repository or Repository(url="", attribute="none", testing_branches=False)
    return {
        "PULL_REPOSITORY": given.url,
        "PULL_BRANCH": given.branch,
        "PULL_TESTING_BRANCH": f"testing-{host}" if given.testing_branches else "",
        "PULL_ATTRIBUTE": given.attribute if repository else "",
        "PULL_FILE": given.file,
        "PULL_COMMIT_SIGNERS": signers if given.commit_keys else "",
        "PULL_MIN_COMMIT": given.min_commit,
        "PULL_ALLOW_REWRITE": str(int(given.allow_rewrite)),
        "PULL_TIMEOUT_BUILD": str(given.timeout_build),
    }
