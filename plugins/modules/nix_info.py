#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which Nix a host has and what it has been told."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_info
short_description: Report a host's Nix installation and its configuration
description:
  - Distinguishes Nix, Lix and Determinate Nix. Reports how Nix was installed, whether a daemon runs and answers,
    whether it trusts the user, for which systems it builds, and which builders are registered.
  - Changes nothing. A host without Nix is not an error.
extends_documentation_fragment:
  - nixferry.deploy._attributes.module
  - nixferry.deploy._attributes.actiongroup_nixferry
  - nixferry.deploy._nix_files.config_dir
  - nixferry.deploy._nix_files.machines_file
attributes:
  diff_mode:
    support: none
  platform:
    platforms: Linux, macOS
options:
  settings:
    description: Names of further settings to return.
    type: list
    elements: str
    default: []
seealso:
  - module: nixferry.deploy.nix_conf
  - module: nixferry.deploy.nix_builder_check
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Look at Nix
  nixferry.deploy.nix_info:
  register: nix

- name: Insist on a Nix that is recent enough
  ansible.builtin.assert:
    that: nix.installed and nix.version is version('2.18', '>=')
"""

RETURN = r"""
installed:
  description: Whether the host has Nix.
  returned: success
  type: bool
flavour:
  description: V(nix), V(lix) or V(determinate), empty without Nix.
  returned: success
  type: str
version:
  description: Its version.
  returned: success
  type: str
  sample: 2.26.3
program:
  description: The program C(nix).
  returned: success
  type: str
  sample: /nix/var/nix/profiles/default/bin/nix
installer:
  description:
    - How it was installed, V(package), V(nix-installer), V(script), V(nixos), V(nix-darwin), or empty if unknown.
  returned: success
  type: str
managed_by:
  description: The origin of C(nix.conf), V(nixos), V(nix-darwin), or V(files) for an ordinary file.
  returned: success
  type: str
store_dir:
  description: The directory of the store.
  returned: success
  type: str
multi_user:
  description: Whether a daemon builds for all users.
  returned: success
  type: bool
daemon:
  description: The daemon's service.
  returned: success
  type: dict
  contains:
    manager:
      description: V(systemd), V(launchd) or empty.
      type: str
    service:
      description: The unit or the label, or empty.
      type: str
    running:
      description: Whether the service runs.
      type: bool
    answers:
      description: Whether a daemon answers, which its socket may start.
      type: bool
trusted:
  description: Whether the daemon trusts the user of this task. V(null) if it does not say so, as before Nix 2.15.
  returned: success
  type: bool
system:
  description: The host's own system.
  returned: success
  type: str
  sample: x86_64-linux
systems:
  description: The systems that it builds for, its own first.
  returned: success
  type: list
  elements: str
sandbox:
  description: The setting C(sandbox).
  returned: success
  type: str
settings:
  description: The settings of interest, and the requested ones.
  returned: success
  type: dict
builders:
  description: The registered builders.
  returned: success
  type: list
  elements: dict
  contains:
    uri:
      description: The address.
      type: str
    name:
      description: The host name in the address.
      type: str
    systems:
      description: The systems that it builds for.
      type: list
      elements: str
    max_jobs:
      description: The number of builds that it gets at once.
      type: int
    supported_features:
      description: The features that it has.
      type: list
      elements: str
builders_effective:
  description: Whether Nix reads the file with the builders.
  returned: success
  type: bool
