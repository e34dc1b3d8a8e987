#!/usr/bin/python
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say on a web server which release a machine boots from the network."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nix_netboot_pointer
short_description: Say which release a machine boots from the network
description:
  - Keeps the scripts of iPXE that machines boot by, in a directory that a web server offers. Run it on that server.
  - The releases that the scripts name are made by M(nixferry.deploy.nix_netboot_release). A release is compared with
    its checksums before a script names it for the first time.
  - A trial is booted once. The web server removes the file of the trial when the machine asks for it, so that every
    further boot is the release that the machine had before. The role P(nixferry.deploy.netboot#role) configures nginx
    for that. Other web servers never hand out a trial.
  - Scripts are replaced by rename. A machine reads the old or the new one.
extends_documentation_fragment:
  - nixferry.deploy._attributes.module
  - nixferry.deploy._attributes.actiongroup_nixferry
attributes:
  platform:
    platforms: Linux
options:
  directory:
    description: The directory that the web server offers.
    type: path
    required: true
  host:
    description: The name of the machine. Not needed for O(state=query).
    type: str
  macs:
    description:
      - The MAC addresses of the network cards that the machine boots from. If empty, those that are known already.
    type: list
    elements: str
    default: []
  state:
    description:
      - V(query) changes nothing.
      - V(present) lets the machine boot O(release) from now on, without any proof that it works.
      - V(trial) lets it boot O(release) once, under the name O(trial).
      - V(confirmed) lets it boot the release of O(trial) from now on.
      - V(ended) takes O(trial) back, unless another one has taken its place.
      - V(absent) forgets the machine.
    type: str
    choices: [query, present, trial, confirmed, ended, absent]
    default: query
  release:
    description: The name of a release. Required for O(state=present) and O(state=trial).
    type: str
  trial:
    description:
      - The name of the trial, 32 random digits and letters from V(a) to V(f). Required for O(state=trial),
        O(state=confirmed) and O(state=ended).
    type: str
  fallback:
    description:
      - The release that the machine boots after a trial that was not confirmed, if it is one that is kept. Otherwise
        it is the one that it boots now.
    type: str
    default: ""
  seconds:
    description: The seconds after the start of its kernel at which a trial that is not confirmed reboots.
    type: int
    default: 1200
  lifetime:
    description: The seconds after which another deploy may take the place of this trial. Before that it is refused.
    type: int
    default: 3600
  url:
    description:
      - The address of O(directory) on the web server. Required for machines that Pixiecore boots. Scripts of iPXE do
        not need it.
    type: str
    default: ""
  keep:
    description:
      - How many releases of a machine are kept, the present one included. Releases that no machine needs are removed
        when they are a day old.
    type: int
    default: 5
seealso:
  - module: nixferry.deploy.nix_netboot_release
  - module: nixferry.deploy.nix_netboot_trial
author:
  - nixferry contributors (@nixferry)
"""

EXAMPLES = r"""
---
- name: Let a machine boot a release
  nixferry.deploy.nix_netboot_pointer:
    directory: /srv/www/netboot
    host: web1
    macs: ["52:54:00:12:34:56"]
    state: present
    release: 3f0c9f4b7a1d4e0f9c1be5b1c2a7d6e8

- name: See what it boots
  nixferry.deploy.nix_netboot_pointer:
    directory: /srv/www/netboot
    host: web1
  register: booted
"""

RETURN = r"""
release:
  description: The release that the machine boots, empty if it is not known.
  returned: success
  type: str
toplevel:
  description: The system in that release, empty if it is not known.
  returned: success
  type: str
previous:
  description: The release that it booted before, empty without one.
  returned: success
  type: str
history:
  description: The releases that are kept for the machine, the present one first.
  returned: success
  type: list
  elements: str
macs:
  description: The MAC addresses of the machine.
  returned: success
  type: list
  elements: str
trial:
  description: The trial that is under way, with the keys C(id), C(release), C(begun) and C(seconds), or V(null).
  returned: success
  type: dict
taken:
  description: Whether the web server has handed the trial out.
  returned: success
  type: bool
releases:
  description: All complete releases on the server, with their manifests.
  returned: O(state=query)
  type: dict
changed_files:
  description: The files below O(directory) that changed, or would change in check mode.
  returned: success
  type: list
  elements: str
remedy:
  description: How to fix a failure.
  returned: failure
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.nixferry.deploy.plugins.module_utils._netboot.tree import (
    Tree,
    TreeError,
    checked_mac,
    checked_release,
    checked_trial,
)


def argument_spec():
    return {
        "directory": {"type": "path", "required": True},
        "host": {"type": "str"},
        "macs": {"type": "list", "elements": "str", "default": []},
        "state": {
            "type": "str",
            "choices": ["query", "present", "trial", "confirmed", "ended", "absent"],
            "default": "query",
        },
        "release": {"type": "str"},
        "trial": {"type": "str"},
        "fallback": {"type": "str", "default": ""},
        "seconds": {"type": "int", "default": 1200},
        "lifetime": {"type": "int", "default": 3600},
        "url": {"type": "str", "default": ""},
        "keep": {"type": "int", "default": 5},
    }


def changed_state(tree, options, before, now):
    """Return the state of a machine that is wanted. Raises ``TreeError``."""
    state, release = options["state"], options["release"]
    macs = sorted({checked_mac(mac) for mac in options["macs"]}) or before["macs"]
    history, trial = list(before["history"]), before["trial"]
    if state in ("present", "trial") and trial and trial["id"] != options["trial"]:
        left = trial["begun"] + trial["lifetime"] - now
        if left > 0:
            raise TreeError(
                f"another deploy tries the release {trial['release']} on {before['host']}",
                f"Wait for it. It may be replaced in {round(left)} s.",
            )
    if not macs:
        raise TreeError(f"no network card of {before['host']} is known", "Set netboot_macs for this host.")
    if state in ("confirmed", "ended"):
        name = checked_trial(options["trial"])
        if trial is None or trial["id"] != name:
            if state == "ended" and history:
                return {**before, "macs": macs}
            raise TreeError(
                f"the trial {name} of {before['host']} is not under way any more",
                "Another deploy has taken its place. Look at what the host runs, and deploy again.",
            )
        if state == "confirmed":
            history.insert(0, trial["release"])
        trial = None
    elif state == "present":
        history.insert(0, checked_release(release))
        trial = None
    else:
        if not history:
            raise TreeError(
                f"{before['host']} has no release to go back to",
                "Publish one first (netboot_action: publish).",
            )
        if options["fallback"] in history:
            history.insert(0, options["fallback"])
        trial = {
            "id": checked_trial(options["trial"]),
            "release": checked_release(release),
            "begun": round(now),
            "seconds": options["seconds"],
            "lifetime": options["lifetime"],
        }
    wanted = {"host": before["host"], "macs": macs, "history": [], "trial": trial}
    wanted["history"] = list(dict.fromkeys(history))[: options["keep"]]
    named = {*wanted["history"][:1], *([trial["release"]] if trial else [])}
    for each in sorted(named - {*before["history"][:1]}):
        tree.verify(each)
    return wanted


def told(tree, state):
    """Return what the task says of a machine."""
    history = state["history"]
    releases = tree.releases()
    return {
        "release": history[0] if history else "",
        "toplevel": str(releases.get(history[0], {}).get("toplevel", "")) if history else "",
        "previous": history[1] if len(history) > 1 else "",
        "history": history,
        "macs": state["macs"],
        "trial": state["trial"],
        "taken": bool(state["trial"]) and tree.was_taken(state["trial"]["id"]),
    }


def perform(module):
    """Change the tree and return the result. Raises ``TreeError`` and ``OSError``."""
    options = module.params
    tree = Tree(options["directory"], dry_run=module.check_mode)
    with tree.locked():
        if options["state"] == "query":
            state = (
                tree.state(options["host"]) if options["host"] else {"history": [], "macs": [], "trial": None}
            )
            return {"changed": False, "changed_files": [], "releases": tree.releases(), **told(tree, state)}
        before = tree.state(options["host"])
        if options["state"] == "absent":
            tree.forget(options["host"])
            after = {**before, "macs": [], "history": [], "trial": None}
        else:
            after = changed_state(tree, options, before, time.time())
            tree.write_entry()
            tree.write_state(after, options["url"])
        tree.prune()
        result = {"changed": bool(tree.changed), "changed_files": tree.changed, **told(tree, after)}
    if module._diff:
        result["diff"] = {
            "before_header": f"{options['host']} boots",
            "after_header": f"{options['host']} boots",
            "before": "".join(f"{line}\n" for line in lines_of(before)),
            "after": "".join(f"{line}\n" for line in lines_of(after)),
        }
    return result


def lines_of(state):
    """Return what a difference shows of a machine."""
    trial = state["trial"]
    return [
        *(f"card {mac}" for mac in state["macs"]),
        *([f"once {trial['release']}"] if trial else []),
        *(f"release {each}" for each in state["history"][:1]),
        *(f"kept {each}" for each in state["history"][1:]),
    ]


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("state", "present", ("host", "release")),
            ("state", "trial", ("host", "release", "trial")),
            ("state", "confirmed", ("host", "trial")),
            ("state", "ended", ("host", "trial")),
            ("state", "absent", ("host",)),
        ],
        supports_check_mode=True,
    )
    for name in ("seconds", "lifetime", "keep"):
        if module.params[name] < 1:
            module.fail_json(
                msg=f"{name} must be positive.", remedy="Correct the variable of the role netboot."
            )
    if module.params["state"] == "trial" and module.params["keep"] < 2:
        module.fail_json(
            msg="keep must be at least 2: the release before a trial is what the host goes back to.",
            remedy="Set netboot_keep.",
        )
    try:
        result = perform(module)
    except TreeError as error:
        module.fail_json(
            msg=f"The release of {module.params['host']}: {error}. {error.remedy}", remedy=error.remedy
        )
    except OSError as error:
        module.fail_json(
            msg=f"The release of {module.params['host']}: {error.filename} cannot be changed: {error.strerror}.",
            remedy="Look at the owner of the directory and at the space on its file system.",
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
