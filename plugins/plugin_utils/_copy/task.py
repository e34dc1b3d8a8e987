# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Copy store paths and their closures from the controller or another store to the host of a task.

It takes one round trip if there is nothing to do. Otherwise it takes a second one for the list of missing paths, which
is the first if the host most likely lacks all, and then one of these transports (``transport.choose_transport``):

- ``ssh``: ``nix copy`` over Ansible's own ssh connection and with its privilege escalation;
- ``stream``: exported paths through any other connection;
- ``fetch`` and ``local``: the host runs ``nix copy`` itself, from a cache or into another root.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import Nix, NixResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.log_stream import (
    ActivityType,
    LogEvent,
    Start,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import (
    Item,
    closure,
    closure_elsewhere,
    invalid_paths,
    parse_path_info,
)

from .attempts import TIMEOUT_NAME, Attempts, timeout_expired
from .explain import STEP, CopyError, explain
from .link import compression_for
from .options import CopyRequest, CopyResult, count_text
from .shared import shared_closure
from .store import (
    NIX_COMMAND,
    QUICK_SUBSTITUTION,
    TargetStore,
    store_option,
)
from .stream import Stream
from .transport import (
    TARGET_ALIAS,
    Transport,
    choose_transport,
    search_path_with,
    ssh_program,
)


def copy_closure(shell: RemoteShell, request: CopyRequest, *, nix: Nix, progress: Progress) -> CopyResult:
    """Make ``request.paths`` and their closures valid on the host of ``shell``.

    Derivations (``.drv``) are copied as such, with everything that building them needs. Raises ``NixferryError``.
    """
    return _Copy(shell, request, nix, progress).run()


class _Copy:
    def __init__(self, shell: RemoteShell, request: CopyRequest, nix: Nix, progress: Progress) -> None:
        self.shell = shell
        self.request = request
        self.nix = nix
        self.progress = progress
        self.target = TargetStore(shell, request.root)
        self.attempts = Attempts(shell, progress, retries=request.retries, timeout=request.timeout)
        # Whether the connection for ssh compresses, see ssh_command_line.
        self.compress: bool | None = None
        # Of each missing path, whether it has been sent, in any attempt. There may be tens of thousands.
        self.sent: dict[str, bool] = {}

    def run(self) -> CopyResult:
        absent = self.request.paths if self.request.absent else self.target.missing(self.request.paths)
        if not absent:
            return CopyResult(transport="none")
        transport = choose_transport(self.shell)
        on_host = self.request.host_fetches or transport is Transport.LOCAL
        # In a dry run of a deploy nothing has been built yet, also where the host is the controller.
        future = self.unbuilt(absent) if self.request.dry_run else ()
        built = [path for path in absent if path not in future]
        wanted = (*self.wanted(built, on_host), *(Item(path, 0) for path in future))
        if not wanted:
            # It was taken to be missing, and is not.
            return CopyResult(transport="none")
        name = "fetch" if self.request.host_fetches else transport.value
        result = CopyResult(name, missing=wanted, copied=tuple(item.path for item in wanted), unbuilt=future)
        if self.request.dry_run:
            return result
        self.sent = dict.fromkeys((item.path for item in wanted), False)
        self.progress.line(f"copying {count_text(wanted)}")
        if on_host:
            self.attempts.until_done(lambda: self.by_host(absent))
            return replace(result, attempts=self.attempts.made)
        if transport is Transport.SSH:
            self.compress = self.request.compress
            if self.compress is None:
                self.compress = compression_for(self.shell, result.nar_size)
            self.attempts.until_done(lambda: self.by_ssh(absent))
        else:
            self.by_stream(absent, wanted)
        return replace(
            result,
            copied=tuple(path for path, was_sent in self.sent.items() if was_sent),
            attempts=self.attempts.made,
        )

    def unbuilt(self, absent: Sequence[str]) -> tuple[str, ...]:
        """Return the paths in ``absent`` that the controller has not built; another store is not queried."""
        if self.request.source is not None:
            return ()
        invalid = invalid_paths(self.nix, absent, step=STEP, timeout=self.attempts.seconds_left())
        return tuple(path for path in absent if path in invalid)

    def closure(self, paths: Sequence[str]) -> list[Item]:
        """Return the closure of ``paths`` in the controller's store. ``CopyError`` has the remedies of a copy."""
        shared = shared_closure(self.nix, paths[0]) if len(paths) == 1 else None
        if shared is not None:
            return shared
        try:
            return closure(self.nix, paths, step=STEP, timeout=self.attempts.seconds_left())
        except NixferryError as error:
            raise explain(error.output, error.cause) from error

    def wanted(self, absent: Sequence[str], on_host: bool) -> tuple[Item, ...]:
        """Return the missing paths on the host in the closure of ``absent``."""
        if not absent:
            return ()
        source = self.request.source
        if on_host and (source or self.request.root):
            from_source = f" --store {shlex.quote(source)}" if source else ""
            listing = self.target.ask(
                [f"{NIX_COMMAND} path-info --recursive --size{from_source} {shlex.join(absent)}"],
                seconds=self.attempts.seconds_left(),
            )
            items = parse_path_info(listing.text)
        elif source is not None:
            items = closure_elsewhere(
                self.nix, source, absent, step=STEP, timeout=self.attempts.seconds_left()
            )
        else:
            items = self.closure(absent)
        missing = set(self.target.missing([item.path for item in items]))
        return tuple(item for item in items if item.path in missing)

    def by_host(self, absent: Sequence[str]) -> None:
        """Let the host itself copy, from a cache or into another root."""
        options = ["--from", self.request.source] if self.request.source else []
        options += ["--to", self.request.root] if self.request.root else []
        self.target.ask(
            (
                f"{NIX_COMMAND} copy {shlex.join([*options, *self.signature_options(), *arguments])}"
                for arguments in self.installables(absent)
            ),
            seconds=self.attempts.seconds_left(),
        )

    def by_ssh(self, absent: Sequence[str]) -> None:
        """Let Nix talk to the host's Nix, over the command line that Ansible's connection would run."""
        store = store_option(self.request.root)
        # The receiving side checks signatures, and only the newer protocol can ask it to.
        checks = self.request.check_signatures
        scheme = "ssh-ng" if checks else "ssh"
        quick = f" {QUICK_SUBSTITUTION}" if self.request.substitute else ""
        remote = f"nix-daemon --stdio{store}" if checks else f"nix-store{quick} --serve --write{store}"
        options = ["--from", self.request.source] if self.request.source else []
        options += ["--to", f"{scheme}://{TARGET_ALIAS}", *self.signature_options()]
        if self.request.substitute:
            options.append("--substitute-on-destination")
        nix = self.nix.listening(self.note)

        def copy() -> None:
            with ssh_program(self.shell, f"exec {remote}", compress=self.compress) as directory:
                for arguments in self.installables(absent):
                    result = nix.run(
                        ["nix", "copy", *options, *arguments],
                        step=STEP,
                        timeout=self.attempts.seconds_left(),
                        extra_environment={"PATH": search_path_with(directory)},
                        check=False,
                    )
                    if result.timed_out:
                        raise timeout_expired()
                    if result.return_code != 0:
                        raise self.explained(result)

        try:
            copy()
        except CopyError:
            if self.request.compress is not None or self.compress is None or any(self.sent.values()):
                raise
            # It was the choice of this task, not of the user, to log in once more, and the host may not allow it.
            self.compress = None
            copy()

    def by_stream(self, absent: Sequence[str], wanted: Sequence[Item]) -> None:
        """Send exactly the missing paths, through the connection itself."""
        if self.request.source is not None:
            self.progress.line(f"fetching from {self.request.source} to the controller")
            for arguments in self.installables(absent):
                options = ["--from", self.request.source, *self.signature_options()]
                self.nix.run(
                    ["nix", "copy", *options, *arguments],
                    step=STEP,
                    timeout=self.attempts.seconds_left(),
                    deadline_name=TIMEOUT_NAME,
                )
            wanted = self.closure(absent)
        names = [item.path for item in wanted]
        rest = (
            self.target.substitute(names, seconds=self.attempts.seconds_left())
            if self.request.substitute
            else self.target.missing(names)
        )

        def send() -> None:
            remaining = set(rest if self.attempts.made == 1 else self.target.missing(names))
            stream = Stream(
                self.target,
                self.nix,
                compress=bool(self.request.compress),
                on_event=self.progress.event,
                seconds_left=self.attempts.seconds_left,
                check_signatures=self.request.check_signatures,
            )
            try:
                stream.send([item for item in wanted if item.path in remaining])
            finally:
                self.note_sent(*stream.arrived)

        self.attempts.until_done(send)

    def note(self, event: LogEvent) -> None:
        """Record and show which paths Nix copies."""
        if isinstance(event, Start) and event.type == ActivityType.COPY_PATH and event.fields:
            self.note_sent(str(event.fields[0]))
        self.progress.event(event)

    def note_sent(self, *paths: str) -> None:
        """Record paths that have travelled; others than the missing ones are not part of the result."""
        for path in paths:
            if path in self.sent:
                self.sent[path] = True

    def explained(self, result: NixResult) -> CopyError:
        error = explain(
            result.stderr.splitlines(), f"nix copy ended with exit code {result.return_code} and said nothing"
        )
        if error.untrusted and self.request.check_signatures:
            return error.with_(
                remedy="Add the key to `trusted-public-keys` on the host and sign the paths with it "
                "(`secret-key-files` in nix.conf of the controller, or nix store sign), or take unsigned paths "
                "with `check_sigs: false`."
            )
        return error

    def signature_options(self) -> list[str]:
        return [] if self.request.check_signatures else ["--no-check-sigs"]

    def installables(self, paths: Sequence[str]) -> list[list[str]]:
        """Return arguments for one ``nix copy`` each: otherwise a derivation would mean its outputs."""
        derivations = [path for path in paths if path.endswith(".drv")]
        others = [path for path in paths if not path.endswith(".drv")]
        return [*([others] if others else []), *([["--derivation", *derivations]] if derivations else [])]
