# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The steps of an installation, each as one task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.run import copy_to_host
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._host.connection import RemoteShell
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.progress import Progress
from ansible_collections.nixferry.deploy.plugins.plugin_utils._secrets.contents import read_contents

from .anywhere import Kexec, start_installer
from .boot import Expected, confirm_system, wait_for_system
from .files import PlacedFiles, declared_files, host_keys, place_files
from .hardware import keep_report, read_report
from .judge import check_machine, steps_left
from .known_hosts import KnownHost, host_names, known_hosts_file
from .look import INSTALLED, LINUX, MANAGED, Look, devices_in, identity, recorded_script
from .options import CHECK, DISKS, HARDWARE, KEXEC, REBOOT, SYSTEM, InstallOptions
from .programs import format_disks, install_system, leave_installer
from .secrets import place_secrets_below
from .session import Session

AUTO = "auto"
NO_FILE = "none"


class Installation(Session):
    """The steps for one machine."""

    def run(self) -> dict[str, Any]:
        """Run the step of the task, and return the task's result. Raises ``NixferryError``."""
        steps = {
            CHECK: self.check,
            HARDWARE: self.hardware,
            KEXEC: self.kexec,
            DISKS: self.disks,
            SYSTEM: self.system,
            REBOOT: self.reboot,
        }
        return {"failed": False, **steps[self.options.given["step"]]()}

    def check(self) -> dict[str, Any]:
        """Look whether the machine can be installed, and what is left to do."""
        options = self.options
        with self.found() as seen:
            # Before the build, what an earlier run has begun is taken for the same.
            script = options.script or recorded_script(seen)
            left = steps_left(seen, formatted=identity(script, options.disks), toplevel=options.toplevel)
            check_machine(seen, options.needs)
            if DISKS in left:
                known = bool(options.script and devices_in(options.script)) or bool(seen.script_disk)
                self.chosen(seen, script=script, known=known)
        result: dict[str, Any] = {
            "changed": False,
            "state": seen.state,
            "steps": left,
            "disks": [disk.facts() for disk in seen.disks],
            "machine": {
                "name": seen.name,
                "system": seen.system,
                "memory_mib": seen.memory_mib,
                "efi": seen.efi,
                "secure_boot": seen.secure_boot,
            },
        }
        if options.check_mode:
            result["changed"] = bool(left)
        if options.diff_mode and left:
            result["diff"] = {"prepared": self._forecast(seen, left)}
        return result

    def _forecast(self, seen: Look, left: list[str]) -> str:
        by_id = {name: disk for disk in seen.disks for name in disk.ids}
        lines = []
        if KEXEC in left:
            lines.append(f"- the running system, {seen.name}")
        if DISKS in left:
            lines += [f"- {by_id[name].text}" for name in self.options.disks if name in by_id]
        if SYSTEM in left:
            lines.append(f"+ {self.options.toplevel or 'the system, which is not built yet'}")
        if REBOOT in left:
            lines.append("+ reboot")
        return "".join(f"{line}\n" for line in lines)

    def hardware(self) -> dict[str, Any]:
        """Bring a report of the hardware to the controller."""
        options = self.options
        with self.found():
            text = read_report(self.shell, options.given["hardware"])
        file = options.given["hardware_file"]
        if not file:
            return {"changed": False, "hardware": text}
        report = keep_report(text, Path(options.directory, file), dry_run=options.check_mode)
        result: dict[str, Any] = {"changed": report.changed}
        if options.diff_mode and report.changed:
            result["diff"] = {
                "before_header": str(file),
                "after_header": str(file),
                "before": report.before,
                "after": report.text,
            }
        return result

    def kexec(self) -> dict[str, Any]:
        """Start the installer in the memory of a machine that runs another Linux."""
        options = self.options
        deadline = time.monotonic() + options.given["timeout_kexec"]
        with self.found() as seen:
            if seen.state != LINUX:
                return {"changed": False}
            check_machine(seen, options.needs)
            known = bool(devices_in(options.script))
            self.chosen(seen, script=options.script, known=known)
            if options.check_mode:
                return {"changed": True}
            kexec = Kexec(
                options.given["nixos_anywhere"],
                str(Path(options.directory, options.given["kexec"])),
                options.script,
                options.toplevel,
                options.given["kexec_port"],
            )
            start_installer(self.shell, kexec, seconds=options.given["timeout_kexec"], progress=self.progress)
            if self.shell.is_ssh:
                # It leads to the system that has gone.
                self.shell.connection.reset()
        self.wait_for_installer(deadline)
        return {"changed": True}

    def disks(self) -> dict[str, Any]:
        """Run the disko script."""
        options = self.options
        with self.found() as seen:
            if seen.state in (INSTALLED, MANAGED):
                return {"changed": False}
            if options.check_mode:
                return {"changed": DISKS in steps_left(seen, formatted=self.formatted, toplevel="")}
            self.check_installer(seen)
            if seen.disks_done == self.formatted and seen.mounted:
                return {"changed": False}
            # Refuse before anything is copied, and again when the script is there.
            known = bool(devices_in(options.script))
            self.chosen(seen, script=options.script, known=known)
            self.progress.phase("copying the disko script")
            copy_to_host(
                self.shell,
                {**options.transfer, "to_root": None},
                [options.script],
                self.progress,
                check_mode=False,
                diff_mode=False,
            )
            seen = self.look()
            chosen = self.chosen(seen, script=options.script, known=True)
            keys = declared_files(options.given["disk_keys"] or {})
            if keys:
                contents = read_contents(keys, options.read_file, directory=options.directory)
                place_files(self.shell, keys, contents, mount_point="")
            self.progress.phase("formatting the disks")
            changed = format_disks(
                self.shell,
                options.script,
                chosen,
                options.disks,
                mount_point=options.mount_point,
                seconds=options.given["timeout_disks"],
                progress=self.progress,
            )
        return {"changed": changed}

    def system(self) -> dict[str, Any]:
        """Copy the system, place host keys, files and secrets, and run nixos-install."""
        options = self.options
        with self.found() as seen:
            if seen.state in (INSTALLED, MANAGED):
                return {"changed": False, "host_keys": [], "placed": []}
            if options.check_mode:
                return {"changed": True, "host_keys": [], "placed": []}
            self.check_installer(seen)
            if not seen.mounted or not seen.disks_done:
                raise NixferryError(
                    f"the disks are not formatted, or nothing is mounted on {options.mount_point}",
                    step=Step.INSTALL_SYSTEM,
                    remedy="Run the step `disks` before. Nothing was changed.",
                )
            if options.script and seen.disks_done != self.formatted:
                raise NixferryError(
                    f"the disks are formatted for another installation: {seen.disks_done}",
                    step=Step.INSTALL_SYSTEM,
                    remedy="Agree with the other administrator, and run the installation again from its first step.",
                )
            self.progress.phase("copying the system")
            copied = copy_to_host(
                self.shell,
                {**options.transfer, "to_root": options.mount_point},
                [options.toplevel],
                self.progress,
                check_mode=False,
                diff_mode=False,
            )
            placed = self._place()
            self.progress.phase("installing the system")
            changed = install_system(
                self.shell,
                options.toplevel,
                formatted=self.formatted if options.script else seen.disks_done,
                mount_point=options.mount_point,
                seconds=options.given["timeout_install"],
                progress=self.progress,
            )
            secrets = place_secrets_below(self.shell, options, self.progress)
        return {
            "changed": changed or copied["changed"] or bool(placed.placed) or bool(secrets),
            "host_keys": list(placed.host_keys),
            "placed": list(placed.placed),
            "secrets": secrets,
        }

    def _place(self) -> PlacedFiles:
        options = self.options
        keys, given_keys = host_keys(options.given)
        files = declared_files({**given_keys, **(options.given["files"] or {})})
        contents = read_contents(files, options.read_file, directory=options.directory)
        self.progress.phase("placing host keys and files")
        return place_files(self.shell, files, contents, mount_point=options.mount_point, keys=keys)

    def reboot(self) -> dict[str, Any]:
        """Reboot into the new system, and wait until it is there."""
        options = self.options
        notes: tuple[str, ...] = ()
        known = self._known()
        with self.found() as seen:
            if seen.state == MANAGED:
                return {"changed": False, "rebooted": False, "host_keys": []}
            if options.check_mode:
                return {"changed": True, "rebooted": seen.state != INSTALLED, "host_keys": []}
            if seen.state == INSTALLED:
                # The controller went away while it waited.
                expected = Expected(options.toplevel, seen.recorded("boot"), ())
            else:
                self.check_installer(seen)
                expected, notes = self._leave(known)
        state = wait_for_system(
            self.shell, expected, seconds=options.given["timeout_reboot"], progress=self.progress
        )
        confirm_system(self.shell, expected)
        known.keep(expected.host_keys, replace=True)
        result = {
            "changed": True,
            "rebooted": seen.state != INSTALLED,
            "host_keys": list(expected.host_keys),
            "state": state,
        }
        if notes:
            result["warnings"] = list(notes)
        return result

    def _leave(self, known: KnownHost) -> tuple[Expected, tuple[str, ...]]:
        toplevel, mount_point = self.options.toplevel, self.options.mount_point
        asked = leave_installer(self.shell, toplevel, mount_point=mount_point, ask_only=True)
        # Before the reboot: if the controller goes away now, the new system's key is known all the same.
        known.keep(asked.host_keys, replace=False)
        self.progress.phase("rebooting")
        left = leave_installer(self.shell, toplevel, mount_point=mount_point)
        return Expected(toplevel, left.boot, asked.host_keys), left.notes

    def _known(self) -> KnownHost:
        """Return where the new system's keys go, by the present login, which must be the inventory's own."""
        wanted = str(self.options.given["known_hosts"])
        if not self.shell.is_ssh or wanted == NO_FILE:
            return KnownHost(None, ())
        file = (
            known_hosts_file(self.shell)
            if wanted == AUTO
            else Path(self.options.directory, wanted).expanduser()
        )
        return KnownHost(file, tuple(host_names(self.shell)))


def perform_step(shell: RemoteShell, options: InstallOptions, progress: Progress) -> Mapping[str, Any]:
    """Run one step of an installation. Raises ``NixferryError``."""
    return Installation(shell, options, progress).run()
