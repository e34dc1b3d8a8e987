# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab host as a machine that has booted an installer: disks in sysfs, the installer's programs, a disk that boots.

A container has no disks. What the collection reads of them is a directory in place of /sys/class/block, and a device
node that nothing opens. The new system's disk is a directory, mounted on /mnt; when the machine reboots, what is on it
takes the place of the container's own files. ``nixos-install`` keeps of the real program (nixpkgs,
pkgs/by-name/ni/nixos-install): its options, what it refuses, the profile by Nix itself, the activation and the boot
loader in the new root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab import LabHost
from plays import task_play
from project import PlaybookRun, Project
from ways import add_hosts

DISK = "/dev/disk/by-id/lab-disk-1"
OTHER_DISK = "/dev/disk/by-id/lab-other-2"
LAB = "/lab"

_NIXOS_INSTALL = r"""#!/bin/bash
# nixos-install --root MOUNT --system TOPLEVEL --no-root-passwd --no-channel-copy
set -e
mountPoint=/mnt system='' noRootPasswd='' noChannelCopy=''
echo "$*" >>/lab/nixos-install.log
while [ "$#" -gt 0 ]; do
    i=$1; shift
    case $i in
        --root) mountPoint=$1; shift ;;
        --system | --closure) system=$1; shift ;;
        --no-channel-copy) noChannelCopy=1 ;;
        --no-root-password | --no-root-passwd) noRootPasswd=1 ;;
        *) echo "$0: unknown option \`$i'"; exit 1 ;;
    esac
done
[ -e /lab/fault ] && . /lab/fault
test -e "$mountPoint" || { echo "mount point $mountPoint doesn't exist"; exit 1; }
mode=$(stat -c %a "$mountPoint")
if [[ ${mode: -1} -lt 5 ]]; then
    echo "path $mountPoint should have permissions 755, but had permissions $mode."
    exit 1
fi
[ "$(stat -c %u:%g "$mountPoint")" = 0:0 ] || { echo "$0: $mountPoint is not owned by root:root"; exit 1; }
[ -n "$noChannelCopy" ] || { echo "copying channel..."; exit 1; }
tmpdir=$(mktemp -d -p "$mountPoint")
trap 'rm -rf $tmpdir' EXIT
nix-env --store "$mountPoint" --extra-substituters 'auto?trusted=1' \
    -p "$mountPoint/nix/var/nix/profiles/system" --set "$system"
mkdir -m 0755 -p "$mountPoint/etc"
touch "$mountPoint/etc/NIXOS"
echo "installing the boot loader..."
ln -sfn /proc/mounts "$mountPoint/etc/mtab"
# What the activation of NixOS makes and the fixture's does not: /bin/sh, users.
applets=$(sed -n 's/^PATH=\([^:]*\):.*/\1/p' "$mountPoint$system/activate" | head -n 1)
ln -sfn "$applets" "$mountPoint/bin"
printf 'root:x:0:0::/root:/bin/sh\napp:x:1042:1043::/:/bin/sh\n' >"$mountPoint/etc/passwd"
printf 'root:x:0:\napp:x:1043:\n' >"$mountPoint/etc/group"
for directory in boot/grub run tmp proc dev usr; do mkdir -p "$mountPoint/$directory"; done
# Of the tools of a fixture's system, flock and grub-editenv are the host's.
ln -sfn usr/lib "$mountPoint/lib"
if [ -e /lib64 ]; then ln -sfn usr/lib64 "$mountPoint/lib64"; fi
grub-editenv "$mountPoint/boot/grub/grubenv" create
unshare --mount --propagation private -- sh -ec '
    mount --rbind /dev "$1/dev"
    mount --rbind /proc "$1/proc"
    mount --bind /usr "$1/usr"
    chroot "$1" /nix/var/nix/profiles/system/activate 1>&2 || true
    NIXOS_INSTALL_BOOTLOADER=1 NIXOS_NO_SYNC=1 exec chroot "$1" /run/current-system/bin/switch-to-configuration boot
' sh "$mountPoint"
[ -n "$noRootPasswd" ] || { echo "setting root password..."; exit 1; }
echo "installation finished!"
"""

