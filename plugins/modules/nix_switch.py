#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_switch
short_description: Switch a host to a Nix-built system, and back when it is not healthy
description:
  - Activates a system that lies in the host's store, proves over a brand-new login that the host is still healthy,
    and only then makes it the boot default. Otherwise the host puts back, by itself, exactly the system that ran
    before.
  - The work is done by a guard on the host, which is detached from every login session. It rolls back when it is not
    confirmed in time, so a controller that dies or a network that goes away cannot leave a half-deployed host.
  - The boot default stays the old system until the confirmation, so a power cut at any earlier moment boots the old
    system.
  - Kinds without a boot default, such as O(kind=profile), cannot rely on that, because their activation itself sets the
    profile. There the host undoes an interrupted activation when it comes up again, by a unit in
    C(/etc/systemd/system) that exists as long as the activation. This needs systemd, root, and a directory that takes
    units; or a user whose service manager lingers. Elsewhere (macOS, other service managers, deploys as another
    ordinary user, kind O(kind=profile) on NixOS) an unconfirmed profile stays in place after a power cut until the
    next deploy, which undoes it first.
  - The host needs C(sh) and Nix, and no Python.
  - A second run with the same system changes nothing.
extends_documentation_fragment:
  - nixferry.deploy._switch
  - nixferry.deploy._health
  - nixferry.deploy._progress
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
    details:
      - Compares the host's system with the new one and changes nothing. What the activation would do to units is
        shown when the closure is on the host already.
  diff_mode:
    support: full
    details:
      - Shows the difference of the closures, package by package, and what the system's own dry activation says.
