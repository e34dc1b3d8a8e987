#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep settings of Nix."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_conf
short_description: Manage settings of a host's Nix
description:
  - Keeps settings in a file of its own, C(/etc/nix/nixferry.conf), and one line at the end of C(nix.conf) that includes
    it. The rest of C(nix.conf) stays. If C(nix.conf) includes C(nix.custom.conf), as with Determinate Nix and its
    installer, the line goes there, since other programs rewrite C(nix.conf).
  - Asks Nix before and after. Settings that Nix refuses are not written. If another line overrides a setting, the task
    fails and restores the files.
  - On NixOS and nix-darwin the system's configuration makes C(nix.conf). There nothing is changed, and a module for
    that configuration is returned.
  - Reports whether a running daemon must be restarted, which M(nixferry.deploy.nix_daemon) does.
extends_documentation_fragment:
  - nixferry.deploy._attributes.module
  - nixferry.deploy._attributes.actiongroup_nixferry
  - nixferry.deploy._nix_files.config_dir
options:
  settings:
    description:
      - Settings by name, such as V(max-jobs) or V(extra-trusted-users). A list becomes words, V(null) removes a setting
        from the file.
      - Prefer the C(extra-) form of lists. It adds to the values of other files.
      - Settings in the file that are not named here stay, unless O(purge=true).
      - C(access-tokens) is refused, since every user may read the file.
    type: dict
    default: {}
  state:
    description:
      - With V(absent) the file and the line that includes it are removed, and O(settings) must be empty.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: Whether to remove settings from the file that O(settings) does not name.
    type: bool
    default: false
  name:
    description:
      - The name of the file, without C(.conf). Each of several roles can keep its settings in a file of its own.
    type: str
    default: nixferry
attributes:
  platform:
    platforms: Linux, macOS
seealso:
  - module: nixferry.deploy.nix_daemon
  - module: nixferry.deploy.nix_info
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Settings of a build server
  nixferry.deploy.nix_conf:
    settings:
      extra-experimental-features: [nix-command, flakes]
      extra-trusted-users: ["@wheel"]
      max-jobs: 8
      builders-use-substitutes: true
  become: true
  register: conf

- name: Restart the daemon where that is needed
  nixferry.deploy.nix_daemon:
    state: restarted
  become: true
  when: conf.daemon_restart_needed
"""

RETURN = r"""
file:
  description: The file with the settings.
  returned: success
  type: str
  sample: /etc/nix/nixferry.conf
included_from:
  description: The file that includes it.
  returned: success
  type: str
  sample: /etc/nix/nix.conf
managed_by:
  description: The origin of nix.conf, V(files) for an ordinary file.
  returned: success
  type: str
  sample: files
settings:
  description: The settings of the file, as text.
  returned: success
  type: dict
effective:
  description: The effective values of these settings according to Nix, including those from other files.
  returned: success
  type: dict
in_effect:
  description: Whether all settings are in effect. V(false) on NixOS and nix-darwin until the module is imported.
  returned: success
  type: bool
unknown_settings:
  description: Settings that this Nix does not know, or whose experimental feature is not switched on.
  returned: success
  type: list
  elements: str
snippet:
  description: The settings as a module for the configuration of NixOS or nix-darwin, empty elsewhere.
  returned: success
  type: str
daemon_restart_needed:
  description: Whether a running daemon has read other settings.
  returned: success
  type: bool
