# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Explain why a copy failed, and whether another attempt can help."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ansible_collections.nixferry.deploy.plugins.module_utils._explain.causes import Cause, find
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line

STEP = Step.COPY


class CopyError(NixferryError):
    """A copy failed.

    ``transient`` says whether the same attempt may succeed a moment later, ``untrusted`` whether the host refused
    paths without a trusted signature.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        output: Sequence[str] = (),
        transient: bool = False,
        untrusted: bool = False,
    ) -> None:
        super().__init__(message, step=STEP, remedy=remedy, output=output)
        self.transient = transient
        self.untrusted = untrusted


UNTRUSTED = "untrusted"

# The first cause in any line decides: specific causes come first, since Nix adds a general one after them. nix_copy
# tries again what is ``transient``. Signatures, a full disk, a missing program, passwords, permissions and paths that
# do not exist stay as they are without the user.
CAUSES = (
    Cause(
        (
            r"lacks a (valid )?signature",
            r"is not trusted",
            r"not a trusted user",
            r"not privileged to",
            r"because it has no signature",
        ),
        "the host's Nix does not accept unsigned paths from this user: {line}",
        "Three ways out: copy as root (`become: true`); or sign what you build with a deploy key (nix_sign) that is "
        "among the `trusted-public-keys` of the host (nix_trusted_key adds it); or put the paths into a binary cache "
        "that the host has among its `substituters`. Adding the user to `trusted-users` on the host works as well, "
        "and makes that user as good as root.",
        code=UNTRUSTED,
    ),
    Cause(
        (r"no space left on device", r"disk quota exceeded", r"database or disk is full"),
        "the disk of the host is full: {line}",
        "Free space on the host, for instance with nix-collect-garbage --delete-older-than 14d, and run again: "
        "paths that have arrived are not sent a second time.",
    ),
    Cause(
        (r"nix-store: not found", r"nix-store: command not found", r"nix-daemon: not found", r"exec: nix"),
        "Nix was not found on the host: {line}",
        "Install Nix on the host, or name the directory of its programs there in the host's variable "
        "`nixferry_nix_directory`.",
    ),
    Cause(
        (
            r"a password is required",
            r"sudo: a terminal is required",
            r"incorrect password attempt",
            r"doas: authorization required",
        ),
        "privilege escalation asks for a password: {line}",
        "Give ansible_become_password (or --ask-become-pass), or allow this user to become another without one.",
    ),
    Cause(
        (r"cannot connect to (socket|daemon) at", r"daemon-socket/socket.*(denied|refused|no such)"),
        "the Nix daemon of the host cannot be reached: {line}",
        "Check that nix-daemon runs on the host and that the user may use it (`allowed-users`), or use `become: true`.",
    ),
    Cause(
        (
            r"(permission denied|read-only file system).*/nix",
            r"/nix.*(permission denied|read-only file system)",
            r"attempt to write a readonly database",
        ),
        "this user may not write to the Nix store of the host: {line}",
        "Use `become: true`, or an installation of Nix with a daemon.",
    ),
    Cause(
        (
            r"connection (closed|reset|refused|timed out)",
            r"broken pipe",
            r"client_loop",
            r"mux_client",
            r"kex_exchange",
            r"control socket connect",
            # The multiplexed connection has died, and ssh may not ask for a password. Ansible then logs in anew.
            r"permission denied \(",
            r"failed to connect to the host",
            r"timeout, server .* not responding",
            r"no route to host",
            r"network is (unreachable|down)",
            r"operation timed out",
            r"software caused connection abort",
            r"temporary failure in name resolution",
        ),
        "the connection to the host broke: {line}",
        "Run again: paths that have arrived are not sent a second time.",
        transient=True,
    ),
    Cause(
        (r"database is (busy|locked)", r"cannot allocate memory", r"resource temporarily unavailable"),
        "the host is busy: {line}",
        "Run again when less happens there: paths that have arrived are not sent a second time.",
        transient=True,
    ),
    Cause(
        (
            r"unable to download .*(timed? ?out|could( not|n't) resolve|http error (429|5\d\d)|couldn't connect)",
        ),
        "the cache did not answer: {line}",
        "Check that the store in `from` can be reached from where it is read, or leave `from` out.",
        transient=True,
    ),
    Cause(
        (r"is not valid$", r"path '.*' does not exist", r"don't know how to build", r"cannot find path"),
        "{line}",
        "Build the path first (nixferry.deploy.nix_build), or name the store that has it in `from`.",
    ),
    Cause(
        (
            r"input doesn't look like",
            r"wrong format",
            r"unexpected end-of-file",
            r"hash mismatch importing",
            r"gzip|gunzip",
            r"not in gzip format",
        ),
        "the data was corrupted on the way: {line}",
        "Run again: paths that have arrived are not sent a second time.",
        transient=True,
    ),
    Cause(
        (
            r"cannot connect to 'nixferry-target'",
            r"end of file",
            r"protocol mismatch",
            r"failed to start ssh",
        ),
        "the store of the host could not be opened: {line}",
        "Check that `ansible HOST -m raw -a 'nix-store --version'` works with the same become settings.",
        transient=True,
    ),
)


def explain(lines: Sequence[str], otherwise: str, *, transient: bool = False) -> CopyError:
    """Return the error that ``lines`` of output show; ``otherwise`` is the message if they show nothing.

    ``transient`` is for unknown causes.
    """
    kept = [clean_line(line).rstrip() for line in lines if line.strip()]
    # Nix warns an untrusted user about ignored settings, whatever fails later.
    telling = [line for line in kept if not line.lower().startswith("warning:")]
    found = find(CAUSES, telling)
    if found is not None:
        return CopyError(
            found.cause.message.format(line=_tidy(found.line)),
            remedy=found.cause.remedy,
            output=kept,
            transient=found.cause.transient,
            untrusted=found.cause.code == UNTRUSTED,
        )
    last = next((line for line in reversed(kept) if "error" in line.lower()), "")
    return CopyError(_tidy(last) or otherwise, output=kept, transient=transient)


def _tidy(line: str) -> str:
    """Return ``line`` without Nix's own prefix and the invented host name."""
    return re.sub(r"^\s*(error:\s*)+", "", line).strip()
