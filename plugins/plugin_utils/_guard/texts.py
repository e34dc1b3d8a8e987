# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Remedies for the user: for each reason of a roll back, and for each error of a refused request.

Those for a roll back may contain ``{journal}``, the command that shows the journal of that time, ``{units}``, its
options for the failed units, and ``{log_path}``.
"""

from __future__ import annotations

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import Step

# The remedy for each reason for a roll back.
REASONS = {
    "activation_failed": "See at the end of `log` what failed, correct it in the configuration, and deploy again. The "
    "whole log is on the host: {log_path}.",
    "activation_timeout": "See at the end of `log` what it waited for. If it only needs longer, raise "
    "timeout_activation.",
    "failed_units": "`{journal}{units}` on the host says why. Correct the units and deploy again; name those that do "
    "not matter to this deploy in ignored_units.",
    "reboot_required": "Deploy with reboot: if-required, which boots the new system once and confirms it then; or with "
    "the action boot, and reboot the host yourself.",
    "boot_not_prepared": "See in `log` what the boot loader said. Nothing was activated, and the old system boots.",
    "reboot_failed": "Find out what keeps the host from going down, or raise timeout_reboot.",
    "boot_failed": "Look at the console and at the journal of that boot: `journalctl --boot -1` on the host.",
    "secrets": "See in `log` which secret it was, and compare it with what nix_secrets declares; the old secrets are "
    "in their places.",
    "locked": "Wait for the other activation to end, then run it again.",
    "other_system": "Find out who has switched the host or its profile meanwhile (another administrator, an automatic "
    "upgrade), then deploy again.",
    "not_confirmed": "The new system did not let a fresh login in: compare its network, firewall, sshd, users and sudo "
    "rules with the old ones. `{journal}` on the host shows what it said. If it is only slow, raise timeout_confirm.",
    "aborted": "`{journal}` on the host shows what the new system said while it ran.",
    "commit_failed": "The boot loader could not be installed: look for a full or unmounted /boot in `log`.",
    "commit_timeout": "Find out what hangs when the boot loader is installed, or raise timeout_activation.",
    "state_unwritable": "Make room on the file system of the guard's state directory on the host, or replace the disk "
    "if it answers with I/O errors (`dmesg`), then deploy again.",
    "guard_killed": "Something killed the guard on the host; `{journal}` there says whether memory ran out. Then "
    "deploy again.",
    "interrupted": "The host went down before the deploy was confirmed; the old system is running. Deploy again.",
}

# Those of kinds of systems without units, about which the journal of the host has nothing to say.
REASONS_WITHOUT_UNITS = {
    **REASONS,
    "not_confirmed": "A fresh login failed: look at its network and its sshd. If it is only slow, raise "
    "timeout_confirm.",
    "aborted": "See in `log` what the new system said while it ran. The whole log is on the host: {log_path}.",
    "guard_killed": "Something killed the guard on the host; see whether memory ran out there. Then deploy again.",
}

ERRORS = {
    "bad_request": (Step.GUARD, "This is a bug in nixferry.deploy: please report it."),
    "state_unwritable": (
        Step.START,
        "Make room on, or mount, the file system of the guard's state directory. Nothing was changed.",
    ),
    "unsafe_state": (
        Step.GUARD,
        "Give that directory to root alone, or to the user whose home it is (chmod go-w, chown), and check "
        "its contents. Nothing was changed.",
    ),
    "invalid_toplevel": (Step.START, "Copy the closure to the host first (nixferry.deploy.nix_copy)."),
    "missing_files": (Step.START, "Check that kind fits what was built. Nothing was changed."),
    "wrong_system": (Step.START, "Build for the platform of the host. Nothing was changed."),
    "no_specialisation": (
        Step.START,
        "Choose one of the specialisations of the new system. Nothing was changed.",
    ),
    "no_reboot": (
        Step.START,
        "Deploy with reboot: never, or with the action boot and reboot the host yourself. Nothing was changed.",
    ),
    "no_boot_default": (
        Step.START,
        "Let the host boot what is installed, or deploy with the action test, which leaves the boot default alone. "
        "Nothing was changed.",
    ),
    "not_as_planned": (
        Step.START,
        "Find out who has deployed meanwhile, then make a new plan; or deploy anyway with force (role nixos: "
        "nixos_force). Nothing was changed.",
    ),
    "units_unknown": (
        Step.START,
        "Run `systemctl list-units --state=failed` on the host: a service manager that does not answer cannot tell "
        "whether a deploy is healthy. Nothing was changed.",
    ),
    "no_nix": (
        Step.START,
        "Install Nix on the host, or name the directory of its programs there in the host's variable "
        "`nixferry_nix_directory`.",
    ),
    "gc_root_failed": (
        Step.START,
        "The closure could not be protected from garbage collection. Nothing was changed.",
    ),
    "pulled": (
        Step.START,
        "Publish it (playbook nixferry.deploy.deploy_or_publish). To push anyway, hold the agent first "
        "(nixferry.deploy.nix_pull_agent with state: held), or set `despite_pull`. Nothing was changed.",
    ),
    "lock_held": (Step.START, "Wait until the other deploy has ended, then run this one again."),
    "other_revision": (
        Step.START,
        "Deploy from a revision that contains what is deployed, or use force. Nothing was changed.",
    ),
    "no_secrets": (
        Step.START,
        "Run the deploy again, from the task that stages them. Nothing was changed.",
    ),
    "profile_unwritable": (
        Step.START,
        "Use `become: true`: only root switches a system. `become_user` may name another user for the copy alone. "
        "Nothing was changed.",
    ),
    "id_used": (Step.START, "This is a bug in nixferry.deploy: please report it."),
    "runner_not_started": (
        Step.START,
        "Look at the service manager's journal on the host. Nothing was changed.",
    ),
    "recovery_failed": (
        Step.START,
        "An interrupted activation could not be finished or undone: look at its log on the host.",
    ),
    "no_activation": (
        Step.STATUS,
        "The guard on the host does not know this activation; was its state removed?",
    ),
    "not_awaiting": (
        Step.CONFIRM,
        "The guard was not waiting for a confirmation (any more): look at its status.",
    ),
    "too_late": (Step.ABORT, "The commit had begun: deploy the old toplevel to go back."),
    "refused": (
        Step.GUARD,
        "The guard that is installed on the host allows only what it was installed for. Nothing was changed.",
    ),
    "not_signed": (
        Step.START,
        "Sign what you build with the deploy key (`sign_key` of nix_build, or nix_sign) before it is copied. Unsigned "
        "paths that are on the host already can be removed with nix-collect-garbage, and are then copied again. "
        "Nothing was changed.",
    ),
    "other_version": (
        Step.GUARD,
        "As a user who may become root, install the guard again (nixferry.deploy.nix_guard with the version of the "
        "collection that you use). Nothing was changed.",
    ),
}
