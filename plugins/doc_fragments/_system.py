# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Documentation of the options that say which system to activate, and how."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the actions that activate a system which was built before."""

    DOCUMENTATION = r"""
options:
  toplevel:
    description:
      - The store path of the system, C(config.system.build.toplevel) for NixOS, or of any other closure that O(kind)
        activates.
      - Either this or O(build) is required to activate something.
    type: str
  build:
    description:
      - The result of M(nixferry.deploy.nix_build), for this host or for many. The task uses its toplevel for this host.
        If the build failed for this host, the task fails with the build's own message.
    type: dict
  action:
    description:
      - V(switch) activates now and, once confirmed, makes the system the boot default.
      - V(boot) makes it the boot default without activating it.
      - V(test) activates it, waits for the confirmation, and leaves the boot default alone.
      - V(dry-activate) only shows what an activation would do.
    type: str
    choices: [switch, boot, test, dry-activate]
    default: switch
  specialisation:
    description:
      - The specialisation of O(toplevel) to run. The profile still points at O(toplevel).
    type: str
    default: ""
  expected:
    description:
      - What the host must run and boot now, as a plan records it (P(nixferry.deploy.plan#lookup)). Otherwise the
        guard refuses the deploy, unless O(force) is set. A host that already runs and boots the new system is left
        alone.
    type: dict
    suboptions:
      current:
        description: The store path of the system that must run; empty if none may.
        type: str
        default: ""
      boot_default:
        description: The store path that the profile must point to; empty if there may be no profile.
        type: str
        default: ""
  rollback:
    description:
      - Whether to restore the old system when the new one fails or is not confirmed.
      - With V(false) a failed system keeps running until the next deploy or reboot, and the outcome is V(failed). The
        boot default is still the old system, also after a O(reboot). Kinds without a boot default, such as V(profile),
        keep the profile that their activation has set.
      - A failed commit is always undone in the profile and the boot loader, and so is an activation that a power cut
        interrupts.
    type: bool
    default: true
  secrets:
    description:
      - The RV(nixferry.deploy.nix_secrets#module:set) that M(nixferry.deploy.nix_secrets) returned with
        O(nixferry.deploy.nix_secrets#module:stage). The guard puts these secrets into place just before the activation.
        On a rollback it restores the previous secrets before the old system.
      - A later M(nixferry.deploy.nix_rollback) to this generation puts the same secrets into place again, except those
        in main memory if the host was rebooted.
    type: str
    default: ""
  revision:
    description:
      - The deployed revision, such as a commit hash. The host records it with the generation, together with the time,
        the deployer and the controller.
      - With O(build) it is the revision that M(nixferry.deploy.nix_build) determined. Without a revision nothing is
        compared.
    type: str
    default: ""
  repository:
    description:
      - The git checkout on the controller that is asked whether O(revision) contains the host's current revision.
      - With O(build) it is the checkout that was built from, otherwise the one around the playbook. Without a checkout
        nothing is compared.
    type: path
  force:
    description:
      - Whether to replace a generation whose revision is not an ancestor of O(revision), or is unknown to
        O(repository). That undoes another deploy, and is refused otherwise.
      - A host that already runs and boots the system is left alone nevertheless.
    type: bool
    default: false
"""
