# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Find the cause and the remedy from the output of ssh and Nix when a remote builder does not build.

Nix's last error nearly always says that the platform does not match. The cause is in an earlier line, and with ssh-ng
in no line that the client sees. Therefore the order of the table matters: causes come before their consequences.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Failure(NamedTuple):
    """A fault. ``stage`` is where it occurred, ``evidence`` is the line that shows it."""

    code: str
    stage: str
    cause: str
    hint: str
    evidence: str = ""

    def sentence(self) -> str:
        return f"{self.cause}. {self.hint}"


class _Row(NamedTuple):
    code: str
    stage: str
    sign: str
    cause: str
    hint: str


_ROWS = (
    _Row(
        "host_key_changed",
        "host key",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The builder shows another host key than the pinned one",
        "If it was reinstalled, read its new key over a trusted channel and register it again; otherwise another "
        "machine answers at its address.",
    ),
    _Row(
        "host_key_unknown",
        "host key",
        r"No \S+ host key is known for|Host key verification failed\.",
        "No host key of the builder is known to root",
        "Register the builder with its host key. With an address that differs from its name, ssh's settings need "
        "HostKeyAlias.",
    ),
    _Row(
        "key_permissions",
        "key",
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions",
        "Users other than root may read the secret key, so ssh refuses to use it",
        "Give the file to root with mode 0600.",
    ),
    _Row(
        "key_missing",
        "key",
        r"Identity file \S+ not accessible|no such identity: ",
        "The file with the secret key does not exist",
        "Make the key, or correct the file's name in the builder's entry.",
    ),
    _Row(
        "key_passphrase",
        "key",
        r"incorrect passphrase supplied to decrypt private key",
        "The secret key has a passphrase, which cannot be typed here",
        "Make a key without one for this builder.",
    ),
    _Row(
        "key_refused",
        "login",
        r"Permission denied \(|Too many authentication failures",
        "The builder refuses this key for this user",
        "Compare the public key with the user's authorized_keys there. A KEY.pub of another key beside the right "
        "KEY has the same effect, and so have AllowUsers and a locked account: the builder's sshd says which.",
    ),
    _Row(
        "daemon_down",
        "daemon",
        r"cannot connect to (?:socket|daemon) at '?[^'\n]*daemon-socket",
        "The Nix daemon of the builder does not run",
        "Start nix-daemon there. Until then builds fail and are not done elsewhere.",
    ),
    _Row(
        "socket_group",
        "daemon",
        r"getting status of '?[^'\n]*daemon-socket/socket'?: Permission denied",
        "The user on the builder may not talk to its Nix daemon",
        "On Debian and Ubuntu add the user to the group nix-users.",
    ),
    _Row(
        "unresolved",
        "connect",
        r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution",
        "The builder's name has no address",
        "Correct `host`; for a builder on this machine use 127.0.0.1, since the daemon may not resolve localhost.",
    ),
    _Row(
        "refused",
        "connect",
        r"Connection refused",
        "No server listens at the builder's address and port",
        "Start the builder, or correct `host` and `port`.",
    ),
    _Row(
        "no_route",
        "connect",
        r"No route to host|Network is unreachable|Host is down",
        "The builder's address has no route",
        "Check the network. On macOS 15 and later a daemon needs Apple's own /usr/bin/ssh to reach the local network.",
    ),
    _Row(
        "timeout",
        "connect",
        r"(?:Connection|Operation) timed out|timed out during banner exchange|Timeout, server \S+ not responding",
        "The builder does not answer",
        "Check that it runs and that no firewall drops its packets. A paused container looks the same.",
    ),
    _Row(
        "penalised",
        "connect",
        r"kex_exchange_identification|Connection (?:closed|reset) by (?:remote host|\S+ port \d+)",
        "The builder's sshd hangs up before the login",
        "After failed logins sshd 9.8 and later lock an address out for a while (PerSourcePenalties), and "
        "MaxStartups limits how many may log in at once: its log says `penalty` or `MaxStartups`. Wait, then "
        "try again.",
    ),
    _Row(
        "no_program",
        "program",
        r"nix-(?:store|daemon): (?:command )?not found|"
        r"(?:command not found|not found|No such file or directory)[^\n]*nix-(?:store|daemon)|"
        r"nix-(?:store|daemon)[^\n]*: No such file or directory",
        "The builder's shell does not find Nix",
        "Set `remote_program` to the full path, such as /nix/var/nix/profiles/default/bin/nix-daemon, or put Nix "
        "into the PATH of commands over ssh.",
    ),
    _Row(
        "no_shell",
        "program",
        r"This account is currently not available|not allowed to (?:log|execute)",
        "The user on the builder has no shell that runs commands",
        "Give it /bin/sh; a forced command runs through the login shell too.",
    ),
    _Row(
        "chatty_shell",
        "program",
        r"protocol mismatch(?: from '[^']*')?, got",
        "The builder's shell prints something before Nix speaks",
        "Remove the output from .bashrc and the like of the user there, or print it in interactive shells only.",
    ),
    _Row(
        "wrong_protocol",
        "program",
        r"error: protocol mismatch\s*$|serve protocol.*mismatch",
        "The builder answers in another protocol than the request",
        "A forced command there allows one protocol only: set `protocol` to the other one, ssh or ssh-ng.",
    ),
    _Row(
        "untrusted",
        "trust",
        r"you are not privileged to build|lacks a (?:valid )?signature by a trusted key|lacks a valid signature",
        "The builder's Nix does not trust the user that logs in",
        "Add the user to trusted-users in the builder's nix.conf and restart its nix-daemon.",
    ),
    _Row(
        "restricted",
        "client",
        r"ignoring the client-specified setting 'builders'",
        "This machine's Nix lets trusted users only choose builders",
        "Put the builder into /etc/nix/machines, which is meant for all users, or add the user to trusted-users here.",
    ),
    _Row(
        "machines_syntax",
        "file",
        r"bad machine specification|while parsing machine specification|speed factor must be|"
        r"store URL was not found at the first column",
        "Nix cannot read the file with the builders",
        "Correct the named line: until then every build on this machine fails.",
    ),
    _Row(
        "sandbox",
        "sandbox",
        r"kernel namespaces that are required for sandboxing|cloning builder process|mounting /proc|"
        r"cannot pivot old root|cannot set host name",
        "The builder cannot set up the build sandbox",
        "A container needs namespaces: give it a seccomp profile that allows them and an unmasked /proc "
        "(systempaths=unconfined), or set `sandbox = false` there.",
    ),
    _Row(
        "no_sandbox_shell",
        "sandbox",
        r"executing '/bin/sh': No such file or directory",
        "The builder's sandbox has no /bin/sh",
        "Set `sandbox-paths = /bin/sh=/path/to/static/busybox` in the builder's nix.conf.",
    ),
    _Row(
        "seccomp_emulated",
        "emulation",
        r"unable to load seccomp BPF program",
        "Nix itself runs under emulation, which cannot filter system calls",
        "Run the builder's own image for this machine's processor, and add the other system with extra-platforms; "
        "or set `filter-syscalls = false` there.",
    ),
    _Row(
        "emulation",
        "emulation",
        r"Exec format error|cannot execute(?:: required file not found| binary file)",
        "The builder cannot run programs for that system",
        "Its kernel needs a binfmt_misc entry for the processor, with the flag F so that it works in containers.",
    ),
    _Row(
        "builder_mismatch",
        "match",
        r"build of '[^']*' on '[^']*' failed: (?:error: )?"
        # A builder with Nix 2.34 also begins like this when a build has failed for another reason.
        r"(?:a '\S+' with features \{[^}]*\} is required[^\n]*but I am a|"
        r"[^\n]*\n?[^\n]*(?:[Pp]latform mismatch|missing system features))",
        "The builder itself does not build for the system, or lacks a feature, that its entry here promises",
        "Add it to extra-platforms or system-features in the builder's nix.conf and restart its nix-daemon, or "
        "take it out of the entry.",
    ),
    _Row(
        "disconnected",
        "daemon",
        r"Nix daemon disconnected unexpectedly|unexpected end-of-file|unexpected EOF",
        "The connection to the builder's Nix ended without a message",
        "The builder was stopped in the middle, or its nix-daemon did not start: nix_builder_check, run as root, "
        "tells.",
    ),
    _Row(
        "ssh_failed",
        "connect",
        r"failed to start SSH connection",
        "ssh did not get through to the builder, and with ssh-ng Nix does not show why",
        "Run nix_builder_check as root, or `ssh NAME` as root, to see it.",
    ),
    _Row(
        "no_slot",
        "match",
        r"waiting for a machine to build",
        "The builder has no free slot",
        "Its `max_jobs` here is 0, or abandoned builds hold the slots.",
    ),
    _Row(
        "client_mismatch",
        "match",
        r"Failed to find a machine for remote build|missing system features",
        "No registered builder has the requested system and features",
        "Compare them with `systems` and `supported_features` of the entry.",
    ),
    _Row(
        "no_jobs",
        "match",
        # Nix 2.8 begins it with a small letter. The text after the semicolon depends on whether builders are known.
        r"[Uu]nable to start any build\b|local builds are disabled|set 'max-jobs' to a non-zero value",
        "Local builds are disabled, and no builder fits",
        "Register a builder for that system, or raise max-jobs.",
    ),
    _Row(
        "no_builder",
        "match",
        r"a '\S+' with features \{[^}]*\} is required to build|[Pp]latform mismatch|Required system: ",
        "No builder for that system is registered here",
        "Register one, and check that `builders` in nix.conf leads to /etc/nix/machines.",
    ),
)
_SIGNS = tuple((re.compile(row.sign, re.MULTILINE), row) for row in _ROWS)
CODES = tuple(row.code for row in _ROWS)


def classified(text: str) -> Failure | None:
    """Return the known cause that a text of ssh or Nix shows, or None."""
    for sign, row in _SIGNS:
        match = sign.search(text)
        if match:
            return Failure(row.code, row.stage, row.cause, row.hint, _line_around(text, match.start()))
    return None


def _line_around(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : len(text) if end < 0 else end].strip()


def explained(text: str, stage: str) -> Failure:
    """Like ``classified``, but with a failure for every text."""
    found = classified(text)
    if found:
        return found
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Failure(
        "unknown",
        stage,
        "It failed for an unknown reason",
        "See the output, and the log of the Nix daemon and of sshd on the builder.",
        lines[-1] if lines else "nothing was printed",
    )