options:
  toplevel:
    description:
      - The store path of the system, C(config.system.build.toplevel) for NixOS, or of whatever O(kind) activates.
      - It has to be valid in the host's store, see M(nixferry.deploy.nix_copy).
      - Either this or O(build) is required with O(step=all) and O(step=activate).
    type: str
  build:
    description:
      - What M(nixferry.deploy.nix_build) returned, for this host or for many. Its toplevel for this host is taken,
        and a build that failed for this host fails this task with the build's own message.
    type: dict
  action:
    description:
      - V(switch) activates now and, once confirmed, makes the system the boot default.
      - V(boot) makes it the boot default without activating it.
      - V(test) activates it, waits for the confirmation, and leaves the boot default alone.
      - V(dry-activate) only tells what an activation would do.
    type: str
    choices: [switch, boot, test, dry-activate]
    default: switch
  specialisation:
    description:
      - The specialisation of O(toplevel) to run. The profile still points at O(toplevel).
    type: str
    default: ""
  rollback:
    description:
      - Whether to put the old system back when the new one fails or is not confirmed.
      - With V(false) a failed system keeps running until the next deploy or reboot, and the outcome is V(failed). The
        boot default stays the old system all the same, also after a O(reboot). Kinds without a boot default, such as
        V(profile), keep the profile that their activation has set.
      - A commit that fails is undone in the profile and the boot loader in any case, and so is what a power cut
        interrupts.
    type: bool
    default: true
  secrets:
    description:
      - The RV(nixferry.deploy.nix_secrets#module:set) that M(nixferry.deploy.nix_secrets) has returned with
        O(nixferry.deploy.nix_secrets#module:stage). These secrets are put into place just before the activation, and
        those that were there before are put back before the old system is, if it is rolled back.
      - Later M(nixferry.deploy.nix_rollback) to this generation puts the same secrets into place again, as far as they
        have not been in main memory when the host was rebooted.
    type: str
    default: ""
  revision:
    description:
      - The revision that is deployed, such as the hash of a commit. The host records it with the generation, together
        with the time and with who deploys from where.
      - With O(build) it is what M(nixferry.deploy.nix_build) found out. Without a revision nothing is compared.
    type: str
    default: ""
  repository:
    description:
      - The git checkout on the controller that tells whether O(revision) contains the revision that is deployed.
      - With O(build) it is the checkout that was built from, else the one around the playbook. Without a checkout
        nothing is compared.
    type: path
  force:
    description:
      - Whether to replace a generation that was deployed from a revision which is no ancestor of O(revision), or which
        O(repository) does not know. That undoes what somebody else has deployed, and is refused otherwise.
      - A host that runs and boots the system already is left alone even so.
    type: bool
    default: false
  step:
    description:
      - How much of the way to go.
      - V(all) activates, checks, confirms and commits, or rolls back.
      - V(activate) activates and checks, and leaves a healthy host waiting for its confirmation. It goes back by itself
        when that does not come within O(timeout_hold).
      - V(confirm) checks such a host once more over a brand-new login and confirms it. A host that has gone back
        meanwhile is reported as such and fails.
      - V(abort) lets such a host go back at once. That is no failure, unless there are O(peers). It is one when the
        host has been confirmed before, see O(take_back).
      - Repeating a step changes nothing.
    type: str
    choices: [all, activate, confirm, abort]
    default: all
  activation:
    description:
      - With O(step=confirm) and O(step=abort), what O(step=activate) returned, or RV(activation) of it.
      - When it is what O(step=activate) returned and the host was up to date already, nothing is done.
    type: raw
  reason:
    description: With O(step=abort), why. It goes to the host's log and into the message.
    type: str
    default: ""
  take_back:
    description:
      - With O(step=abort), whether a host that has been confirmed goes back all the same, to exactly the generation
        that it had before, by a deploy of that as M(nixferry.deploy.nix_rollback) makes it.
    type: bool
    default: false
  timeout_hold:
    description:
      - With O(step=activate), seconds that the host, once it has been reached over a brand-new login and found healthy,
        waits for O(step=confirm) before it goes back by itself. What the health checks may take is added.
    type: int
    default: 600
  peers:
    description:
      - With a O(step) other than V(all), the hosts that are deployed together as one transaction, this one included.
        Give the same to M(nixferry.deploy.nix_transaction).
      - Nothing is activated when one of them has failed or could not be reached earlier in the play.
      - A failure of V(activate) or V(confirm) then does not fail the task, so that Ansible keeps the host in the play,
        but sets RV(deferred_failure); V(abort) reports it, and fails on every host that it takes back.
      - Refused under strategies that let hosts run ahead of others, such as P(ansible.builtin.free#strategy), with
        O(action=boot), and with O(rollback=false).
    type: list
    elements: str
    default: []
seealso:
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
  description: Seconds until the host goes back by itself.
  returned: when the host waits for its confirmation
  type: int
deadline:
  description: When the host goes back by itself, by the controller's clock.
  returned: when the host waits for its confirmation
  type: str
  sample: "2026-01-02T03:14:05+00:00"
deferred_failure:
  description: Whether this is a failure that O(step=abort) is to report.
  returned: with O(peers), when the step failed
  type: bool
old_generation:
  description: The number of the profile's generation before; V(0) when there was none.
  returned: when the host was reached
  type: int
outcome:
  description:
    - How it ended. V(unchanged), nothing had to be done. V(committed), the new system runs (with O(action=boot), will
      run after the next boot) and is the boot default. V(tested), the new system runs and the old one is the boot
      default. V(dry-activated), nothing was changed. V(rolled-back), the old system runs and is the boot default.
      V(failed), the new system failed and the old one could not, or was not to, be put back; or a third party has
      switched the host to yet another system meanwhile, which RV(other_system) and the message name. V(unknown), the
      host could not be reached again before every deadline had passed. V(awaiting-confirmation), the new system runs,
      is healthy and waits for O(step=confirm); the old system is the boot default.
    - In check mode, what the outcome would be if all went well.
  returned: always
  type: str
  choices: [unchanged, awaiting-confirmation, committed, tested, dry-activated, rolled-back, failed, unknown]
other_system:
  description:
    - The store path of the system that runs, when a third party (another administrator, an automatic upgrade) has
      switched the host to it while the deploy was under way. It is left alone, and the new system is not committed.
  returned: when that has happened
  type: str
old:
  description: The store path of the system that ran before; empty when there was none.
  returned: when the host was reached
  type: str
new:
  description: The store path of the system that was to run; of the specialisation when one was asked for.
  returned: when the host was reached
  type: str
generation:
  description: The number of the profile's generation afterwards.
  returned: when the profile exists
  type: int
phases:
  description: The phases that the guard went through, with the seconds each took.
  returned: when something was activated or committed
  type: list
  elements: dict
  contains:
    name:
      description: The phase.
      type: str
    seconds:
      description: How long it took, in whole seconds of the host's clock.
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
  description: The end of what the activation printed.
  returned: when something was activated
  type: list
  elements: str
notes:
  description: What the guard found worth telling, such as a lock of an earlier boot that it took over.
  returned: when there are any
  type: list
  elements: str
rebooted:
  description:
    - Whether the host was rebooted in the course of the task, be it into the new system or back into the old one.
    - In check mode, whether it would be rebooted. That is known only once the new system lies in the host's store.
  returned: when the host was reached
  type: bool
reboot_required:
  description:
    - Whether a reboot is due, because the running kernel, its command line, modules, initial RAM disk, init interface
      or a switch inhibitor is not that of the system.
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
  description: The id that all hosts of this run have in common, under which M(nixferry.deploy.nix_rollback) finds it.
  returned: when the host was reached
  type: str
  sample: 20260921T141300-3fa2c1d4
revision:
  description: The revision that was deployed; empty when it is not known.
  returned: when the host was reached
  type: str
closure:
  description: The difference of the closures.
  returned: in check mode, when the new closure lies in a store that can be asked
  type: dict
where:
  description: The machine on which it failed, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: What was being done when it failed.
  returned: failure
  type: str
  sample: confirm
cause:
  description: What is wrong. The message begins with the host and the step, and ends with the remedy.
  returned: failure
  type: str
remedy:
  description: What to do about it, as far as that is known.
  returned: failure
  type: str
output:
  description: The end of what the programs printed.
  returned: failure
  type: list
  elements: str
"""
