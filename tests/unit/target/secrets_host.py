# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that takes secrets: everything on it belongs to root, and what lies below /run is in main memory."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guard_host import Completed, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.result import RemoteResult
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.task import place_secrets, secrets_task

# The user who runs the tests is root here.
STAT = """\
#!/bin/sh
if [ "$1" = -f ]; then
    case $4 in "$HOST"/run | "$HOST"/run/*) echo tmpfs ;; *) echo ext4 ;; esac
    exit
fi
@stat@ "$@" | sed 's/^@ids@ /0 0 /; s/^0 0 @names@ /0 0 root root /'
"""
CHOWN = """\
#!/bin/sh
case $1 in ghost:* | *:ghost) echo "chown: invalid user: $1" >&2; exit 1 ;; esac
echo "$*" >>"$HOST/chowns"
"""
# As the real one it takes a word with a dash for an option, but for the names behind `--`.
SYSTEMCTL = """\
#!/bin/sh
options=1 words=
for word; do
    case $options$word in
        1--) options= && continue ;;
        1--no-block) ;;
        1-*) echo "systemctl: invalid option $word" >&2; exit 1 ;;
    esac
    words="$words $word"
done
echo "${words# }" >>"$HOST/calls"
case $word in ill*) exit 1 ;; esac
"""
SYSTEMD_CREDS = """\
#!/bin/sh
# Turns every byte around, which is enough to see that it was not stored as it is.
case $1 in
    encrypt) shift 3; { echo sealed; tr '\\000-\\377' '\\001-\\377\\000' <"$1"; } >"$2" ;;
    decrypt) tail -n +2 "$3" | tr '\\001-\\377\\000' '\\000-\\377' ;;
esac
"""


@dataclass
class Silent:
    lines: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class SecretsHost:
    """As a ``RemoteShell``, and for looking at what is there."""

    host_: Host
    host: str = "web1"
    round_trips: int = 0
    printed: list[str] = field(default_factory=list)
    resend: bool = False
    """The first answer is lost, and everything is sent again."""
    cut_off: int = 0
    """So many bytes of the contents that are sent are lost on the way."""
    meanwhile: Callable[[], object] | None = None
    """What happens on the host after the comparison."""

    @property
    def directory(self) -> Path:
        return self.host_.directory

    def run_command(
        self, command: str, *, data: bytes, step: str, private: bool, seconds: float | None = None
    ) -> RemoteResult:
        assert private, step
        self.round_trips += 1
        if self.resend and command != "/bin/sh":
            self.resend = False
            self.run_command(command, data=data, step=step, private=private, seconds=seconds)
        if self.meanwhile and command != "/bin/sh":
            self.meanwhile()
        if self.cut_off and command != "/bin/sh":
            data = data[: -self.cut_off]
        done = subprocess.run(
            [str(self.host_.programs / "guard-shell"), "-c", command.replace("/bin/sh", '"$NIXFERRY_SH"')],
            input=data,
            capture_output=True,
            env=self.host_.env(),
            timeout=60,
            check=False,
        )
        completed = Completed(done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace"))
        self.printed += [completed.stdout, completed.stderr, command]
        return RemoteResult(completed.return_code, completed.stdout, completed.stderr)

    def place(self, secrets: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """Run the task, on this host below its directory."""
        modes = {
            "check_mode": bool(options.pop("check_mode", False)),
            "diff_mode": bool(options.pop("diff_mode", True)),
        }
        given = {"phase": "all", "exclusive": False, "stage": False, "secrets": secrets, **options}
        task = secrets_task(given, **modes)
        progress: Any = Silent()
        shell: Any = self
        return place_secrets(
            task, shell, progress, lambda name: Path(name).read_bytes(), directory=str(self.directory)
        )

    def path(self, name: str) -> Path:
        return self.directory / name.lstrip("/")

    def content(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def mode(self, name: str) -> int:
        return self.path(name).stat().st_mode & 0o7777

    def chowns(self) -> list[str]:
        path = self.directory / "chowns"
        return path.read_text().splitlines() if path.exists() else []

    def calls(self) -> list[str]:
        """What the service manager was asked for since the last time."""
        path = self.directory / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return sorted(found)

    def boot(self) -> None:
        """What the unit does early at a boot, after a boot has emptied main memory."""
        for path in sorted(self.path("/run/keys").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.path("/run/keys").rmdir()
        unit = (self.path("/etc/systemd/system.control") / "nixferry-secrets.service").read_text()
        (command,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
        program, script = command.split()
        assert program == "/bin/sh"
        subprocess.run(
            [str(self.host_.programs / "guard-shell"), script], env=self.host_.env(), timeout=60, check=True
        )

    def leftovers(self) -> list[str]:
        """What an attempt that failed may have left behind."""
        found = [
            *self.directory.glob("run/nixferry-*"),
            *self.directory.glob("var/lib/nixferry/secrets/sets/*"),
        ]
        kept = [*self.directory.glob("**/.nixferry/*")]
        return sorted(str(path.relative_to(self.directory)) for path in [*found, *kept])


def make_secrets_host(host: Host) -> SecretsHost:
    stat = STAT.replace("@stat@", shutil.which("stat") or "/usr/bin/stat")
    ids = f"{os.getuid()} {os.getgid()}"
    names = f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    host.program("stat", stat.replace("@ids@", ids).replace("@names@", names))
    host.program("chown", CHOWN)
    host.program("id", '#!/bin/sh\ncase $* in *ghost) exit 1 ;; "-un"*) echo root ;; *) echo 0 ;; esac\n')
    host.program("getent", "#!/bin/sh\ncase $* in *ghost | *keys) exit 1 ;; esac\n")
    host.program("systemd-creds", SYSTEMD_CREDS)
    host.program("systemctl", SYSTEMCTL)
    for name in ("", "run", "var", "var/lib"):
        (host.directory / name).chmod(0o755)
    return SecretsHost(host)
