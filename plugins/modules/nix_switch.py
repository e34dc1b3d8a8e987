#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_switch
short_description: Switch a host to a Nix-built system, and roll back if it is not healthy
description:
  - Activates a system from the host's store, proves over a brand-new login that the host is still healthy, and only
    then makes the system the boot default. Otherwise the host restores, by itself, exactly the system that ran before.
  - A guard on the host does the work, detached from every login session. It rolls back if it is not confirmed in time.
    Therefore a dead controller or a lost network cannot leave a half-deployed host.
  - The boot default stays the old system until the confirmation, so a power cut at any earlier moment boots the old
    system.
  - Kinds without a boot default, such as O(kind=profile), cannot rely on that, because their activation itself sets the
    profile. There a unit in C(/etc/systemd/system) that exists during the activation undoes an interrupted activation
    at the next boot. This needs systemd, root, and a directory that takes units; or a user with a lingering service
    manager. Elsewhere (macOS, other service managers, deploys as another ordinary user, kind O(kind=profile) on NixOS)
    an unconfirmed profile stays in place after a power cut until the next deploy, which undoes it first.
  - The system must be valid in the host's store, see M(nixferry.deploy.nix_copy).
  - The host needs C(sh) and Nix, and no Python.
  - A second run with the same system changes nothing.
extends_documentation_fragment:
  - nixferry.deploy._system
  - nixferry.deploy._switch
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Compares the host's system with the new one and changes nothing. If the host already has the closure, it also
        shows what the activation would do to units.
  diff_mode:
    support: full
    details:
      - Shows the difference of the closures, package by package, and the output of the system's own dry activation.
