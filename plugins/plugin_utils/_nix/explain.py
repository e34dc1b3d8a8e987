# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Turn Nix's output into a message for the user: the cause in one sentence, and the remedy."""

from __future__ import annotations

import re

from ansible_collections.nixferry.deploy.plugins.module_utils._explain.causes import Cause, find

from .text import without_margin

_ERROR = re.compile(r"^\s*error:\s?", re.MULTILINE)
_POSITION = re.compile(r"^\s*at (?P<position>\S.*:\d+(?::\d+)?):?\s*$")
_SOURCE_LINE = re.compile(r"^\s*\d*\|")
_HINT = re.compile(r"^\s*(\((stack trace truncated; )?use '--show-trace'.*\)|Try '.* --help'.*)\s*$")
# Nix's appendix to the error of a build: the end of the log, which results have in a field of its own.
_APPENDIX = re.compile(r"^\s*(?:Output paths:|[Ll]ast \d+ log lines:|For full logs, run)")
MESSAGE_LINES = 30


# The first remedy whose sign is found decides.
REMEDIES = (
    Cause(
        (r"no space left on device", r"disk( is)? full"),
        remedy="Free space on the disk that holds the Nix store, for instance with nix-collect-garbage, "
        "and run again.",
    ),
    Cause(
        (
            r"does not contain a '/?(\S*/)?flake\.nix'",
            r"could not find a flake\.nix file",
            r"-source/flake\.nix'.*(no such file|does not exist)",
        ),
        remedy="Name the directory that holds flake.nix; a relative path counts from the playbook's directory. "
        "In a Git repository the file has to be tracked: `git add flake.nix`.",
    ),
    Cause(
        (
            r"is not tracked by git",
            r"source tree referenced by '[^']*' does not contain",
            # Up to Nix 2.2x the copied tree simply lacks the file.
            r"(getting status of|path) '/*nix/store/[0-9a-z]{32}-source/[^']*'.*(no such file|does not exist)",
        ),
        remedy="A flake in a Git repository consists of the tracked files only: `git add` the file, "
        "then run again. It does not need a commit.",
    ),
    Cause(
        (r"experimental (nix )?feature '?(nix-command|flakes)'? is disabled",),
        remedy="Something switches the feature off again: "
        "set `experimental-features = nix-command flakes` in nix.conf.",
    ),
    Cause(
        (r"experimental (nix )?feature '[a-z-]+' is disabled",),
        remedy="Add the feature to `experimental-features` in nix.conf, or give it in the task's `options` as "
        "`extra-experimental-features`.",
    ),
    Cause(
        (r"in pure eval", r"forbidden in (pure|restricted)", r"is not allowed to fetch"),
        remedy="A flake is evaluated without access to the environment and to files outside it. "
        "Move the file into the flake, make it an input, or set `impure: true`.",
    ),
    Cause(
        (
            r"does not provide attribute",
            r"attribute '[^']*'.* missing",
            r"attribute .* in selection path .* not found",
        ),
        remedy="Check the attribute's name: where it has {host} in it, the host's name in the inventory must be "
        "its name in Nix.",
    ),
    Cause(
        (r"file '[^']*' was not found in the nix search path",),
        remedy="Name it in the task's `include`, as in `include: [nixpkgs=/path/to/nixpkgs]`, or set NIX_PATH.",
    ),
    Cause(
        (r"hash mismatch in fixed-output derivation",),
        remedy="What was fetched is not what the hash promises: correct the hash in the expression.",
    ),
    Cause(
        (
            r"could ?n[o']t resolve host",
            r"could not resolve hostname",
            r"connection refused",
            r"network is unreachable",
            r"failed to connect to",
            r"unable to download '[^']*'",
        ),
        remedy="The controller could not fetch something: check its network, its proxy settings and the "
        "substituters in nix.conf.",
    ),
    Cause(
        (
            r"lacks? a( valid)? signature",
            r"is not trusted",
            r"not a trusted user",
            r"lacks a signature by a trusted key",
        ),
        remedy="The Nix daemon does not trust this user or this signature: add the user to `trusted-users` "
        "or the signing key to `trusted-public-keys` in nix.conf.",
    ),
    Cause(
        (
            r"is required to build",
            r"required \(system, features\)",
            r"required system or feature not available",
            r"platform mismatch",
        ),
        remedy="No builder here can build for that system: name one in `builders` in nix.conf, "
        "set `build_on: target`, or enable emulation.",
    ),
    Cause(
        (r"cannot connect to (socket|daemon) at", r"cannot open connection to remote store"),
        remedy="The Nix daemon cannot be reached: check that nix-daemon is running.",
    ),
    Cause(
        (r"the group '[^']*' specified in 'build-users-group' does not exist",),
        remedy="Nix runs as root without build users: create the group with members, "
        "or set `build-users-group =` in nix.conf.",
    ),
    Cause(
        (r"does not support the kernel namespaces", r"private mount namespace", r"cloning builder process"),
        remedy="The build sandbox cannot be set up here: set `sandbox = false` in nix.conf, "
        "or give the container more rights.",
    ),
    Cause(
        (r"'?/nix/[^']*'?: permission denied", r"read-only file system", r"creating directory '/nix"),
        remedy="This user may not write to the Nix store: use a Nix installation with a daemon, "
        "or run as the store's owner.",
    ),
    Cause(
        (r"out of memory", r"cannot allocate memory", r"std::bad_alloc"),
        remedy="Memory ran out: lower `max_memory` or `evaluators`, so that fewer hosts are evaluated at once.",
    ),
)


def remedy_for(text: str) -> str:
    """What to do about an error that contains ``text``, as a sentence; empty when nothing is known."""
    found = find(REMEDIES, [text])
    return found.cause.remedy if found else ""


def cause_of(text: str) -> str:
    """Return the last cause in an error text of Nix, with the place in the source if Nix names one.

    Nix 2.8 prints the error alone, later versions print the trace first and the error last, both indented.
    """
    pieces = _ERROR.split(text)
    lines = [line.rstrip() for line in pieces[-1].splitlines()]
    kept: list[str] = []
    position = ""
    for line in lines:
        match = _POSITION.match(line)
        if match:
            # A place in the text that was passed to Nix means nothing to the user.
            position = "" if match["position"].startswith("«") else match["position"]
            break
        if _APPENDIX.match(line):
            break
        if _HINT.match(line) or _SOURCE_LINE.match(line):
            continue
        kept.append(line)
    message = "\n".join(without_margin(kept)).strip()
    if len(kept) > MESSAGE_LINES:
        message = "\n".join(message.splitlines()[:MESSAGE_LINES]) + "\n..."
    if position and position not in message:
        message = f"{message} (at {position})"
    return message
