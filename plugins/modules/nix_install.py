#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_install
short_description: Install NixOS on a machine, one step a task
description:
  - Turns a machine that answers to a login into a NixOS host, with a system and a disko script that
    M(nixferry.deploy.nix_build) has built. The role P(nixferry.deploy.install#role) runs all steps in their order.
  - B(It destroys what is on the disks), and refuses to unless each disk is named by its id, is not in use, and is empty
    or named in O(confirm) as well. The devices in the disko script must be exactly these disks.
  - Each step looks first at what is there. It skips what is done already, so an interrupted run goes on where it
    ended. It leaves a machine alone that already is a host of this collection.
  - Programs on the machine go on if the connection breaks. The next attempt, or the next run, follows them.
  - The login of the inventory is that of the new system. O(login) says how the login to the installer differs.
extends_documentation_fragment:
  - nixferry.deploy._transfer
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Looks at the machine, and refuses what the real run would refuse as far as it can be seen.
  diff_mode:
    support: full
    details:
      - V(check) shows which disks would be destroyed; V(hardware) the difference between the reports.
options:
  step:
    description:
      - V(check) looks at the machine and its disks, and reports which steps are left in RV(steps). It changes nothing.
      - V(hardware) brings a report of the hardware to the controller.
      - V(kexec) replaces another running Linux by the installer, in main memory, with C(nixos-anywhere).
      - V(disks) runs the disko script, which formats the disks and mounts them.
      - V(system) copies the system to the disks, places host keys, files and secrets, and runs C(nixos-install).
      - V(reboot) reboots, and waits until the new system has started.
    type: str
    choices: [check, hardware, kexec, disks, system, reboot]
    required: true
  build:
    description: The result of M(nixferry.deploy.nix_build) for the system, for this host or for many.
    type: dict
  disko_build:
    description:
      - The result of M(nixferry.deploy.nix_build) for C(config.system.build.diskoScript) of the same configuration.
    type: dict
  disks:
    description:
      - All disks of the installation, by their names below C(/dev/disk/by-id), or C(/dev/disk/by-path) for disks
        without a serial number. Other names change from boot to boot, and are refused.
    type: list
    elements: str
    default: []
  confirm:
    description:
      - Those of O(disks) that hold data, or are in use by the Linux that kexec replaces, and may be destroyed.
    type: list
    elements: str
    default: []
  disk_keys:
    description:
      - Files for the disko script on the installer, such as keys of encrypted disks, in the form of O(files). They are
        in main memory there. The configuration of disko names them (C(passwordFile), C(keyFile)).
    type: dict
  mount_point:
    description: Where the disko script mounts the root of the new system.
    type: str
    default: /mnt
  login:
    description: How the login to the installer differs from that of the inventory.
    type: dict
    suboptions:
      user:
        description: The user.
        type: str
      port:
        description: The port.
        type: int
      host_key:
        description: The public host key that the installer shows, as in a file C(ssh_host_ed25519_key.pub).
        type: str
      check_host_key:
        description:
          - Whether the host key of the installer is checked, with O(login.host_key) or known_hosts.
          - With V(false) another machine could take its place, and get all secrets of the new system.
        type: bool
        default: true
  secure_boot:
    description: Whether the boot loader of the new system is signed for a machine with Secure Boot.
    type: bool
    default: false
  kexec:
    description:
      - The image that replaces another running Linux, a tarball of C(nixos-images) on the controller. Without it, such
        a machine is refused.
    type: path
  kexec_memory_mib:
    description: The RAM in MiB that the machine must have for that.
    type: int
    default: 1400
  kexec_port:
    description: The port of the installer that O(kexec) starts. It lets root in, with the keys of the old system.
    type: int
    default: 22
  nixos_anywhere:
    description: The program C(nixos-anywhere) on the controller.
    type: str
    default: nixos-anywhere
  host_keys:
    description:
      - Private host keys for the new system by type, V(ed25519), V(rsa) or V(ecdsa), such as variables from a vault.
    type: dict
  host_key_types:
    description:
      - The types of the host keys to have. Those that O(host_keys) does not give are generated on the machine, and
        never leave it. A key that an interrupted run has generated stays.
    type: list
    elements: str
    default: [ed25519]
  host_key_directory:
    description: The directory of host keys in the new system.
    type: str
    default: /etc/ssh
  keep_host_keys:
    description:
      - Whether to keep the host keys of the running installer, or of the Linux before it, instead of generating some.
    type: bool
    default: false
  known_hosts:
    description:
      - The file on the controller that gets the new public keys. They are added before the reboot; once the new system
        has come up, older keys of the host are removed.
      - V(auto) is the first file that C(ssh) reads for this host. V(none) writes no file.
    type: str
    default: auto
  files:
    description:
      - Files for the new system that must be there before its activation. The name of an entry is the path, unless it
        has C(path).
      - The other options are those of O(secrets), C(text), C(file) or C(command), C(user), C(group), C(permissions).
        Users and groups are those of the new system; until it is installed, root owns the files.
    type: dict
  secrets:
    description:
      - The secrets of the host, as for M(nixferry.deploy.nix_secrets). Those with C(storage) V(persistent) are placed
        before the first boot. Place all of them with that module after it.
    type: dict
  storage:
    description: The storage of O(secrets) without one of their own, as for M(nixferry.deploy.nix_secrets).
    type: str
    choices: [tmpfs, persistent, sealed]
  hardware:
    description: The program on the machine that reports the hardware.
    type: str
    choices: [nixos-facter, nixos-generate-config]
    default: nixos-facter
  hardware_file:
    description:
      - The file on the controller for the report. A relative path counts from the playbook's directory. Without it the
        report is returned.
      - The machine has written the report. Review it before it becomes part of the configuration.
    type: path
  timeout_kexec:
    description: The seconds until the installer must answer after kexec began.
    type: int
    default: 900
  timeout_disks:
    description: The seconds that the disko script may take.
    type: int
    default: 1800
  timeout_install:
    description: The seconds that C(nixos-install) may take.
    type: int
    default: 3600
  timeout_reboot:
    description: The seconds until the new system must have started.
    type: int
    default: 900
notes:
  - The user on the installer (the become user, with O(ignore:become)) must be root.
  - Do not combine it with O(ignore:delegate_to).
seealso:
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_secrets
  - module: nixferry.deploy.nix_switch
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
- name: Look which disks the machine has
  nixferry.deploy.nix_install:
    step: hardware
    login:
      user: root

- name: Format the named disk
  nixferry.deploy.nix_install:
    step: disks
    disko_build: "{{ disko_script }}"
    disks:
      - /dev/disk/by-id/nvme-EXAMPLE_SSD_1TB_S5GXNX0T123456
"""

RETURN = r"""
state:
  description:
    - What the machine runs. V(installer), an installer of NixOS. V(linux), another system. V(installed), the new
      system, whose installation was not finished. V(managed), a host of this collection, which is left alone.
    - After O(step=reboot), the state of the new system's service manager, such as V(running) or V(degraded).
  returned: for O(step=check) and O(step=reboot)
  type: str
steps:
  description: The steps that are left.
  returned: for O(step=check)
  type: list
  elements: str
disks:
  description: The disks of the machine.
  returned: for O(step=check)
  type: list
  elements: dict
  contains:
    name:
      description: The name of the kernel, which may be another one after a reboot.
      type: str
    size:
      description: The size in bytes.
      type: int
    model:
      description: The model.
      type: str
    content:
      description: What is on it; empty if nothing was found.
      type: str
    ids:
      description: The names for O(disks).
      type: list
      elements: str
    uses:
      description: What uses it now.
      type: list
      elements: str
machine:
  description: The machine.
  returned: for O(step=check)
  type: dict
  contains:
    name:
      description: The name of the running system.
      type: str
    system:
      description: Nix's name of the platform.
      type: str
    memory_mib:
      description: The RAM in MiB.
      type: int
    efi:
      description: Whether it was booted by EFI.
      type: bool
    secure_boot:
      description: Whether Secure Boot is on.
      type: bool
hardware:
  description: The report of the hardware.
  returned: for O(step=hardware) without O(hardware_file)
  type: str
host_keys:
  description: The public host keys of the new system, type and content.
  returned: for O(step=system) and O(step=reboot)
  type: list
  elements: str
placed:
  description: The files that were written in the new system.
  returned: for O(step=system)
  type: list
  elements: str
secrets:
  description: The names of the secrets that were placed in the new system.
  returned: for O(step=system)
  type: list
  elements: str
rebooted:
  description: Whether the machine was rebooted; in check mode, whether it would be.
  returned: for O(step=reboot)
  type: bool
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: format the disks
cause:
  description: The cause of the failure. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: How to fix it, if known.
  returned: failure
  type: str
output:
  description: The end of the programs' output.
  returned: failure
  type: list
  elements: str
"""
