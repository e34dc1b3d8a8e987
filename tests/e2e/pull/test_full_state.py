# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file system of the agent's state is really full: nothing is activated that could be replayed."""

from __future__ import annotations

import pytest
from pulling import STATE, Pulling

SMALL_STATE = f"""
set -e
mkdir /mnt/state
mount -t tmpfs -o size=$(($(du -sk {STATE} | cut -f 1) + 64))k small /mnt/state
cp -a {STATE}/. /mnt/state/
mount --move /mnt/state {STATE}
"""
FILL = (
    "dd if=/dev/zero of={place}/full bs=4k 2>/dev/null; test $(df -k --output=avail {place} | tail -n 1) = 0"
)


@pytest.mark.takes_turns(2, among="pulls")
def test_a_full_state_leaves_the_old_system(puller: Pulling) -> None:
    host = puller.host
    wanted = host.current_system()
    # Nothing is activated whose pointer could not be recorded: it might be replayed.
    host.execute(SMALL_STATE)
    puller.publish({"version": "4"})
    host.execute(FILL.format(place=STATE))
    earlier = puller.run_id()
    puller.pull()
    assert puller.run_id() != earlier
    said = host.ask("journalctl --no-pager --unit 'nixferry-pull*' --lines 40")
    assert "state-unwritable" in said or "make room" in said
    assert host.current_system() == wanted
    host.execute(f"rm {STATE}/full")
    assert puller.pull()["outcome"] == "committed"
    assert host.http() == (200, "4")
