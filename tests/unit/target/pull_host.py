# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions of the pull agent on a host that is a directory, with keys of a publisher."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from guard_host import Completed, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.script import host_script
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    read_pointer_key,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.agent import AGENT_PARTS

# Without the call of the program.
PARTS = tuple(part for part in AGENT_PARTS if part != "agent/verbs.sh")


TOPLEVEL = f"/nix/store/{'a' * 32}-nixos-system-web1"
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>"$HOST/systemctl"
case $* in
    *nixferry-pull-reach.service) [ ! -e "$HOST/cut-off" ] ;;
    *nixferry-pull-checks.service) [ ! -e "$HOST/ill" ] ;;
    *ExecMainStatus*) echo "ExecMainStatus=$(cat "$HOST/code")" ;;
esac
"""
NSENTER = '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
SETTINGS = {
    "PULL_VERSION": "1",
    "PULL_KIND": "nixos",
    "PULL_PROFILE": "/nix/var/nix/profiles/system",
    "PULL_GUARD_VERSION": "1",
    "PULL_CHECKS": "",
    "PULL_WINDOWS": "",
    "PULL_REBOOT": "never",
    "PULL_REBOOT_WINDOWS": "",
    "PULL_TIMEOUT_ACTIVATION": "60",
    "PULL_TIMEOUT_CONFIRM": "60",
    "PULL_TIMEOUT_ROLL_BACK": "60",
    "PULL_TIMEOUT_REBOOT": "60",
    "PULL_METRICS": "",
    "PULL_REPORT": "",
}


def make_keys(directory: Path) -> dict[str, SshKey]:
    for name in ("publisher", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    return {name: read_pointer_key(str(directory / name)) for name in ("publisher", "other")}


def make_place(host: Host, keys: dict[str, SshKey]) -> Path:
    """The agent's state; the store's paths are those of the machine."""
    host.environment["NIXFERRY_ROOT"] = ""
    made = host.directory / "pull"
    (made / "work").mkdir(parents=True)
    (made / "signers").write_text(f'publisher namespaces="nixferry-pointer@v1" {keys["publisher"].public}\n')
    return made


def run_agent(host: Host, place: Path, *lines: str, **settings: str) -> Completed:
    given = {
        "PULL_HOST": "web1",
        "PULL_CHANNEL": "stable",
        "PULL_MIN_SERIAL": "0",
        "PULL_REPOSITORY": "",
        "PULL_CERTIFICATE": "",
        "PULL_KNOWN_HOSTS": "",
        "PULL_SIGNERS": str(place / "signers"),
        **settings,
    }
    script = host_script(given, PARTS)
    return host.run("\n".join([script, f"PULL={shlex.quote(str(place))} PULL_RUN=$PULL/run", *lines, ""]))


def ask(host: Host, place: Path, *lines: str, **settings: str) -> list[str]:
    """What the agent's functions print."""
    done = run_agent(host, place, *lines, **settings)
    assert done.return_code == 0, done.stderr
    return done.stdout.splitlines()
