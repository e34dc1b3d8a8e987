# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the pull agent on a host, with the real script in every shell."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.kinds import KINDS
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.agent import UNITS, AgentSettings
from ansible_collections.nixferry.deploy.plugins.plugin_utils._pull.install import (
    AgentInstallation,
    install_script,
    order_script,
    parse_installation,
)

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
NOW = 1_800_000_000
SYSTEMCTL = """\
#!/bin/sh
echo "$*" >>"$HOST/systemctl"
case $* in
    --version) echo "systemd ${SYSTEMD:-257} (257-1)" ;;
    *is-active*) [ -e "$HOST/active" ] ;;
    "start nixferry-pull.timer") touch "$HOST/active" ;;
    stop*) rm -f "$HOST/active" ;;
esac
"""
CANARY = "canary-of-the-login"


def settings(**values: object) -> AgentSettings:
    given = {
        "host": "web1",
        "channel": "stable",
        "url": "https://pointers.example.org/",
        "kind": KINDS["nixos"],
        "profile": KINDS["nixos"].profile,
        "public_keys": ("cache-1:AAAA",),
        "pointer_keys": ("ssh-ed25519 AAAA",),
    }
    return AgentSettings(**{**given, **values})  # type: ignore[arg-type]


@pytest.fixture
def prepared(host: Host) -> Iterator[Path]:
    """A host with systemd, Nix and its daemon, asked by root; the directory of its units."""
    host.program("id", "#!/bin/sh\ncase $* in -u) echo 0 ;; *) exit 1 ;; esac\n")
    host.program("systemctl", SYSTEMCTL)
    host.program("nix-prefetch-url", "#!/bin/sh\n")
    host.program("useradd", '#!/bin/sh\necho "$*" >>"$HOST/users"\n')
    (host.directory / "run/systemd/system").mkdir(parents=True)
    (host.directory / "etc").mkdir(exist_ok=True)
    (host.directory / "etc/nsswitch.conf").write_text("passwd: files systemd\n")
    place = host.directory / "nix/var/nix/daemon-socket"
    place.mkdir(parents=True)
    # The path of a socket is limited to 108 bytes.
    here = os.open(place, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(f"/proc/self/fd/{here}/socket")
        units = host.directory / "etc/systemd/system"
        units.mkdir(parents=True)
        yield units
    os.close(here)


def install(host: Host, wanted: AgentSettings | None, *, dry_run: bool = False) -> AgentInstallation:
    return parse_installation(host.run(install_script(wanted, dry_run=dry_run, now=NOW)))


def state(host: Host) -> Path:
    return host.directory / "var/lib/nixferry-pull"


@in_every_shell
def test_it_comes_stays_and_goes(host: Host, prepared: Path) -> None:
    told = install(host, settings(), dry_run=True)
    assert told.changed
    assert not state(host).exists()
    assert not list(prepared.iterdir())

    done = install(host, settings(netrc=f"machine x password {CANARY}\n"))
    assert set(done.changed_files) == {*told.changed_files, str(state(host) / "netrc")}
    assert {file.name for file in prepared.glob("nixferry-*")} == set(UNITS)
    modes = {file.name: file.stat().st_mode & 0o777 for file in state(host).iterdir()}
    assert (modes["agent"], modes["guard"], modes["netrc"], modes["profile"]) == (0o755, 0o700, 0o600, 0o644)
    assert (state(host) / "not_before").read_text() == f"{NOW}\n"
    unit = (prepared / "nixferry-pull.service").read_text()
    assert "StandardInput=file:" in unit
    assert "@" not in "".join(line[0] for line in unit.splitlines() if line)
    # The login is in its own file, and nowhere else.
    files = [file for file in host.directory.rglob("*") if file.is_file()]
    assert [file for file in files if CANARY in file.read_text(errors="replace")] == [state(host) / "netrc"]

    assert not install(host, settings(netrc=f"machine x password {CANARY}\n")).changed
    assert install(host, settings()).changed
    assert not (state(host) / "netrc").exists()

    # The memory of what was accepted survives the agent.
    (state(host) / "accepted").write_text("a pointer\n")
    assert install(host, None, dry_run=True).changed
    assert install(host, None).changed
    assert not install(host, None).changed
    assert sorted(file.name for file in state(host).iterdir()) == ["accepted", "not_before"]
    assert not [file for file in prepared.rglob("*") if file.is_file() or file.is_symlink()]


def test_nixos_gets_units_beside_those_of_its_configuration(host: Host, prepared: Path) -> None:
    prepared.rmdir()
    prepared.symlink_to("/nix/store/x-units")
    install(host, settings())
    control = prepared.parent / "system.control"
    assert {file.name for file in control.glob("nixferry-*")} == set(UNITS)
    assert (control / "timers.target.wants/nixferry-pull.timer").exists()


def test_a_stopped_timer_is_started(host: Host, prepared: Path) -> None:
    assert prepared.exists()
    install(host, settings())
    (host.directory / "active").unlink()
    assert install(host, settings()).changed_files == ("nixferry-pull.timer",)
    assert (host.directory / "active").exists()


def test_a_user_is_made_where_its_name_would_be_unknown(host: Host, prepared: Path) -> None:
    assert prepared.exists()
    (host.directory / "etc/nsswitch.conf").write_text("passwd: files\n")
    assert str(host.directory / "etc/passwd") in install(host, settings(), dry_run=True).changed_files
    assert not (host.directory / "users").exists()
    install(host, settings())
    assert "nixferry-pull" in (host.directory / "users").read_text()


def test_what_cannot_work_is_refused_before_anything_changes(host: Host, prepared: Path) -> None:
    host.environment["SYSTEMD"] = "248"
    with pytest.raises(NixferryError, match="248"):
        install(host, settings())
    del host.environment["SYSTEMD"]
    (host.directory / "nix/var/nix/daemon-socket/socket").unlink()
    with pytest.raises(NixferryError, match="daemon"):
        install(host, settings())
    assert not state(host).exists()
    assert not list(prepared.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x"},
        {"url": "https://x y"},
        {"url": "https://x/$(id)"},
        {"url": "https://x/'"},
        {"channel": "a/b"},
        {"host": "../x"},
        {"kind": KINDS["darwin"]},
        {"pointer_keys": ()},
        {"windows": ("02:00",)},
        {"windows": ("Mon 02:00-25:00",)},
        {"reboot_windows": ("02:00-03:00\n",)},
        {"calendar": "daily\n[Service]"},
        {"timeout_reach": 0},
        {"timeout_confirm": 30},
        {"min_serial": -1},
        {"jitter": -1},
        {"addresses": ("x",)},
        {"report_url": "x"},
        {"url": "https://ann:secret@pointers.example.org"},
        {"certificate": "/etc/x.pem"},
        {"certificate_key": "/etc/x.key"},
        {"certificate": "x.pem", "certificate_key": "/etc/x.key"},
        {"certificate": "/etc/x.pem", "certificate_key": "/nix/store/x.key"},
        {"certificate": "/etc/x.pem", "certificate_key": "/etc/x.key", "url": "http://pointers.example.org"},
    ],
    ids=str,
)
def test_settings_that_a_program_could_misread_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(NixferryError):
        settings(**wrong)