# The firmware: once there is a bootable disk it is what boots.
_FIRMWARE = r"""#!/bin/sh
set -eu
if [ -e /lab/disk/boot/grub/grub.cfg ] && [ ! -e /lab/booted ]; then
    rm -rf /nix /boot/grub
    mv /lab/disk/nix /nix
    mv /lab/disk/boot/grub /boot/grub
    cp -a /lab/disk/etc/ssh/. /etc/ssh/
    mkdir -p /var/lib
    cp -a /lab/disk/var/lib/. /var/lib/
    # Of the new system's users, those that the container lacks.
    for file in passwd group; do grep '^app:' "/lab/disk/etc/$file" >>"/etc/$file"; done
    for path in $(cat /lab/kept 2>/dev/null); do mkdir -p "${path%/*}"; cp -a "/lab/disk$path" "$path"; done
    printf 'ID=nixos\nPRETTY_NAME="the new system"\n' >/etc/os-release
    rm -f /usr/local/bin/nixos-install
    touch /etc/NIXOS /lab/booted
fi
# The lab's own host key is not that of the new system.
if [ -e /lab/booted ]; then unset LAB_AUTHORIZED_KEY; fi
if [ -e /lab/fault-boot ]; then . /lab/fault-boot; fi
exec /usr/local/lib/nixferry-lab/init.real
"""

# The options of the real program (src/nixos-anywhere.sh), and of its phases only the one that starts the installer.
_ANYWHERE = r"""#!/bin/bash
set -euo pipefail
here=$(dirname "$0")
printf '%s\n' "$@" >"$here/arguments"
env >"$here/environment"
abort() { echo "aborted: $*" >&2; exit 1; }
sshArgs=(-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o IdentitiesOnly=yes)
phases='' store='' kexec='' target='' key='' after=22
while [[ $# -gt 0 ]]; do
    case $1 in
    --target-host) target=$2; shift ;;
    -i) key=$2; shift ;;
    -p | --ssh-port) sshArgs+=(-p "$2"); shift ;;
    --ssh-option) sshArgs+=(-o "$2"); shift ;;
    -s | --store-paths) store="$(readlink -f "$2") $(readlink -f "$3")"; shift; shift ;;
    --kexec) kexec=$2; shift ;;
    --post-kexec-ssh-port) after=$2; shift ;;
    --build-on) [[ $2 == auto || $2 == remote || $2 == local ]] || abort "Unknown mode: $2"; shift ;;
    --phases) phases=$2; shift ;;
    *) [[ -z $target ]] || { echo usage; exit 1; }; target=$1 ;;
    esac
    shift
done
[[ -n $target ]] || abort "ssh-host must be set"
[[ -n $store ]] || abort "--flake or --store-paths must be set"
for path in $store; do [[ -e $path ]] || abort "$path must be existing store-paths"; done
[[ $phases == kexec ]] || abort "the test wants one phase, not $phases"
[[ -f $kexec && -n $after ]] || abort "no image"
echo "### Switching system into kexec ###"
[[ ! -e $here/fault ]] || { echo "Kexec may have failed - check output above"; exit 1; }
ssh -F none -i "$key" "${sshArgs[@]}" "$target" sh <<'SSH'
mv /lab/nixos-install /usr/local/bin/nixos-install
printf 'ID=nixos\nVARIANT_ID=installer\n' >/etc/os-release
SSH
echo "### Done! ###"
"""

_SYSTEMS = r"""
let
  systems = import ./systems { };
  platform = builtins.currentSystem;
  seed = builtins.path { path = ./systems/seed; name = "mini-nixos-seed"; };
  inherit (import ./systems/busybox.nix { inherit seed platform; }) busybox run;
  disko = builtins.fromJSON (builtins.readFile ./disko.json);
  # As disko writes it: the devices stand in it as they are in the configuration.
  script = run "disko" { text = ''
    #!${busybox} sh
    set -eu
    PATH=/usr/sbin:/usr/bin:/sbin:/bin
    echo run >>/lab/disko.log
    umount -R /mnt 2>/dev/null || :
    for dev in ${toString disko.devices}; do
      echo "clearing $dev"
      [ -b "$dev" ] || { echo "disk-deactivate: $dev: No such file or directory" >&2; exit 1; }
    done
    ${disko.script}
    rm -rf /lab/disk
    mkdir -p /lab/disk /mnt
    mount --bind /lab/disk /mnt
  ''; } ''printf '%s' "$text" >$out; chmod 0755 $out'';
in
builtins.mapAttrs (_: host: host // {
  config = host.config // {
    system = host.config.system // { build = host.config.system.build // { diskoScript = script; }; };
  };
}) systems
"""


def _disk(name: str, number: int, link: str) -> str:
    # The device number belongs to no device, so that nothing can be written by mistake.
    return f"""
        mkdir -p {LAB}/block/{name}/device {LAB}/block/{name}/holders
        echo 2097152 >{LAB}/block/{name}/size
        echo 240:{number} >{LAB}/block/{name}/dev
        echo 'Lab disk' >{LAB}/block/{name}/device/model
        mknod /dev/{name} b 240 {number}
        mkdir -p /dev/disk/by-id
        ln -s ../../{name} {link}
    """


