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
# The archive of Nix since 2.2x wraps the error of the download.
_WRAPPED = re.compile(r"Failed to open archive \(Source threw exception: error: (?P<error>.*)\)$", re.DOTALL)
_FEATURES = re.compile(r"\{[^}\n]+\}")


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
        remedy="Name the directory that holds flake.nix; a relative path counts from {directory}. "
        "In a Git repository the file has to be tracked: `git add flake.nix`.",
    ),
    Cause(
        (r"'(?:path:|(?:git\+)?file:(?://)?|\.\.?)?/[^\n]*' is not a valid url",),
        remedy="This version of Nix reads no flake in a directory with a space or such a special character in its "
        "path: rename the directory, or use Nix 2.26 or later.",
    ),
    Cause(
        # Nix 2.8 to 2.26, and later; files in the store are those of an expression.
        (
            r"getting status of '(?!/nix/store/)[^']*': no such file or directory",
            r"path '(?!/nix/store/)[^']*' does not exist$",
        ),
        remedy="Correct the path; a relative one counts from {directory}.",
    ),
    Cause(
        (r"is not a flake \(because it's not a directory\)",),
        remedy="This version of Nix does not follow a symbolic link to a flake: name the directory itself.",
    ),
    Cause(
        (r"has an unsupported type",),
        remedy="Nix copies the whole directory of a flake that is not in a Git repository, and can copy neither "
        "sockets nor pipes: move this one elsewhere, or put the flake into a Git repository.",
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
            r"attribute .* in selection path .* not found",
        ),
        remedy="Check the attribute's name: where it has {host} in it, the host's name in the inventory must be "
        "its name in Nix.",
    ),
    Cause(
        (r"hash mismatch in fixed-output derivation",),
        remedy="What was fetched is not what the hash promises: correct the hash in the expression.",
    ),
    Cause(
        (r"host key verification failed", r"no \S+ host key is known for"),
        remedy="ssh does not know the key of that server: add it to the known_hosts file of the user who runs "
        "ansible-playbook, for instance with one `ssh` to it by hand.",
    ),
    Cause(
        (r"permission denied \((?:publickey|password|keyboard|gssapi)",),
        remedy="The server accepts no key of the user who runs ansible-playbook: start an ssh agent that has the key, "
        "or name the key in that user's ~/.ssh/config.",
    ),
    Cause(
        (
            r"could not read (username|password) for",
            r"terminal prompts disabled",
            r"authentication failed for",
            r"http error 40[13]",
            r"returned error: 40[13]",
        ),
        remedy="The server asks for credentials: give Nix a token (`access-tokens` or `netrc-file` in nix.conf), or "
        "git a credential helper.",
    ),
    Cause(
        (r"repository '?[^']*'? ?not found", r"does not appear to be a git repository", r"http error 404"),
        remedy="Check the address. Many servers say the same about a repository that this user may not read.",
    ),
    Cause(
        (r"executing 'git'", r"program 'git' not found", r"cannot run ssh"),
        remedy="Install git and an ssh client on the controller: Nix fetches with them.",
    ),
    Cause(
        (r"unable to download '[^']*(nix-cache-info|\.narinfo|/nar/)",),
        remedy="A substituter cannot be reached: check the network, the proxy settings and `substituters` in nix.conf.",
    ),
    Cause(
        (
            r"could ?n[o']t resolve host",
            r"could not resolve hostname",
            r"connection refused",
            r"connection timed out",
            r"no route to host",
            r"network is unreachable",
            r"failed to connect to",
            r"unable to download '[^']*'",
        ),
        remedy="The controller could not fetch this: check the address, the controller's network and its proxy "
        "settings.",
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
        # Nix 2.34; before, the same system is required as there is, with other features.
        (
            r"missing system features\s+required features: \{[^}]*\}",
            r"a '(?P<system>[^']*)' with features \{[^}]+\} is required to build [^\n]* I am a '(?P=system)'",
        ),
        remedy="No machine here offers the features {features}: add them to `system-features` in nix.conf of a "
        "machine that has them, or name a builder that offers them in `builders`.",
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
        (r"daemon-socket/socket'?[^\n]*: permission denied",),
        remedy="This user may not talk to the Nix daemon: on Debian and Ubuntu add the user to the group nix-users and "
        "log in anew; elsewhere see `allowed-users` in nix.conf.",
    ),
    Cause(
        (r"cannot connect to (socket|daemon) at", r"cannot open connection to remote store"),
        remedy="The Nix daemon cannot be reached: check that nix-daemon is running.",
    ),
    Cause(
        (r"the group '[^']*' specified in 'build-users-group' does not exist",),
        remedy="Nix runs as root without build users. Create the group with members: on Debian and Ubuntu the package "
        "nix-setup-systemd does. Without them set `build-users-group =` in nix.conf, and builds run as root.",
    ),
    Cause(
        (r"does not support the kernel namespaces", r"private mount namespace", r"cloning builder process"),
        remedy="The build sandbox cannot be set up here: set `sandbox = false` in nix.conf, "
        "or give the container more rights.",
    ),
    Cause(
        (
            r"cannot figure out user name",
            r"cannot determine user's home directory",
            r"[\"'](?!/nix/)[^\"'\n]*/\.(?:cache|local|config)\b[^\"'\n]*[\"'][^\n]*"
            r"(?:permission denied|read-only file system|no such file)",
        ),
        remedy="Nix needs a home directory that the user who runs ansible-playbook may write, and an entry for this "
        "user in /etc/passwd. Containers with a user id of their own often have neither: set HOME, and add the entry.",
    ),
    Cause(
        (
            r"could not set permissions on '/nix/",
            r"'?/nix/[^']*'?: permission denied",
            r"read-only file system",
            r"creating directory '/nix",
        ),
        remedy="This user may not write to the Nix store, and reaches no Nix daemon. On Debian and Ubuntu install the "
        "package nix-setup-systemd, add the user to the group nix-users and log in anew. Elsewhere use a Nix "
        "installation with a daemon, or run as the store's owner.",
    ),
    Cause(
        (r"out of memory", r"cannot allocate memory", r"std::bad_alloc", r"was ended by the signal SIGKILL"),
        remedy="Memory ran out: lower `max_memory` or `evaluators`, so that fewer hosts are evaluated at once.",
    ),
)


