# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file system of the store is really full, in the middle of a fetch."""

from __future__ import annotations

import pytest
from pulling import Pulling

# On a small file system of its own, with what it holds.
SMALL_STORE = """
systemctl stop nix-daemon.service nix-daemon.socket
mkdir /mnt/store
mount -t tmpfs -o size=$(($(du -sm /nix | cut -f 1) + 24))m small /mnt/store
cp -a /nix/. /mnt/store/
mount --move /mnt/store /nix
systemctl start nix-daemon.socket
"""
FILL = (
    "dd if=/dev/zero of={place}/full bs=4k 2>/dev/null; test $(df -k --output=avail {place} | tail -n 1) = 0"
)


@pytest.mark.takes_turns(2, among="pulls")
def test_a_full_store_leaves_the_old_system(puller: Pulling) -> None:
    host, server = puller.host, puller.server
    host.execute(SMALL_STORE)
    puller.install(pull_agent_min_free=0)
    good = host.current_system()
    filled = []

    def fill(_method: str, path: str) -> None:
        """There was room when the agent looked; now another program takes it."""
        if ".nar" in path and not path.endswith(".narinfo") and not filled:
            filled.append(path)
            host.execute(FILL.format(place="/nix/store"))

    wanted = puller.publish({"version": "3"})
    server.before_answer = fill
    done = puller.pull()
    assert filled
    assert (done["outcome"], "no room" in done["message"]) == ("disk-full", True), puller.story()
    assert (host.current_system(), host.profile(), host.boot_default()) == (good, good, good)
    assert not host.has_path(wanted)
    host.execute("rm /nix/store/full")
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == wanted
