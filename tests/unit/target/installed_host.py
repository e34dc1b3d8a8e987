# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with an installed guard, which a caller with few privileges asks."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from guard_host import Completed, Host
from guard_programs import SWITCH_TO_CONFIGURATION

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard import requests as _guard
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.client import (
    InstalledGuard,
    installed_request,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.installed import (
    GuardPolicy,
    guard_version,
    installed_program,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.status import GuardStatus

KEY = "deploy-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
# A path is signed when $HOST/signed names it, by its content alone when $HOST/content-addressed does.
NIX = """\
#!/bin/sh
echo "$*" >>"$HOST/nix-calls"
for path; do :; done
case $* in
    *"path-info --sigs"*)
        address=
        if grep -qx "$path" "$HOST/content-addressed" 2>/dev/null; then address=ca:text:sha256:0; fi
        echo "$path  $address a:b"
        ;;
    *"store verify"*)
        for path; do
            case $path in "$HOST"/*) ;; *) continue ;; esac
            cat "$HOST/signed" "$HOST/content-addressed" 2>/dev/null | grep -qx "$path" || exit 2
        done
        ;;
    *) exit 1 ;;
esac
"""


@dataclass
class Guarded:
    """A host with an installed guard."""

    host: Host
    program: Path

    def toplevel(self, name: str, *, signed: bool = True) -> str:
        path = self.host.directory / f"nix/store/{'0' * 32}-{name}"
        (path / "bin").mkdir(parents=True)
        (path / "nixos-version").write_text(name)
        text = SWITCH_TO_CONFIGURATION.replace("@self@", str(path)).replace("@name@", name)
        program = path / "bin/switch-to-configuration"
        program.write_text(text.replace("@test@", ":").replace("@boot@", ":"))
        program.chmod(0o755)
        if signed:
            self.note("signed", str(path))
            self.note("signed", f"{path}-dependency")
        return str(path)

    def note(self, name: str, line: str) -> None:
        with (self.host.directory / name).open("a") as file:
            file.write(f"{line}\n")

    def send(self, data: bytes, *arguments: str, **environment: str) -> Completed:
        """Call the program as sudo would, with ``environment`` on top if sudo let it through."""
        done = subprocess.run(
            [str(self.host.programs / "guard-shell"), str(self.program), *arguments],
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
            env={"SUDO_USER": "ferry", "PATH": "/usr/bin:/bin", **environment},
        )
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))

    # What the client asks of a shell.
    login_user = "ferry"

    def run_command(self, _command: str, *, data: bytes, step: str, seconds: float | None) -> Completed:
        assert step, seconds
        return self.send(data)

    @property
    def client(self) -> InstalledGuard:
        return InstalledGuard(self, str(self.program))  # type: ignore[arg-type]

    def start(self, toplevel: str, **options: object) -> GuardStatus:
        return self.client.start(self.request(toplevel, **options))

    def request(self, toplevel: str, **options: object) -> _guard.StartRequest:
        return self.host.request(toplevel, **options)

    def data(self, toplevel: str) -> bytes:
        """A good request."""
        return installed_request("start", list(_guard.request_fields(self.request(toplevel))))

    def answered(self, completed: Completed) -> GuardStatus:
        """What the client makes of an answer to ``start``."""

        class Played(Guarded):
            def send(self, _data: bytes, *_arguments: str, **_environment: str) -> Completed:
                return completed

        return Played(self.host, self.program).start("/nix/store/x")

    def raw(self, *lines: str, verb: str = "start") -> Completed:
        """A request as an attacker writes it."""
        return self.send(
            "\n".join([f"version={guard_version()}", f"verb={verb}", *lines, f"end={verb}", ""]).encode()
        )

    def lines(self, toplevel: str) -> list[str]:
        """The fields of a good request."""
        return self.data(toplevel).decode().splitlines()[2:-1]


def install(host: Host, *, caller_decides: bool = False) -> Guarded:
    host.program("nix", NIX)
    (host.directory / "nix/store").mkdir(parents=True)
    program = host.programs / "nixferry-guard"
    keys = () if caller_decides else (KEY,)
    policy = GuardPolicy(KINDS["nixos"], str(host.profile), keys, caller_decides=caller_decides)
    program.write_text(installed_program(policy, host.env()))
    return Guarded(host, program)


def unchanged(guarded: Guarded) -> bool:
    """Nothing was activated and no activation was begun."""
    activations = guarded.host.state / "activations"
    return not guarded.host.actions and not (activations.exists() and list(activations.iterdir()))
