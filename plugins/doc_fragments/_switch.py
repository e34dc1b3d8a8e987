# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of what every action that switches a system takes."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that every switching action shares."""

    DOCUMENTATION = r"""
options:
  kind:
    description:
      - What kind of system it is; this decides what is called to activate, to commit and to roll back.
      - V(nixos) and V(profile) are tested on real hosts. V(home-manager), V(system-manager) and V(darwin) are tested
        against fixtures that keep the contracts of these programs; nothing has been run on macOS. The scenario guide
        C(kinds) tells more.
    type: str
    choices: [nixos, darwin, home-manager, system-manager, profile]
    default: nixos
  profile:
    description:
      - The profile link whose generations record what was deployed.
      - Each O(kind) has its own default; kind V(profile) has none, so it has to be given there.
    type: path
  activate_command:
    description:
      - For kind V(profile), what activates a closure, as a shell command.
      - It runs after the profile was set, on the way forth and on the way back, as the user who deploys. E(SYSTEM) and
        E(TOPLEVEL) hold the store path to activate, which is the old one on the way back, and E(PROFILE) the profile
        link, which points to it by then. E(OLD_SYSTEM) and E(OLD_TOPLEVEL) hold the store path that was there before
        the deploy, and are empty the first time.
      - What it leaves running, such as a daemon, keeps running when the deploy has ended, whether confirmed or rolled
        back. When the command does not end within O(timeout_activation), or is interrupted by a failing deploy,
        everything that it has started is killed; without systemd, what it has put into a session of its own is not.
      - Its exit code has to be V(0). Its standard input is empty, and its output goes to the log.
      - Without it, nothing but the profile link changes.
    type: str
  timeout_activation:
    description: Seconds after which an activation that has not ended is stopped and rolled back.
    type: int
    default: 600
  timeout_confirm:
    description:
      - Seconds that the host waits, after the activation, for the controller to log in anew and confirm.
      - What the health checks may take at most is added to this.
    type: int
    default: 60
  timeout_rollback:
    description: Seconds that the activation of the old system may take during a roll-back.
    type: int
    default: 600
  failed_units:
    description:
      - What to do when units that had not failed before have failed after the activation.
      - V(rollback) takes them as a failed activation, V(ignore) only reports them.
      - Units that had failed before never count.
    type: str
    choices: [rollback, ignore]
    default: rollback
  reboot:
    description:
      - Whether the host reboots into the new system before it is confirmed. See the guide to reboots.
      - V(never) activates the new system in the running one. What only a reboot brings, such as a kernel, is left to
        you, and RV(reboot_required) says so.
      - V(if-required) reboots when the kernel, initial RAM disk, kernel modules, kernel parameters, init interface or a
        switch inhibitor of the new system differs from those of the running one, or when its program says that it
        cannot be activated without a reboot. Otherwise it is the same as V(never).
      - V(always) reboots also when that is not required, except when the host has booted just this system already.
      - The new system is booted for one boot only. The old system stays the boot default until the host has come back,
        has passed the O(health_checks) over a new login and was confirmed. Whatever goes wrong before, be it a crash of
        the new kernel, a power cut or a network that does not come up, the host comes back with the old system.
      - This needs systemd-boot or GRUB. With another boot loader, or where it cannot be set up to boot an entry just
        once, the task fails before anything is changed.
      - Only kind V(nixos) has this, and not with O(nixferry.deploy.nix_switch#module:action=test).
    type: str
    choices: [never, if-required, always]
    default: never
  timeout_reboot:
    description:
      - Seconds within which the host has to go down for a reboot; the controller waits as long for its return.
    type: int
    default: 600
  reboot_if_unreachable:
    description:
      - Whether the host reboots, into the old system, when nobody reaches it even after it was rolled back.
      - Also when a failed system was left running because O(nixferry.deploy.nix_switch#module:rollback) is V(false), so
        that a host which cannot be looked at comes back with a system that could be reached.
    type: bool
    default: false
  guard:
    description:
      - The guard that M(nixferry.deploy.nix_guard) has installed on the host, such as
        V(/usr/local/sbin/nixferry-guard). It is asked through C(sudo), so the task needs no C(become), and the user no
        other privilege than to run it.
      - It activates what one of its keys has signed and what is a generation already. O(kind) and O(profile) have to be
        those that it was installed for. O(activate_command) cannot be given.
      - The health checks O(health_checks[].command) and O(health_checks[].unit) run as the user who logs in.
    type: path
"""