options:
  step:
    description:
      - The step to run.
      - V(all) activates, checks, confirms and commits, or rolls back.
      - V(activate) activates and checks, and leaves a healthy host waiting for its confirmation. The host rolls back by
        itself if the confirmation does not arrive within O(timeout_hold).
      - V(confirm) checks such a host once more over a brand-new login and confirms it. If the host has rolled back
        meanwhile, the task reports this and fails.
      - V(abort) rolls such a host back at once. This is not a failure, unless there are O(peers). It fails if the host
        has been confirmed before, see O(take_back).
      - Repeating a step changes nothing.
    type: str
    choices: [all, activate, confirm, abort]
    default: all
  activation:
    description:
      - With O(step=confirm) and O(step=abort), the result of O(step=activate), or RV(activation) of it.
      - If it is the result of O(step=activate) and the host was already up to date, nothing is done.
    type: raw
  reason:
    description: With O(step=abort), the reason. It goes to the host's log and into the message.
    type: str
    default: ""
  take_back:
    description:
      - With O(step=abort), whether a host that has already been confirmed is still taken back, to exactly the
        generation that it had before, by a deploy of that generation like M(nixferry.deploy.nix_rollback).
    type: bool
    default: false
  timeout_hold:
    description:
      - With O(step=activate), the seconds that a healthy host waits for O(step=confirm), after the brand-new login,
        before it rolls back by itself. The time that the health checks may take is added.
    type: int
    default: 600
  peers:
    description:
      - With a O(step) other than V(all), the hosts that are deployed together as one transaction, this one included.
        Give the same to M(nixferry.deploy.nix_transaction).
      - Nothing is activated if one of them has failed or could not be reached earlier in the play.
      - A failure of V(activate) or V(confirm) then does not fail the task, so that Ansible keeps the host in the play,
        but sets RV(deferred_failure). V(abort) reports it, and fails on every host that it takes back.
      - Refused under strategies that let hosts run ahead of others, such as P(ansible.builtin.free#strategy), with
        O(action=boot), and with O(rollback=false).
    type: list
    elements: str
    default: []
  peer_steps:
    description:
      - With O(peers) and O(step=activate), the names of variables in which earlier tasks of the deploy have registered
        their results, for each host on its own.
      - Nothing is activated if one of the peers has failed or was unreachable there. Without this, a host that Ansible
        keeps in the play anyway, because of C(ignore_unreachable) or a C(rescue), does not count as lost.
    type: list
    elements: str
    default: []
seealso:
  - module: nixferry.deploy.nix_deploy
  - module: nixferry.deploy.nix_transaction
  - module: nixferry.deploy.nix_build
  - module: nixferry.deploy.nix_copy
  - module: nixferry.deploy.nix_rollback
  - module: nixferry.deploy.nix_generations
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Switch to a system that was built and copied before
  nixferry.deploy.nix_switch:
    toplevel: "{{ build.toplevel }}"

- name: Only commit it when the web server answers
  nixferry.deploy.nix_switch:
    toplevel: "{{ build.toplevel }}"
    health_checks:
      - unit: nginx.service
      - url: "https://{{ inventory_hostname }}/health"
        contains: ok

- name: Deploy a service to a host that is not NixOS
  nixferry.deploy.nix_switch:
    kind: profile
    toplevel: "{{ build.toplevel }}"
    profile: /nix/var/nix/profiles/per-user/root/web
    activate_command: '"$SYSTEM/bin/service" restart'
    health_checks:
      - port: 8080

- name: Boot a new kernel at once, and go back by itself when that does not come up
  nixferry.deploy.nix_switch:
    toplevel: "{{ build.toplevel }}"
    reboot: if-required
    health_checks:
      - unit: nginx.service

- name: Make it the boot default for the next reboot
  nixferry.deploy.nix_switch:
    toplevel: "{{ build.toplevel }}"
    action: boot

- name: Activate it, and let it wait for at most five minutes
  nixferry.deploy.nix_switch:
    step: activate
    toplevel: "{{ build.toplevel }}"
    timeout_hold: 300
  register: activated

- name: Confirm it
  nixferry.deploy.nix_switch:
    step: confirm
    activation: "{{ activated }}"
    health_checks:
      - unit: nginx.service
"""

RETURN = r"""
activation:
  description: The activation's name on the host, for the steps V(confirm) and V(abort).
  returned: when something was activated or committed
  type: str
  sample: 20260102T030405-1a2b3c4d
seconds_left:
  description: Seconds until the host rolls back by itself.
  returned: when the host waits for its confirmation
  type: int
deadline:
  description: When the host rolls back by itself, by the controller's clock.
  returned: when the host waits for its confirmation
  type: str
  sample: "2026-01-02T03:14:05+00:00"
deferred_failure:
  description: Whether this is a failure that O(step=abort) must report.
  returned: with O(peers), when the step failed
  type: bool
old_generation:
  description: The number of the profile's previous generation; V(0) if there was none.
  returned: when the host was reached
  type: int
outcome:
  description:
    - The result of the deploy. V(unchanged), nothing had to be done. V(committed), the new system runs (with
      O(action=boot), it runs after the next boot) and is the boot default. V(tested), the new system runs and the old
      one is the boot default. V(dry-activated), nothing was changed. V(rolled-back), the old system runs and is the
      boot default. V(failed), the new system failed and rollback failed or was disabled; or a third party has meanwhile
      switched the host to another system, which RV(other_system) and the message name. V(unknown), the controller could
      not reach the host again before every deadline had passed. V(awaiting-confirmation), the new system runs, is
      healthy and waits for O(step=confirm); the old system is the boot default.
    - In check mode, the outcome if everything succeeds.
  returned: always
  type: str
  choices: [unchanged, awaiting-confirmation, committed, tested, dry-activated, rolled-back, failed, unknown]
other_system:
  description:
    - The store path of the running system, if a third party (another administrator, an automatic upgrade) has switched
      the host to it during the deploy. The guard leaves it alone, and does not commit the new system.
  returned: when a third party has switched the host
  type: str
old:
  description: The store path of the system that ran before; empty if there was none.
  returned: when the host was reached
  type: str
new:
  description: The store path of the system to deploy, or of the requested specialisation.
  returned: when the host was reached
  type: str
generation:
  description: The number of the profile's generation afterwards.
  returned: when the profile exists
  type: int
phases:
  description: The phases of the guard, with the seconds that each took.
  returned: when something was activated or committed
  type: list
  elements: dict
  contains:
    name:
      description: The phase.
      type: str
    seconds:
      description: Its duration, in whole seconds of the host's clock.
      type: int
failed_units:
  description: The units that have failed now and had not failed before.
  returned: when something was activated
  type: list
  elements: str
health_checks:
  description: The outcome of each check.
  returned: when checks ran
  type: list
  elements: dict
log:
  description: The end of the activation's output.
  returned: when something was activated
  type: list
  elements: str
notes:
  description: Remarks of the guard, for instance that it took over a stale lock of an earlier boot.
  returned: when there are any
  type: list
  elements: str
rebooted:
  description:
    - Whether the task rebooted the host, into the new system or back into the old one.
    - In check mode, whether it would. This is known only once the new system is in the host's store.
  returned: when the host was reached
  type: bool
reboot_required:
  description:
    - Whether a reboot is due, because the running kernel, its command line, modules, initial RAM disk, init interface
      or a switch inhibitor differs from that of the system.
  returned: when the host was reached
  type: bool
reboot_reasons:
  description: Which of them differ.
  returned: when the host was reached
  type: list
  elements: str
kind:
  description: The kind of system.
  returned: when the host was reached
  type: str
profile:
  description: The profile link on the host.
  returned: when the host was reached
  type: str
deploy:
  description: The common id of all hosts of this run, under which M(nixferry.deploy.nix_rollback) finds it.
  returned: when the host was reached
  type: str
  sample: 20260921T141300-3fa2c1d4
revision:
  description: The deployed revision; empty if it is unknown.
  returned: when the host was reached
  type: str
closure:
  description: The difference of the closures, as in RV(nixferry.deploy.nix_closure_diff#module:hosts).
  returned: in check mode and with C(--diff), when the new closure is in a store that can be asked
  type: dict
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: confirm
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
