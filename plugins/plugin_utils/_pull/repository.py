# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""A repository from which a host builds its system by itself, in place of pointers and a cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
_SSH = re.compile(
    r"ssh://(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/[A-Za-z0-9._~/+-]+"
)
# A line of sshd(8)'s file of known hosts.
_KNOWN_HOST = re.compile(
    r"(?:@(?:cert-authority|revoked) )?[^\s#@][!-~]* [a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}(?: [ -~]*)?"
)
# A secret key of OpenSSH, whatever its format: the first and the last line.
_KEY = re.compile(r"-----BEGIN ([A-Z ]+)-----\n[A-Za-z0-9+/=\n]+-----END \1-----")
_OPENPGP = "PGP PUBLIC KEY BLOCK-----"
_OPENPGP_KEY = re.compile(rf"-----BEGIN {_OPENPGP}\n(?:(?!-----)[ -~]*\n)+-----END {_OPENPGP}")
# That of version 4 or 5 of OpenPGP, as a whole: a shorter one can be had for any key.
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
# What an agent with a repository may have.
FILES_OF_REPOSITORY = ("commit_signers", "commit_openpgp_keys", "known_hosts", "repository_key")


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
    """The keys of OpenSSH of which one must have signed a commit."""
    openpgp_keys: tuple[str, ...] = ()
    """Public keys of OpenPGP, as text. If there are none of both kinds, no signature is wanted."""
    openpgp_fingerprints: tuple[str, ...] = ()
    """Those of ``openpgp_keys``, or of their subkeys, that may sign."""
    key: str = ""
    """The secret key of OpenSSH for an address ``ssh://``."""
    known_hosts: tuple[str, ...] = ()
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
        self._check_openpgp()
        self._check_ssh()
        _check(1 <= self.timeout_build <= 999999, "`timeout_build` is not between 1 and 999999 seconds")

    def _check_openpgp(self) -> None:
        for number, key in enumerate(self.openpgp_keys, start=1):
            _check(
                _OPENPGP_KEY.fullmatch(_lines(key)) is not None,
                f"number {number} of `commit_openpgp_keys` is not one public key, as `gpg --armor --export` prints it",
            )
        for fingerprint in self.openpgp_fingerprints:
            _check(
                _FINGERPRINT.fullmatch(_fingerprint(fingerprint)) is not None,
                f"{fingerprint!r} is not a whole fingerprint",
            )
        _check(
            bool(self.openpgp_keys) == bool(self.openpgp_fingerprints),
            "`commit_openpgp_keys` and `commit_openpgp_fingerprints` need each other",
        )

    def _check_ssh(self) -> None:
        """No text of a key is in a message."""
        by_ssh = is_ssh_address(self.url)
        if "://" not in self.url and "@" in self.url:
            raise NixferryError(
                f"{self.url!r} is not a valid address",
                step=STEP,
                remedy="Write it as ssh://user@host/path.",
            )
        _check(by_ssh == bool(self.key), "an address ssh:// needs `repository_key`, and no other one has it")
        _check(
            by_ssh == bool(self.known_hosts), "an address ssh:// needs `known_hosts`, and no other one has it"
        )
        _check(
            not self.key or _KEY.fullmatch(_lines(self.key)) is not None,
            "`repository_key` is not a secret key",
        )
        for number, line in enumerate(self.known_hosts, start=1):
            _check(
                _KNOWN_HOST.fullmatch(line.strip()) is not None,
                f"number {number} of `known_hosts` is not a line of a known_hosts file, as ssh-keyscan prints it",
            )

    def files(self) -> dict[str, tuple[str, str]]:
        """Return text and mode of each file that the host gets for this. No text ends with a newline."""
        found = {
            "commit_signers": (self.signers(), "644"),
            "commit_openpgp_keys": ("\n".join(map(_lines, self.openpgp_keys)), "644"),
            "known_hosts": ("\n".join(line.strip() for line in self.known_hosts), "644"),
            "repository_key": (_lines(self.key), "600"),
        }
        return {name: file for name, file in found.items() if file[0]}

    def signers(self) -> str:
        """Return the file of trusted keys for ssh-keygen, without the last newline."""
        return "\n".join(f'{COMMITTER} namespaces="{COMMIT_NAMESPACE}" {key}' for key in self.commit_keys)


def is_ssh_address(url: str) -> bool:
    """Whether git would fetch this by ssh. No part of it could be an option of ssh's."""
    return _SSH.fullmatch(url) is not None


def _lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _fingerprint(text: str) -> str:
    """Return a fingerprint as gpg's machines say it; people write it in groups."""
    return text.replace(" ", "").upper()


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


def repository_variables(
    repository: Repository | None, host: str, program: Mapping[str, str]
) -> dict[str, str]:
    """Return the settings as shell variables; empty ones without a repository. ``program`` are paths on the host."""
    given = repository or Repository(url="", attribute="none", testing_branches=False)
    return {
        "PULL_REPOSITORY": given.url,
        "PULL_BRANCH": given.branch,
        "PULL_TESTING_BRANCH": f"testing-{host}" if given.testing_branches else "",
        "PULL_ATTRIBUTE": given.attribute if repository else "",
        "PULL_FILE": given.file,
        "PULL_KNOWN_HOSTS": program["known_hosts"] if given.known_hosts else "",
        "PULL_COMMIT_SIGNERS": program["commit_signers"] if given.commit_keys else "",
        "PULL_COMMIT_OPENPGP_KEYS": program["commit_openpgp_keys"] if given.openpgp_keys else "",
        "PULL_COMMIT_OPENPGP_FINGERPRINTS": " ".join(map(_fingerprint, given.openpgp_fingerprints)),
        "PULL_MIN_COMMIT": given.min_commit,
        "PULL_ALLOW_REWRITE": str(int(given.allow_rewrite)),
        "PULL_TIMEOUT_BUILD": str(given.timeout_build),
    }