@dataclass(frozen=True)
class Installer:
    """The machine and the project that installs it."""

    host: LabHost
    project: Project

    @property
    def known_hosts(self) -> str:
        """The text of the project's own known_hosts file."""
        return (self.project.directory / "known_hosts").read_text()

    def disko(self, *devices: str, script: str = "") -> None:
        """Say which devices the disko script works on, and what it does further."""
        self.project.write("disko.json", json.dumps({"devices": devices or (DISK,), "script": script}))

    def play(self, **variables: Any) -> list[Any]:
        """The role, with ``variables`` without their prefix; those of the role nixos with it."""
        given = {
            "disks": [DISK],
            "confirm": [DISK],
            "timeout_reboot": 300,
            "nixos_file": "machine.nix",
            "nixos_attr": "{host}",
            **variables,
        }
        named = {
            name if name.startswith(("nixos_", "install_")) else f"install_{name}": value
            for name, value in given.items()
        }
        role = {"role": "nixferry.deploy.install", "vars": named}
        return [{"hosts": self.host.name, "gather_facts": False, "roles": [role]}]

    def install(self, *arguments: str, **variables: Any) -> PlaybookRun:
        """Run the role."""
        return self.project.run_playbook(self.play(**variables), *arguments, timeout=900)

    def step(self, step: str, *arguments: str, **options: Any) -> PlaybookRun:
        """Run one task of nix_install."""
        return self.project.run_playbook(
            task_play(self.host.name, "nix_install", {"step": step, **options}), *arguments
        )

    def fault_of_boot(self, script: str) -> None:
        """Let the machine run ``script`` when it boots next, after what its firmware does."""
        self.host.execute(f"cat >{LAB}/fault-boot <<'END'\n{script}\nEND")

    def runs_another_linux(self) -> None:
        """Let the machine be one that runs another Linux, which kexec can replace."""
        self.host.execute(
            """
            printf 'ID=debian\\nPRETTY_NAME="Debian 13"\\n' >/etc/os-release
            mv /usr/local/bin/nixos-install /lab/nixos-install
            printf '#!/bin/sh\\necho none\\n' >/usr/local/bin/systemd-detect-virt
            printf '#!/bin/sh\\nexit 0\\n' >/usr/local/bin/cpio
            chmod 0755 /usr/local/bin/systemd-detect-virt /usr/local/bin/cpio
            """
        )

    def anywhere(self) -> str:
        """Make a program for nixos-anywhere, which knows its options, and return its path."""
        program = self.project.write("bin/nixos-anywhere", _ANYWHERE)
        program.chmod(0o755)
        return str(program)

    def formatted(self) -> int:
        """How often the disko script has run."""
        return int(self.host.ask(f"cat {LAB}/disko.log 2>/dev/null | wc -l"))

    def fault(self, script: str) -> None:
        """Let nixos-install run ``script`` first, or with an empty one nothing."""
        self.host.execute(f"rm -f {LAB}/fault")
        if script:
            self.host.execute(f"cat >{LAB}/fault <<'END'\n{script}\nEND")


def boot_installer(host: LabHost, project: Project, variables: Mapping[str, Any] | None = None) -> Installer:
    """Make a lab host a machine that has booted an installer, with two disks."""
    host.execute(
        f"""
        mkdir -p {LAB}
        rm -f /etc/os-release
        printf 'ID=nixos\\nVARIANT_ID=installer\\nPRETTY_NAME="NixOS 25.11 (installer)"\\n' >/etc/os-release
        cat >/usr/local/bin/nixos-install <<'END'
{_NIXOS_INSTALL}
END
        printf '#!/bin/sh\\nexit 1\\n' >/usr/local/bin/nixos-enter
        mv /usr/local/lib/nixferry-lab/init /usr/local/lib/nixferry-lab/init.real
        cat >/usr/local/lib/nixferry-lab/init <<'END'
{_FIRMWARE}
END
        chmod 0755 /usr/local/bin/nixos-install /usr/local/bin/nixos-enter /usr/local/lib/nixferry-lab/init
        {_disk("labdisk", 1, DISK)}
        {_disk("labother", 2, OTHER_DISK)}
        mount --bind {LAB}/block /sys/class/block
        """
    )
    known = project.write("known_hosts", (project.lab.directory / "known_hosts").read_text())
    add_hosts(
        project,
        {
            host.name: {
                "ansible_ssh_common_args": f"-o 'UserKnownHostsFile=\"{known}\"' -o IdentitiesOnly=yes",
                **(variables or {}),
            }
        },
    )
    project.write("machine.nix", _SYSTEMS)
    installer = Installer(host, project)
    installer.disko()
    return installer