CERTIFICATE = {"certificate": "/etc/client.pem", "certificate_key": "/etc/client.key"}


@in_every_shell
def test_a_certificate_is_given_to_the_units_that_fetch(host: Host, prepared: Path) -> None:
    """Its key must not be one that every user can read, and the host needs a program that shows it to a server."""
    with pytest.raises(NixferryError, match=r"client\.pem is not a file"):
        install(host, settings(**CERTIFICATE))
    certificate, key = (host.directory / path.lstrip("/") for path in CERTIFICATE.values())
    for file, mode in ((certificate, 0o644), (key, 0o644)):
        file.write_text("x\n")
        file.chmod(mode)
    with pytest.raises(NixferryError, match="every user can read"):
        install(host, settings(**CERTIFICATE))
    key.chmod(0o640)
    assert not state(host).exists()
    assert install(host, settings(**CERTIFICATE)).changed
    found = {}
    for unit in UNITS:
        lines = (prepared / unit).read_text().splitlines()
        found[unit] = [line for line in lines if line.startswith("LoadCredential=")]
    loaded = [f"LoadCredential={name}:{path}" for name, path in CERTIFICATE.items()]
    assert found["nixferry-pull.service"] == found["nixferry-pull-reach.service"] == loaded
    # An empty one undoes those before it.
    assert found["nixferry-pull-build.service"][-1] == "LoadCredential="
    assert found["nixferry-pull-activate.service"] == []


@in_every_shell
def test_orders(host: Host, prepared: Path) -> None:
    assert prepared.exists()
    with pytest.raises(NixferryError, match="no pull agent"):
        parse_installation(host.run(order_script("held", 0, "x", dry_run=False)))
    install(host, settings())

    def order(word: str, until: int = 0, *, dry_run: bool = False) -> bool:
        return parse_installation(host.run(order_script(word, until, "a % reason", dry_run=dry_run))).changed

    assert order("held", dry_run=True)
    assert not (state(host) / "hold").exists()
    assert order("held")
    assert (state(host) / "hold").read_text() == "0 a % reason\n"
    assert not order("held")
    assert order("held", 99)
    assert order("released")
    assert not order("released")
    assert not order("cleared")
    (state(host) / "quarantine").mkdir()
    (state(host) / "quarantine/x").touch()
    assert order("cleared")
    assert not (state(host) / "quarantine").exists()
