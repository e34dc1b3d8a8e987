#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_pull_status
short_description: Read what a pulling host has done
description:
  - Reads the status that the pull agent of a host (M(nixferry.deploy.nix_pull_agent)) has left after its last run.
  - Waits, if wanted, until the host has taken a serial that was published. A host that refuses or rolls back what it
    names fails the task at once.
  - It needs no C(become), and no Python on the host.
extends_documentation_fragment:
  - nixferry.deploy._attributes
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  wait_for_serial:
    description: Wait until the host has successfully taken a pointer with this serial, or a later one.
    type: int
  wait_for_commit:
    description:
      - Wait until the host has successfully built and activated this commit of the repository that it follows, by its
        full name.
      - Only the newest commit of a branch can be waited for.
    type: str
  timeout:
    description: The seconds after which waiting ends with a failure.
    type: int
    default: 1800
  delay:
    description: The seconds between two looks.
    type: int
    default: 10
seealso:
  - module: nixferry.deploy.nix_pull_agent
  - module: nixferry.deploy.nix_publish
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Wait until the first hosts have taken what was published
  nixferry.deploy.nix_pull_status:
    wait_for_serial: "{{ publish_result.serial }}"
    timeout: 3600

- name: Wait until the hosts that build from git have built what was pushed
  nixferry.deploy.nix_pull_status:
    wait_for_commit: "{{ lookup('ansible.builtin.pipe', 'git rev-parse origin/main') }}"
    timeout: 7200
"""

RETURN = r"""
pull:
  description: The status.
  returned: success
  type: dict
  contains:
    pulls:
      description: Whether an agent is installed and its timer runs.
      type: bool
    installed:
      description: Whether an agent is installed.
      type: bool
    timer:
      description: The state of its timer.
      type: str
      sample: active
    under_way:
      description: Whether an activation is under way, or was interrupted.
      type: bool
    outcome:
      description:
        - The outcome of the last run. V(committed), V(unchanged), V(held) and V(waiting) are good ones.
        - V(rolled-back), V(failed), V(locked), V(not-signed), V(refused-by-guard), V(quarantined) and V(interrupted)
          are about the system.
        - V(format), V(signature), V(foreign), V(replayed), V(clock) and V(expired) are about the pointer.
        - V(build-failed) is about a commit; V(replayed) is also a branch that was rewritten.
        - V(absent), V(unreachable), V(disk-full), V(closure) and V(not-fetched) are about the fetch.
        - V(state-unwritable) is about the host's disk.
      type: str
      sample: committed
    message:
      description: The same in a sentence.
      type: str
    time:
      description: The end of the last run, in seconds since the epoch on the host's clock.
      type: int
    good_time:
      description: The end of the last run that ended well.
      type: int
    now:
      description: The time on the host's clock.
      type: int
    serial:
      description: The serial of the last accepted pointer.
      type: int
    issued:
      description: When it was issued.
      type: int
    expires:
      description: When it expires.
      type: int
    pointer_age:
      description: The seconds since it was issued.
      type: int
    channel:
      description: The channel that the host follows.
      type: str
    host:
      description: The name of the host in pointers.
      type: str
    wanted:
      description: The store path that the last accepted pointer names.
      type: str
    current:
      description: The store path of the profile.
      type: str
    activation:
      description: The activation of the last run, if there was one.
      type: str
    needs_reboot:
      description: Whether only a reboot activates all of the system.
      type: bool
    held:
      description: Why nothing is activated; empty without a hold.
      type: str
    quarantined:
      description:
        - The store paths that were rolled back and are not activated again until they are cleared. Likewise commits.
      type: list
      elements: str
    commit:
      description: Of a host that builds from git, the commit that it has chosen.
      type: str
    branch:
      description: The branch of that commit, V(main) for the one that the host follows, or V(testing).
      type: str
    accepted_commit:
      description: The last commit of the followed branch that was right. The branch may not go back behind it.
      type: str
    version:
      description: The version of the agent's text.
      type: str
where:
  description: The machine where the failure occurred, V(controller) or the name of a host.
  returned: failure
  type: str
step:
  description: The step that failed.
  returned: failure
  type: str
  sample: read the status of the pull agent
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
