#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start or restart the Nix daemon."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_daemon
short_description: Start or restart a host's Nix daemon
description:
  - Restarts the daemon's service, of systemd or launchd, and waits until the daemon answers. Running builds go on.
  - Loads the service if launchd does not know it yet, and starts it again if systemd has given up after several
    restarts in a row.
  - A host without such a service, where Nix belongs to one user, is left alone.
extends_documentation_fragment:
  - nixferry.deploy._attributes.module
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  diff_mode:
    support: none
  platform:
    platforms: Linux, macOS
options:
  state:
    description:
      - With V(started) a running daemon is left alone.
    type: str
    choices: [started, restarted]
    default: restarted
  timeout:
    description: Seconds until the daemon must answer.
    type: int
    default: 60
seealso:
  - module: nixferry.deploy.nix_conf
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Restart the daemon
  nixferry.deploy.nix_daemon:
    state: restarted
  become: true
"""

RETURN = r"""
manager:
  description: The service manager, V(systemd) or V(launchd), or empty.
  returned: success
  type: str
service:
  description: The unit or the label, empty if the host has none.
  returned: success
  type: str
  sample: nix-daemon.service
remedy:
  description: How to fix a failure.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._nix.daemon import (
    DaemonError,
    service,
    start,
    wait_for,
)
from ansible_collections.nixferry.deploy.plugins.module_utils._nix.here import find

REMEDIES = {
    "systemd": "See `journalctl -u nix-daemon.service` on the host.",
    "launchd": "See /var/log/nix-daemon.log on the host. 'Operation not permitted' means that the daemon is "
    "switched off under Login Items in System Settings.",
}


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "restarted"], "default": "restarted"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        found = service(module)
    except DaemonError as error:
        module.fail_json(msg=f"The Nix daemon: {error}.", remedy=REMEDIES["systemd"])
    again = module.params["state"] == "restarted"
    result = {"manager": found.manager, "service": found.name}
    if not found.name or (found.running and not again):
        module.exit_json(changed=False, **result)
    if not module.check_mode:
        nix = find(module)
        try:
            start(module, found, again)
            if nix:
                wait_for(nix, module.params["timeout"])
        except DaemonError as error:
            module.fail_json(msg=f"The Nix daemon: {error}.", remedy=REMEDIES[found.manager], **result)
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
