# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the options of every action that switches a system."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that every switching action shares."""

    DOCUMENTATION = r"""
options:
  kind:
    description:
      - The kind of system. It decides which programs activate, commit and roll back.
      - V(nixos) and V(profile) are tested on real hosts. V(home-manager), V(system-manager) and V(darwin) are tested
        against fixtures that keep the contracts of these programs; nothing has been run on macOS. See the scenario
        guide C(kinds).
    type: str
    choices: [nixos, darwin, home-manager, system-manager, profile]
    default: nixos
  profile:
    description:
      - The profile link whose generations record the deploys.
      - Each O(kind) has its own default, except V(profile), which requires this option.
    type: path
  activate_command:
    description:
      - For kind V(profile), the shell command that activates a closure.
      - It runs as the deploying user after the profile was set, for the activation and for the rollback. E(SYSTEM) and
        E(TOPLEVEL) hold the store path to activate, which is the old one on rollback. E(PROFILE) holds the profile
        link, which then points to it. E(OLD_SYSTEM) and E(OLD_TOPLEVEL) hold the store path from before the deploy, and
        are empty the first time.
      - Processes that it leaves running, such as a daemon, keep running after the deploy, whether confirmed or rolled
        back. If the command does not end within O(timeout_activation), or is interrupted by a failing deploy,
        everything that it has started is killed; without systemd, processes in a session of their own are not.
      - Its exit code must be V(0). Its standard input is empty, and its output goes to the log.
      - Without it, only the profile link changes.
    type: str
  timeout_activation:
    description: Seconds after which an unfinished activation is stopped and rolled back.
    type: int
    default: 600
  timeout_confirm:
    description:
      - Seconds that the host waits, after the activation, for the controller to log in anew and confirm.
      - The maximum duration of the health checks is added to this.
    type: int
    default: 60
  timeout_rollback:
    description: Seconds that the activation of the old system may take during a rollback.
    type: int
    default: 600
  failed_units:
    description:
      - The reaction to units that have failed after the activation and had not failed before.
      - V(rollback) treats them as a failed activation, V(ignore) only reports them.
      - Units that had failed before never count, nor do those in O(ignored_units).
    type: str
    choices: [rollback, ignore]
    default: rollback
  ignored_units:
    description:
      - Units whose failure is only noted, by name (V(backup.service)) or pattern (V(backup-*.service), with C(*), C(?)
        and C([...]) as in a shell).
      - For units that may fail at any time, such as jobs of a timer, whatever is deployed.
    type: list
    elements: str
    default: []
  settle:
    description:
      - Seconds that services which the activation has started or restarted must run without a failure or a restart,
        before the new system can be confirmed. Services that still start or restart get up to five times as long.
      - The login and the O(health_checks) go on meanwhile. The guard does not wait if no such service runs, with
        V(0), or with O(failed_units=ignore).
      - Needs systemd on the host.
    type: int
    default: 3
  reboot:
    description:
      - Whether the host reboots into the new system before it is confirmed. See the guide to reboots.
      - V(never) activates the new system without a reboot. Changes that need a reboot, such as a kernel, are left to
        you, and RV(reboot_required) says so.
      - V(if-required) reboots if the kernel, initial RAM disk, kernel modules, kernel parameters, init interface or a
        switch inhibitor of the new system differs from the running one, or if its program says that it cannot be
        activated without a reboot. Otherwise it is the same as V(never).
      - V(always) reboots also when that is not required, except when the host has already booted exactly this system.
      - The new system is booted for one boot only. The old system stays the boot default until the host has come back,
        has passed the O(health_checks) over a new login and was confirmed. After any earlier failure, such as a crash
        of the new kernel, a power cut or a network that does not come up, the host comes back with the old system.
      - This needs systemd-boot or GRUB. With another boot loader, or if it cannot be set up to boot an entry just once,
        the task fails before anything changes.
      - Only kind V(nixos) has this, and not with O(nixferry.deploy.nix_switch#module:action=test).
    type: str
    choices: [never, if-required, always]
    default: never
  timeout_reboot:
    description:
      - Seconds within which the host must go down for a reboot; the controller waits as long for its return.
    type: int
    default: 600
  despite_pull:
    description:
      - Whether to activate a system on a host whose profile a pull agent keeps (M(nixferry.deploy.nix_pull_agent)).
        Otherwise the guard refuses it, unless the agent is held.
      - At its next run, the agent activates the system of its pointer again.
    type: bool
    default: false
  metrics_directory:
    description:
      - A directory on the host for metrics of the activation, in the format of node_exporter's textfile collector. The
        guard writes them as root, also after a rollback without the controller.
      - The default is C(/var/lib/prometheus/node-exporter) if the host has it. V(none) turns metrics off.
      - Not with O(guard), which uses the default.
    type: str
  reboot_if_unreachable:
    description:
      - Whether the host reboots, into the old system, if the controller cannot reach it even after the rollback.
      - Also when O(nixferry.deploy.nix_switch#module:rollback) is V(false) and left a failed system running, so that an
        unreachable host comes back with a system that could be reached.
    type: bool
    default: false
  guard:
    description:
      - The guard that M(nixferry.deploy.nix_guard) has installed on the host, such as
        V(/usr/local/sbin/nixferry-guard). The task calls it through C(sudo), so it needs no C(become), and the user
        needs no privilege other than to run it.
      - The guard activates systems that one of its keys has signed, and existing generations. O(kind) and O(profile)
        must be those that it was installed for. O(activate_command) cannot be given.
      - The health checks O(health_checks[].command) and O(health_checks[].unit) run as the login user.
    type: path
"""
