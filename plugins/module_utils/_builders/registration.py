# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""Register a remote builder: change its files, or write a module for the system's configuration instead."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.nixferry.deploy.plugins.module_utils._nix.edit import (
    Change,
    EditError,
    generated,
    locked,
    make_directory,
    read_text,
    write,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import find, manager, run, settings

from .builder import (
    Builder,
    BuilderError,
    builder_of,
    checked_name,
    checked_path,
    overridden_ssh,
)
from .machines import (
    Machine,
    MachinesError,
    entries,
    hazards,
    host_of,
    integers_only,
    parse,
    with_entry,
)

# ssh includes this directory by default; the effect of a file elsewhere cannot be queried.
SYSTEM_SSH_CONFIG = "/etc/ssh/ssh_config.d"


class Registration:
    """One run of the module ``nix_builder``, an ``AnsibleModule`` with its options.

    Raises ``BuilderError``, ``MachinesError``, ``EditError`` or ``OSError``, also in the constructor.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.options: dict[str, Any] = module.params
        self.name = checked_name(self.options["name"])
        self.builder = builder_of(self.options) if self.options["state"] == "present" else None
        self.machines_file = checked_path(self.options["machines_file"], "machines_file")
        self.ssh_config_file = f"{self.options['ssh_config_dir']}/100-{self.name}.conf"
        directory = str(Path(self.machines_file).parent)
        self.known_hosts_file = f"{directory}/{self.name}_known_hosts"
        self.managed_by = self.find_manager(directory)
        self.nix = find(module)

    def find_manager(self, directory: str) -> str:
        found = manager(directory)
        if self.options["manage"] == "files":
            for path in (self.machines_file, self.ssh_config_file):
                if generated(path):
                    raise EditError(
                        f"{path} is made by the configuration of this system",
                        "Use `manage: auto` and import the module that this returns.",
                    )
            return "files"
        if found == "files" and (self.options["manage"] == "snippet" or generated(self.machines_file)):
            return "nix-darwin" if os.uname().sysname == "Darwin" else "nixos"
        return found

    def changes(self) -> list[Change]:
        """Return the changes in order: the entry of a builder is added last and removed first."""
        if self.managed_by != "files":
            path = self.options["snippet_file"]
            before = read_text(path) if path else None
            # Do not write the module again once it is imported, wherever its file is now.
            wanted = path and not (before is None and self.in_effect())
            return [Change(path, before, self.snippet() or None)] if wanted else []
        before = read_text(self.machines_file)
        line = self.builder.line() if self.builder else ""
        after = with_entry(before or "", self.name, line)
        # An empty file means the same as a missing one.
        machines = Change(self.machines_file, before, (after or None) if before != "" or line else "")
        texts: dict[str, str | None] = {self.ssh_config_file: None, self.known_hosts_file: None}
        if self.builder:
            texts[self.ssh_config_file] = self.builder.ssh_config(self.known_hosts_file)
            texts[self.known_hosts_file] = self.builder.known_hosts()
        others = [Change(path, read_text(path), text) for path, text in texts.items()]
        return [*others, machines] if self.builder else [machines, *others]

    def snippet(self) -> str:
        return self.builder.snippet(self.managed_by) if self.builder and self.managed_by != "files" else ""

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all changes, or none of them."""
        done: list[Change] = []
        try:
            for change in changes:
                if change.path == self.machines_file and self.builder:
                    self.check_ssh(self.builder)
                if change.changed:
                    write(self.module, change)
                    done.append(change)
                    if change.path == self.options["snippet_file"] and change.before is None:
                        self.give_to_owner_of_directory(change.path)
        except EditError:
            for change in reversed(done):
                write(self.module, change.reversed())
            raise

    @staticmethod
    def give_to_owner_of_directory(path: str) -> None:
        """Give the file that root writes to the user whose configuration imports it."""
        owner = Path(path).parent.stat()
        if os.geteuid() == 0 and Path(path).exists():
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def check_ssh(self, builder: Builder) -> None:
        """Ask ssh for its effective settings: otherwise a file that it does not include would go unnoticed."""
        if self.options["ssh_config_dir"] != SYSTEM_SSH_CONFIG:
            return
        wrong, said = self.overridden_ssh(builder)
        if wrong:
            raise EditError(
                f"ssh has other settings for {self.name} than {self.ssh_config_file}: "
                f"{'; '.join(wrong)} {said}".strip(),
                "Make ssh include these files before its other settings: the line "
                f"`Include {SYSTEM_SSH_CONFIG}/*.conf` belongs at the top of /etc/ssh/ssh_config, and root's own "
                "~/.ssh/config must not say otherwise. Nothing was changed.",
            )

    def overridden_ssh(self, builder: Builder) -> tuple[list[str], str]:
        """Return the settings that differ in ssh, and ssh's error output."""
        ssh = self.module.get_bin_path("ssh")
        if not ssh:
            raise EditError("ssh was not found on this host", "Install OpenSSH's client.")
        answer = run([ssh, "-G", self.name])
        wrong = overridden_ssh(builder.ssh_config(self.known_hosts_file), answer.stdout)
        return wrong, answer.stderr.strip()

    def in_effect(self) -> bool:
        """Return True if the configuration of this system has the requested builder."""
        if not self.builder or not self.registered(read_text(self.machines_file) or ""):
            return False
        return self.options["ssh_config_dir"] != SYSTEM_SSH_CONFIG or not self.overridden_ssh(self.builder)[0]

    def check_version(self) -> None:
        """Check values that only some versions of Nix accept."""
        if self.builder and self.nix and integers_only(self.nix.version):
            factor = self.builder.speed_factor
            if factor != int(factor):
                raise BuilderError(
                    f"speed_factor is {factor}, and {self.nix.version_text} accepts whole numbers only"
                )

    def registered(self, text: str) -> bool:
        """Return True if the file has the requested entry, in any order of its items."""
        own = [entry for entry in entries(text) if host_of(entry) == self.name]
        if not self.builder:
            return bool(own)
        try:
            return any(
                comparable(parse(entry.text)) == comparable(parse(self.builder.line())) for entry in own
            )
        except MachinesError:
            return False

    def effective(self) -> bool | None:
        """Return True if the setting ``builders`` names the file; None without a Nix that can be asked."""
        if not self.nix:
            return None
        try:
            value = settings(self.nix)[0].get("builders", "")
        except ValueError as error:
            self.module.warn(f"Nix cannot read its settings: {error}")
            return None
        return f"@{self.machines_file}" in value.replace(";", " ").split()

    def warn(self, text: str, effective: bool | None) -> None:
        for hazard in hazards(text, self.nix.version if self.nix else None, bool(self.nix and self.nix.lix)):
            self.module.warn(f"{self.machines_file}, {hazard}")
        if self.managed_by != "files":
            if self.registered(text) != bool(self.builder):
                self.module.warn(
                    "The configuration of this system makes {}. Nothing was registered or removed: {} the module "
                    "returned as `snippet`, and switch to the new system.".format(
                        self.machines_file, "import" if self.builder else "remove"
                    )
                )
        elif self.builder and effective is False:
            self.module.warn(
                f"Nix does not read {self.machines_file}: `builders` in nix.conf has another value. With nix-darwin "
                "set `nix.distributedBuilds = true`, otherwise remove the line."
            )

    def perform(self) -> dict[str, Any]:
        self.check_version()
        changes = self.changes()
        if any(change.changed for change in changes) and not self.module.check_mode:
            directory = str(Path(changes[-1 if self.builder else 0].path).parent)
            make_directory(Path(directory))
            with locked(directory):
                # Read again: the files may have changed during the wait for the lock.
                changes = self.changes()
                self.apply(changes)
        text = next((change.after for change in changes if change.path == self.machines_file), None)
        if self.managed_by != "files":
            text = read_text(self.machines_file)
        effective = self.effective()
        self.warn(text or "", effective)
        changed = [change for change in changes if change.changed]
        result: dict[str, Any] = {
            "changed": bool(changed),
            "changed_files": [change.path for change in changed],
            "managed_by": self.managed_by,
            "machines_file": self.machines_file,
            "ssh_config_file": self.ssh_config_file,
            "known_hosts_file": self.known_hosts_file,
            "snippet": self.snippet(),
            "snippet_file": changes[0].path if self.snippet() and changes else "",
            "registered": self.registered(text or ""),
            "effective": effective,
            "daemon_restart_needed": False,
        }
        if self.module._diff:
            result["diff"] = [change.diff() for change in changed]
        if self.builder:
            result["uri"] = self.builder.uri
            result["line"] = self.builder.line()
        return result


def comparable(machine: Machine) -> tuple[object, ...]:
    """Return a builder without the order of its systems and features."""
    unordered = (machine.systems, machine.supported_features, machine.mandatory_features)
    rest = machine._replace(systems=(), supported_features=(), mandatory_features=(), host_key="")
    return (rest, machine.host_key.split()[:2], *map(frozenset, unordered))