problems:
  description: Problems of the file with the builders, or of nix.conf.
  returned: success
  type: list
  elements: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import (
    MachinesError,
    entries,
    hazards,
    host_of,
    parse,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.probe import parsed_store
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.daemon import (
    DaemonError,
    Service,
    service,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.edit import EditError, read_text
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import (
    EXPERIMENTAL,
    daemon_socket,
    find,
    manager,
    run,
    settings,
)

OF_INTEREST = (
    "builders",
    "builders-use-substitutes",
    "cores",
    "experimental-features",
    "extra-platforms",
    "max-jobs",
    "sandbox",
    "sandbox-fallback",
    "substituters",
    "system",
    "system-features",
    "trusted-public-keys",
    "trusted-users",
)
RECEIPT = "/nix/receipt.json"
SCRIPT_PROFILE = "/nix/var/nix/profiles/default/bin/nix"


def installer(nix, managed_by):
    """Find out how Nix was installed."""
    if managed_by != "files":
        return managed_by
    if Path(RECEIPT).exists():
        return "nix-installer"
    if nix.program.startswith(("/usr/bin/", "/bin/")):
        return "package"
    return "script" if Path(SCRIPT_PROFILE).exists() else ""


def store_of(nix):
    """Ask the daemon, or the store itself without a daemon; return None if it does not answer."""
    words = ["store", "ping"] if nix.lix or nix.version < (2, 19) else ["store", "info", "--json"]
    done = run([nix.program, *EXPERIMENTAL, *words, "--store", "daemon" if daemon_socket() else "auto"])
    return parsed_store(done.stdout + done.stderr) if done.status == 0 else None


def builders_of(path, nix, problems):
    """Return the registered builders, and append problems of the file to ``problems``."""
    try:
        text = read_text(path) or ""
    except EditError as error:
        problems.append(str(error))
        return []
    problems += [f"{path}, {hazard}" for hazard in hazards(text, nix.version, nix.lix)]
    found = []
    for entry in entries(text):
        name = host_of(entry)
        try:
            machine = parse(entry.text) if name else None
        except MachinesError:
            machine = None
        if machine:
            found.append(
                {
                    "uri": machine.uri,
                    "name": name,
                    "systems": list(machine.systems),
                    "max_jobs": machine.max_jobs,
                    "supported_features": list(machine.supported_features),
                }
            )
    return found


def described(module, nix):
    options = module.params
    problems = []
    try:
        values, _warnings = settings(nix)
    except ValueError as error:
        problems.append(str(error))
        values = {}
    managed_by = manager(options["config_dir"])
    try:
        found = service(module)
    except DaemonError as error:
        problems.append(str(error))
        found = Service("systemd", "", False)
    store = store_of(nix)
    multi_user = bool(daemon_socket())
    system = values.get("system", "")
    names = [*OF_INTEREST, *options["settings"]]
    return {
        "installed": True,
        "flavour": nix.flavour,
        "version": ".".join(str(number) for number in nix.version),
        "program": nix.program,
        "installer": installer(nix, managed_by),
        "managed_by": managed_by,
        "store_dir": values.get("store-dir", "/nix/store"),
        "multi_user": multi_user,
        "daemon": {
            "manager": found.manager,
            "service": found.name,
            "running": found.running,
            "answers": multi_user and store is not None,
        },
        "trusted": store.trusted if store and multi_user else None,
        "system": system,
        "systems": list(dict.fromkeys([system, *values.get("extra-platforms", "").split()]))
        if system
        else [],
        "sandbox": values.get("sandbox", ""),
        "settings": {name: values[name] for name in names if name in values},
        "builders": builders_of(options["machines_file"], nix, problems),
        "builders_effective": f"@{options['machines_file']}"
        in values.get("builders", "").replace(";", " ").split(),
        "problems": problems,
    }


NOTHING = {
    "installed": False,
    "flavour": "",
    "version": "",
    "program": "",
    "installer": "",
    "managed_by": "files",
    "store_dir": "",
    "multi_user": False,
    "daemon": {"manager": "", "service": "", "running": False, "answers": False},
    "trusted": None,
    "system": "",
    "systems": [],
    "sandbox": "",
    "settings": {},
    "builders": [],
    "builders_effective": False,
    "problems": [],
}


def main():
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "list", "elements": "str", "default": []},
            "machines_file": {"type": "path", "default": "/etc/nix/machines"},
            "config_dir": {"type": "path", "default": "/etc/nix"},
        },
        supports_check_mode=True,
    )
    nix = find(module)
    # Without its volume a Mac has no Nix, but still a system whose configuration makes the files.
    nothing = {**NOTHING, "managed_by": manager(module.params["config_dir"])}
    module.exit_json(changed=False, **(described(module, nix) if nix else nothing))


if __name__ == "__main__":
    main()
