# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems that go wrong, as options of mini NixOS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def script(name: str, text: str) -> Mapping[str, Any]:
    """A system whose activation script does `text` as well."""
    return {"activationScripts": {name: text}}


def lockout(start: str, stop: str) -> Mapping[str, Any]:
    """A system with a service that locks everybody out when it starts, and lets them in when it stops.

    NixOS is the same: what a generation sets up is undone when its units stop and the older ones start. The shell
    code may contain neither quotes nor variables.
    """
    unit = (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        f'ExecStart=/bin/sh -c "{start}"\nExecStop=/bin/sh -c "{stop}"\n'
    )
    return {"units": {"lockout.service": unit}}


STOP_SSHD = "systemctl stop ssh.service ssh.socket"
START_SSHD = "systemctl start ssh.service"
KEYS = "/etc/ssh/lab_authorized_keys"
SUDOERS = "/etc/sudoers.d/lab"
BLACKHOLE = "blackhole $(ip route show default | cut -d ' ' -f 3)/32"
FAILS = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
HANGS_STUBBORNLY = "trap '' TERM HUP INT\n(trap '' TERM HUP INT; sleep 613) &\nwhile :; do sleep 1; done"
# A file in the place of the old program, as a new package brings it.
REPLACE_SYSTEMD = (
    "cp -p /lib/systemd/systemd /lib/systemd/systemd.new && mv -f /lib/systemd/systemd.new /lib/systemd/systemd && "
    "systemctl daemon-reexec"
)

FAULTS: Mapping[str, Mapping[str, Any]] = {
    "activation_fails": script("broken", "echo 'cannot make it so' >&2; false"),
    "activation_aborts": script("broken", "exit 7"),
    "activation_hangs": script("slow", "sleep 600"),
    "activation_hangs_stubbornly": script("slow", HANGS_STUBBORNLY),
    "unit_fails": {"units": {"broken.service": FAILS}},
    # systemd has started it, and so has NixOS' own program.
    "unit_dies_later": {"units": {"mayfly.service": '[Service]\nExecStart=/bin/sh -c "sleep 2; exit 3"\n'}},
    "needs_reboot_to_switch": {"initInterfaceVersion": "systemd 3"},
    "ends_half_way": {"errnoAfterActivation": 11},
    "new_kernel": {"kernel": "6.12.2"},
    "wrong_platform": {"system": "riscv64-linux"},
    "no_switch_program": {"switchable": False},
    "check_fails": {"preSwitchChecks": {"refuses": "echo 'not on my watch' >&2; false"}},
    "unhealthy": {"web": {"healthy": False}},
    # Nobody can log in any more: new connections are refused.
    "stops_sshd": lockout(STOP_SSHD, START_SSHD),
    # sshd asks for a password that nobody has.
    "removes_key": lockout(f"mv {KEYS} /root/keys", f"mv /root/keys {KEYS}"),
    # The login works, but nobody becomes root any more.
    "breaks_sudo": lockout(f"mv {SUDOERS} /root/sudoers-lab", f"mv /root/sudoers-lab {SUDOERS}"),
    # Answers to the machine that runs the lab vanish: established connections hang too.
    "cuts_network": lockout(f"ip route add {BLACKHOLE}", f"ip route del {BLACKHOLE}"),
    # Only what comes from the port of sshd vanishes.
    "closes_port": lockout(
        "ip rule add ipproto 6 sport 22 blackhole", "ip rule del ipproto 6 sport 22 blackhole"
    ),
    "changes_address": lockout(
        "ip -4 -o address show dev eth0 | tr -s ' ' | cut -d ' ' -f 4 >/root/address; "
        "ip route show default >/root/route; "
        "ip address flush dev eth0; ip address add 192.0.2.7/24 dev eth0",
        "ip address flush dev eth0; ip address add $(cat /root/address) broadcast + dev eth0; "
        "ip route add $(cat /root/route)",
    ),
    "cuts_network_and_stops_sshd": lockout(
        f"ip route add {BLACKHOLE}; {STOP_SSHD}", f"ip route del {BLACKHOLE}; {START_SSHD}"
    ),
    "replaces_systemd": script("systemd", REPLACE_SYSTEMD),
    "replaces_systemd_and_stops_sshd": {
        **script("systemd", REPLACE_SYSTEMD),
        **lockout(STOP_SSHD, START_SSHD),
    },
    "isolates_a_target": script("isolates", "systemctl isolate multi-user.target"),
    "restarts_nix_daemon": script(
        "daemon", "systemctl reset-failed nix-daemon.service; systemctl restart nix-daemon.service"
    ),
    "kills_user_slice": script("users", "systemctl kill --signal=KILL user.slice; systemctl stop user.slice"),
    "fills_disk": script("filler", "cat /dev/zero >/var/lib/nixferry/filler 2>/dev/null; true"),
}