# An entry of the search path, which an inventory takes from another place than a task.
_NOT_FOUND = re.compile(r"file '(?P<entry>[^'/]*)[^']*' was not found in the nix search path", re.IGNORECASE)
# What is not about Nix code, whatever the code is. Nix has no word that tells it apart.
_NOT_OF_CODE = re.compile(
    r"could not be fetched|unable to (?:down|up)load|program '[^']*' failed|cannot (?:connect|open connection)"
    r"|permission denied|operation not permitted|read-only file system|input/output error|no space left"
    r"|too many open files|broken pipe|connection (?:reset|closed|refused)|lock file|sqlite|database|daemon"
    r"|ended by the signal|with exit code \d+ without|expired|interrupted by|unrecognised (?:flag|option)"
    r"|experimental (?:nix )?feature|cannot be used|is not a flake|not a valid url|flakeref|flake reference",
    re.IGNORECASE,
)
NOT_OF_CODE = "The output has what Nix said. It is not a mistake in the Nix code."


def remedy_for(text: str, *, of_inventory: bool = False, directory: str = "") -> str:
    """What to do about an error that contains ``text``, as a sentence; empty when nothing is known.

    ``of_inventory``: the options of Nix are as a rule those of the inventory, not of a task. ``directory`` is the base
    of relative paths.
    """
    match = _NOT_FOUND.search(text)
    if match is not None:
        option = (
            "`include` of the inventory's configuration (of the task, if a task reads the fleet)"
            if of_inventory
            else "the task's `include`"
        )
        entry = match["entry"]
        return f"Name <{entry}> in {option}, as in `include: [{entry}=/path/to/{entry}]`, or set NIX_PATH."
    found = find(REMEDIES, [text])
    if found is None:
        return ""
    features = _FEATURES.search(text)
    return found.cause.remedy.replace("{features}", features[0] if features else "that it requires").replace(
        "{directory}", directory or "the playbook's directory"
    )


def code_remedy(cause: str, remedy: str) -> str:
    """Return ``remedy``, which is about a mistake in Nix code, unless ``cause`` is none."""
    return NOT_OF_CODE if _NOT_OF_CODE.search(cause) else remedy


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
    wrapped = _WRAPPED.fullmatch(message)
    message = wrapped["error"] if wrapped else message
    if len(kept) > MESSAGE_LINES:
        message = "\n".join(message.splitlines()[:MESSAGE_LINES]) + "\n..."
    if position and position not in message:
        message = f"{message} (at {position})"
    return message