remedy:
  description: How to fix a failure.
  returned: failure
  type: str
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.builder import (
    BuilderError,
    checked_name,
    nix_value,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.conf import (
    ConfError,
    assigned,
    has_settings,
    includes,
    ineffective,
    rendered,
    snippet,
    unknown,
    with_include,
    with_settings,
    without_include,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.daemon import (
    DaemonError,
    older_than,
    service,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.edit import (
    Change,
    EditError,
    locked,
    make_directory,
    read_text,
    unchangeable,
    write,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import find, manager, settings

# Ignore the settings of the user who runs this, and those of its environment.
NEUTRAL = {"NIX_CONFIG": None, "NIX_USER_CONF_FILES": os.devnull}


class Settings:
    """One run of the module."""

    def __init__(self, module):
        self.module = module
        options = module.params
        self.directory = options["config_dir"]
        self.own = checked_name(options["name"]) + ".conf"
        if self.own in ("nix.conf", "nix.custom.conf"):
            raise ConfError(f"{self.own} belongs to others")
        self.file = f"{self.directory}/{self.own}"
        self.given = options["settings"] or {}
        self.present = options["state"] == "present"
        self.purge = options["purge"]
        self.wanted = {
            name: None if value is None else rendered(name, value) for name, value in self.given.items()
        }
        if not self.present and self.given:
            raise ConfError("state=absent removes all settings of the file, and takes none")
        self.managed_by = manager(self.directory)
        self.nix = find(module)
        if not self.nix:
            raise EditError("this host has no Nix", "Install it, such as with the role nixferry.deploy.nix.")
        custom = includes(read_text(f"{self.directory}/nix.conf") or "", "nix.custom.conf")
        self.main = f"{self.directory}/{'nix.custom.conf' if custom else 'nix.conf'}"

    def changes(self):
        """Return the changes of our own file and of the one that includes it; the included one comes first and goes
        last."""
        if self.managed_by != "files":
            return []
        own, main = read_text(self.file), read_text(self.main)
        wanted = dict(self.wanted)
        if self.purge:
            wanted = {**{name: None for name in assigned(own or "") if name not in wanted}, **wanted}
        text = with_settings(own or "", wanted) if self.present else ""
        # Comments alone are not worth a file.
        needed = has_settings(text)
        if needed:
            return [
                Change(self.file, own, text),
                Change(self.main, main, with_include(main or "", self.own)),
            ]
        # We made a file that has only our line.
        less = without_include(main, self.own) or None if includes(main or "", self.own) else main
        return [Change(self.main, main, less), Change(self.file, own, None)]

    def effective(self):
        return settings(self.nix, {**NEUTRAL, "NIX_CONF_DIR": self.directory})[0]

    def expected(self, wanted, features):
        """Return the effective values of these settings alone, with experimental features unchanged, and Nix's
        warnings."""
        with tempfile.TemporaryDirectory(prefix="nixferry-") as directory:
            lines = f"extra-experimental-features = {features}\n" + "".join(
                f"{name} = {value}\n" for name, value in wanted.items()
            )
            Path(f"{directory}/nix.conf").write_text(lines, encoding="utf-8")
            return settings(self.nix, {**NEUTRAL, "NIX_CONF_DIR": directory})

    def perform(self):
        stated = {name: value for name, value in self.wanted.items() if value is not None}
        before = self.asked("Nix cannot read its settings")
        try:
            expected, warnings = self.expected(stated, before.get("experimental-features", ""))
        except ValueError as error:
            raise ConfError(f"Nix refuses them: {error}") from error
        not_known = unknown(warnings) + [
            name for name in stated if name not in expected and name.replace("extra-", "", 1) not in expected
        ]
        changes = self.changes()
        if any(change.changed for change in changes) and not self.module.check_mode:
            make_directory(Path(self.directory))
            with locked(self.directory):
                changes = self.changes()
                self.apply(changes, stated, expected)
        after = self.asked("Nix cannot read its settings any more")
        return self.result(changes, stated, expected, list(dict.fromkeys(not_known)), before, after)

    def asked(self, message):
        try:
            return self.effective()
        except ValueError as error:
            raise EditError(f"{message}: {error}", f"Correct {self.directory}/nix.conf by hand.") from error

    def overridden(self, stated, expected, effective):
        texts = [
            read_text(f"{self.directory}/{name}") or "" for name in ("nix.conf", "nix.custom.conf", self.own)
        ]
        added_to = {
            name[len("extra-") :] for text in texts for name in assigned(text) if name.startswith("extra-")
        }
        return ineffective(stated, expected, effective, added_to)

    def apply(self, changes, stated, expected):
        """Make the changes. If Nix rejects them, restore the files."""
        done = []
        try:
            for change in changes:
                if change.changed:
                    write(self.module, change)
                    done.append(change)
            overridden = self.overridden(stated, expected, self.asked("Nix cannot read the new settings"))
            if overridden:
                raise EditError(
                    f"{', '.join(overridden)} would not take effect: a later line of {self.directory}/nix.conf, or "
                    "a file that it includes, says otherwise",
                    "Remove that line. The files are as they were.",
                )
        except EditError:
            for change in reversed(done):
                write(self.module, change.reversed())
            raise

    def result(self, changes, stated, expected, not_known, before, after):
        changed = [change for change in changes if change.changed]
        names = {name for wanted in self.wanted for name in (wanted, wanted.replace("extra-", "", 1))}
        text = next((change.after for change in changes if change.path == self.file), None)
        predicted = bool(changed) and self.module.check_mode
        missing = [] if predicted else self.overridden(stated, expected, after)
        generated = self.managed_by != "files"
        if not_known:
            self.module.warn(
                f"{self.nix.version_text} does not know {', '.join(not_known)}, or an experimental feature that "
                "is off keeps it from them."
            )
        if generated and missing:
            self.module.warn(
                f"The configuration of this system makes nix.conf, so nothing was changed. Not in effect: "
                f"{', '.join(missing)}. Import the module that is returned as `snippet`."
            )
        try:
            found = service(self.module)
        except DaemonError as error:
            # A later run sees that the daemon is older than the file.
            self.module.fail_json(
                msg=f"The settings are in {self.file}. Whether the daemon has to be restarted is unknown: {error}.",
                remedy="Run `systemctl status nix-daemon` on the host, and then this task again.",
                changed=bool(changed),
            )
        # An interrupted run that did not restart the daemon leaves nothing to change.
        stale = not generated and found.running and (before != after or older_than(self.file))
        result = {
            "changed": bool(changed),
            "file": self.file,
            "included_from": self.main,
            "managed_by": self.managed_by,
            "settings": assigned(text or ""),
            "effective": {name: after[name] for name in sorted(names) if name in after},
            "in_effect": not missing and not predicted,
            "unknown_settings": not_known,
            "snippet": snippet({n: v for n, v in self.given.items() if v is not None}, nix_value)
            if generated
            else "",
            "daemon_restart_needed": stale or (predicted and found.running),
        }
        if self.module._diff:
            result["diff"] = [self.diff(change) for change in changed]
        return result

    def diff(self, change):
        """Show only our line of the file that others write: the rest may contain tokens."""
        if change.path == self.file:
            return change.diff()
        line = f"!include {self.own}\n"
        had, has = (includes(text or "", self.own) for text in (change.before, change.after))
        return Change(change.path, line if had else "", line if has else "").diff()


def main():
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge": {"type": "bool", "default": False},
            "name": {"type": "str", "default": "nixferry"},
            "config_dir": {"type": "path", "default": "/etc/nix"},
        },
        supports_check_mode=True,
    )
    try:
        result = Settings(module).perform()
    except (ConfError, BuilderError) as error:
        module.fail_json(msg=f"Settings of Nix: {error}.", remedy="Correct them. Nothing was changed.")
    except EditError as error:
        module.fail_json(msg=f"Settings of Nix: {error}.", remedy=error.remedy)
    except OSError as error:
        failure = unchangeable(str(error.filename), error)
        module.fail_json(msg=f"Settings of Nix: {failure}.", remedy=failure.remedy)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
