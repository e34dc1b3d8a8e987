# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Find the cause and the remedy from the output of ssh and Nix when a remote builder does not build.

Nix's last error nearly always says that the platform does not match. The cause is in an earlier line, and with ssh-ng
in no line that the client sees. Therefore the order of the table matters: causes come before their consequences.
"""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.nixferry.deploy.plugins.module_utils._explain.causes import Cause, find


class Failure(NamedTuple):
    """A fault. ``stage`` is where it occurred, ``evidence`` is the line that shows it."""

    code: str
    stage: str
    cause: str
    hint: str
    evidence: str = ""

    def sentence(self) -> str:
        return f"{self.cause}. {self.hint}"


_ROWS = (
    Cause(
        code="host_key_changed",
        stage="host key",
        signs=(r"REMOTE HOST IDENTIFICATION HAS CHANGED",),
        message="The builder shows another host key than the pinned one",
        remedy="If it was made anew, read its new key over a way that you trust and register it again; otherwise "
        "another machine answers at its address.",
    ),
    Cause(
        code="host_key_unknown",
        stage="host key",
        signs=(r"No \S+ host key is known for|Host key verification failed\.",),
        message="No host key of the builder is known to root",
        remedy="Register the builder with its host key. With an address that differs from its name, ssh's "
        "settings need HostKeyAlias.",
    ),
    Cause(
        code="key_permissions",
        stage="key",
        signs=(r"UNPROTECTED PRIVATE KEY FILE|bad permissions",),
        message="Users other than root may read the secret key, so ssh refuses to use it",
        remedy="Give the file to root with mode 0600.",
    ),
    Cause(
        code="key_missing",
        stage="key",
        signs=(r"Identity file \S+ not accessible|no such identity: ",),
        message="The file with the secret key does not exist",
        remedy="Make the key, or correct the file's name in the builder's entry.",
    ),
    Cause(
        code="key_passphrase",
        stage="key",
        signs=(r"incorrect passphrase supplied to decrypt private key",),
        message="The secret key has a passphrase, which cannot be typed here",
        remedy="Make a key without one for this builder.",
    ),
    Cause(
        code="key_refused",
        stage="login",
        signs=(r"Permission denied \(|Too many authentication failures",),
        message="The builder refuses this key for this user",
        remedy="Compare the public key with the user's authorized_keys there. A KEY.pub of another key beside "
        "the right KEY has the same effect, and so have AllowUsers and a locked account: the builder's "
        "sshd says which.",
    ),
    Cause(
        code="daemon_down",
        stage="daemon",
        signs=(r"cannot connect to (?:socket|daemon) at '?[^'\n]*daemon-socket",),
        message="The Nix daemon of the builder does not run",
        remedy="Start nix-daemon there. Until then builds fail and are not done elsewhere.",
    ),
    Cause(
        code="socket_group",
        stage="daemon",
        signs=(r"getting status of '?[^'\n]*daemon-socket/socket'?: Permission denied",),
        message="The user on the builder may not talk to its Nix daemon",
        remedy="On Debian and Ubuntu add the user to the group nix-users.",
    ),
    Cause(
        code="unresolved",
        stage="connect",
        signs=(r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution",),
        message="The builder's name has no address",
        remedy="Correct `host`; for a builder on this machine use 127.0.0.1, since the daemon may not resolve "
        "localhost.",
    ),
    Cause(
        code="refused",
        stage="connect",
        signs=(r"Connection refused",),
        message="No server listens at the builder's address and port",
        remedy="Start the builder, or correct `host` and `port`.",
    ),
    Cause(
        code="no_route",
        stage="connect",
        signs=(r"No route to host|Network is unreachable|Host is down",),
        message="The builder's address has no route",
        remedy="Check the network. On macOS 15 and later a daemon needs Apple's own /usr/bin/ssh to reach the "
        "local network.",
    ),
    Cause(
        code="timeout",
        stage="connect",
        signs=(
            r"(?:Connection|Operation) timed out|timed out during banner exchange|Timeout, server \S+ not responding",
        ),
        message="The builder does not answer",
        remedy="Check that it runs and that no firewall drops its packets. A paused container looks the same.",
    ),
    Cause(
        code="penalised",
        stage="connect",
        signs=(r"kex_exchange_identification|Connection (?:closed|reset) by (?:remote host|\S+ port \d+)",),
        message="The builder's sshd hangs up before the login",
        remedy="After failed logins sshd 9.8 and later lock an address out for a while (PerSourcePenalties), and "
        "MaxStartups limits how many may log in at once: its log says `penalty` or `MaxStartups`. Wait, then "
        "try again.",
    ),
    Cause(
        code="no_program",
        stage="program",
        signs=(
            r"nix-(?:store|daemon): (?:command )?not found|"
            r"(?:command not found|not found|No such file or directory)[^\n]*nix-(?:store|daemon)|"
            r"nix-(?:store|daemon)[^\n]*: No such file or directory",
        ),
        message="The builder's shell does not find Nix",
        remedy="Set `remote_program` to the full path, such as /nix/var/nix/profiles/default/bin/nix-daemon, or "
        "put Nix into the PATH of commands over ssh.",
    ),
    Cause(
        code="no_shell",
        stage="program",
        signs=(r"This account is currently not available|not allowed to (?:log|execute)",),
        message="The user on the builder has no shell that runs commands",
        remedy="Give it /bin/sh; a forced command runs through the login shell too.",
    ),
    Cause(
        code="chatty_shell",
        stage="program",
        signs=(r"protocol mismatch(?: from '[^']*')?, got",),
        message="The builder's shell prints something before Nix speaks",
        remedy="Remove the output from .bashrc and the like of the user there, or print it in interactive shells "
        "only.",
    ),
    Cause(
        code="wrong_protocol",
        stage="program",
        signs=(r"error: protocol mismatch\s*$|serve protocol.*mismatch",),
        message="The builder answers in another protocol than the request",
        remedy="A forced command there allows one protocol only: set `protocol` to the other one, ssh or ssh-ng.",
    ),
    Cause(
        code="untrusted",
        stage="trust",
        signs=(
            r"you are not privileged to build|lacks a (?:valid )?signature by a trusted key|lacks a valid signature",
        ),
        message="The builder's Nix does not trust the user that logs in",
        remedy="Add the user to trusted-users in the builder's nix.conf and restart its nix-daemon.",
    ),
    Cause(
        code="restricted",
        stage="client",
        signs=(r"ignoring the client-specified setting 'builders'",),
        message="This machine's Nix lets trusted users only choose builders",
        remedy="Put the builder into /etc/nix/machines, which is meant for all users, or add the user to "
        "trusted-users here.",
    ),
    Cause(
        code="machines_syntax",
        stage="file",
        signs=(
            r"bad machine specification|while parsing machine specification|speed factor must be|"
            r"store URL was not found at the first column",
        ),
        message="Nix cannot read the file with the builders",
        remedy="Correct the line that is named: until then every build on this machine fails.",
    ),
    Cause(
        code="sandbox",
        stage="sandbox",
        signs=(
            r"kernel namespaces that are required for sandboxing|cloning builder process|mounting /proc|"
            r"cannot pivot old root|cannot set host name",
        ),
        message="The builder cannot set up the build sandbox",
        remedy="A container needs namespaces: give it a seccomp profile that allows them and an unmasked /proc "
        "(systempaths=unconfined), or set `sandbox = false` there.",
    ),
    Cause(
        code="no_sandbox_shell",
        stage="sandbox",
        signs=(r"executing '/bin/sh': No such file or directory",),
        message="The builder's sandbox has no /bin/sh",
        remedy="Set `sandbox-paths = /bin/sh=/path/to/static/busybox` in the builder's nix.conf.",
    ),
    Cause(
        code="seccomp_emulated",
        stage="emulation",
        signs=(r"unable to load seccomp BPF program",),
        message="Nix itself runs under emulation, which cannot filter system calls",
        remedy="Run the builder's own image for this machine's processor, and add the other system with "
        "extra-platforms; or set `filter-syscalls = false` there.",
    ),
    Cause(
        code="emulation",
        stage="emulation",
        signs=(r"Exec format error|cannot execute(?:: required file not found| binary file)",),
        message="The builder cannot run programs for that system",
        remedy="Its kernel needs a binfmt_misc entry for the processor, with the flag F so that it works in "
        "containers.",
    ),
    Cause(
        code="builder_mismatch",
        stage="match",
        signs=(
            r"build of '[^']*' on '[^']*' failed: (?:error: )?"
            # A builder with Nix 2.34 also begins like this when a build has failed for another reason.
            r"(?:a '\S+' with features \{[^}]*\} is required[^\n]*but I am a|"
            r"[^\n]*\n?[^\n]*(?:[Pp]latform mismatch|missing system features))",
        ),
        message="The builder itself does not build for the system, or lacks a feature, that its entry here promises",
        remedy="Add it to extra-platforms or system-features in the builder's nix.conf and restart its "
        "nix-daemon, or take it out of the entry.",
    ),
    Cause(
        code="disconnected",
        stage="daemon",
        signs=(r"Nix daemon disconnected unexpectedly|unexpected end-of-file|unexpected EOF",),
        message="The connection to the builder's Nix ended without a message",
        remedy="The builder was stopped in the middle, or its nix-daemon did not start: run "
        "nix_builder_check as root to see it.",
    ),
    Cause(
        code="ssh_failed",
        stage="connect",
        signs=(r"failed to start SSH connection",),
        message="ssh did not get through to the builder, and with ssh-ng Nix does not show why",
        remedy="Run nix_builder_check as root, or `ssh NAME` as root, to see it.",
    ),
    Cause(
        code="no_slot",
        stage="match",
        signs=(r"waiting for a machine to build",),
        message="The builder has no free slot",
        remedy="Its `max_jobs` here is 0, or abandoned builds hold the slots.",
    ),
    Cause(
        code="client_mismatch",
        stage="match",
        signs=(r"Failed to find a machine for remote build|missing system features",),
        message="No registered builder has the requested system and features",
        remedy="Compare them with `systems` and `supported_features` of the entry.",
    ),
    Cause(
        code="no_jobs",
        stage="match",
        # Nix 2.8 begins it with a small letter. The text after the semicolon depends on whether builders are known.
        signs=(
            r"[Uu]nable to start any build\b|local builds are disabled|set 'max-jobs' to a non-zero value",
        ),
        message="Local builds are disabled, and no builder fits",
        remedy="Register a builder for that system, or raise max-jobs.",
    ),
    Cause(
        code="no_builder",
        stage="match",
        signs=(
            r"a '\S+' with features \{[^}]*\} is required to build|[Pp]latform mismatch|Required system: ",
        ),
        message="No builder for that system is registered here",
        remedy="Register one, and check that `builders` in nix.conf leads to /etc/nix/machines.",
    ),
)
CODES = tuple(row.code for row in _ROWS)


def classified(text: str) -> Failure | None:
    """The cause that a text of ssh or Nix shows, or None when it shows none that is known."""
    found = find(_ROWS, [text], ignore_case=False)
    if found is None:
        return None
    cause = found.cause
    return Failure(cause.code, cause.stage, cause.message, cause.remedy, found.line.strip())


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
