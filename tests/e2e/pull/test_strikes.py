# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills, power cuts and a push in the middle of a pull; what the server hears tells where the host is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from plays import task_play
from processes import wait_until
from pulling import ACTIVATE, FETCH, STATE, Pulling

REAL_DATE, LATE = "/usr/bin/date.real", "/run/late"
# The clock of a host without a battery begins somewhere in the past; programs ask `date` for it.
SLOW_CLOCK = f"""
mv /usr/bin/date {REAL_DATE}
cat >/usr/bin/date <<'EOF'
#!/bin/sh
case $*:$(test -e {LATE} && echo late) in +%s:late) echo 86400 ;; *) exec {REAL_DATE} "$@" ;; esac
EOF
chmod 755 /usr/bin/date; touch {LATE}
"""


def strike_at(puller: Pulling, place: str, strike: Callable[[], object]) -> list[str]:
    """Strike once while the server holds back its answer at a place of a pull; returns where it has struck.

    The places are `closure`, and `proof`, which comes after the activation.
    """
    struck: list[str] = []
    begun = False
    pointers = 0

    def before_answer(_method: str, path: str) -> None:
        nonlocal begun, pointers
        pointers += "/pointers/" in path
        here = ".nar" in path and not path.endswith(".narinfo") if place == "closure" else pointers == 2
        if here and not begun:
            begun = True
            strike()
            struck.append(path)

    puller.server.before_answer = before_answer
    return struck


def settled(puller: Pulling) -> None:
    """Wait until no activation is under way, and the run that has found its end has ended as well."""
    runs = f"systemctl is-active {ACTIVATE} | grep -v -e inactive -e failed"
    under_way = f"cat {STATE}/under_way 2>/dev/null; {runs} || true"
    wait_until(lambda: not puller.host.ask(under_way), deadline=180, what="the end of the activation")


@pytest.mark.takes_turns(2, among="pulls")
def test_power_cuts_while_it_fetches_and_while_it_proves_itself(puller: Pulling) -> None:
    """The old system boots, and the next pull takes the new one."""
    host = puller.host
    for version, place in (("3", "closure"), ("4", "proof")):
        good = host.current_system()
        wanted = puller.publish({"version": version})
        struck = strike_at(puller, place, host.power_cut)
        puller.begin()
        wait_until(lambda found=struck: bool(found), deadline=120, what=f"the {place}")  # type: ignore[misc]
        host.power_on()
        assert (host.current_system(), host.profile(), host.boot_default()) == (good, good, good), place
        settled(puller)
        done = puller.pull()
        assert done["outcome"] == "committed", (place, done)
        assert (host.current_system(), host.boot_default()) == (wanted, wanted)
        assert "quarantined" not in done


@pytest.mark.takes_turns(2, among="pulls")
def test_kills_and_a_push_in_the_middle(puller: Pulling) -> None:
    host = puller.host
    # The user that fetches dies in the middle of a closure; the next run goes on.
    wanted = puller.publish({"version": "3"})
    struck = strike_at(puller, "closure", lambda: host.execute(f"systemctl kill --signal=KILL {FETCH}"))
    done = puller.pull()
    assert (bool(struck), done["outcome"]) == (True, "not-fetched")
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == wanted

    # Root's half dies while the new system proves itself: it comes back, and judges.
    wanted = puller.publish({"version": "4"})
    struck = strike_at(puller, "proof", lambda: host.execute(f"systemctl kill --signal=KILL {ACTIVATE}"))
    puller.begin()
    wait_until(lambda: bool(struck), deadline=120, what="the proof")
    settled(puller)
    wait_until(lambda: puller.status()["outcome"] == "committed", deadline=60, what="the word about it")
    assert (host.current_system(), host.boot_default()) == (wanted, wanted)

    # A push meets the activation of a pull, even one that insists: one of them is refused, and the pull goes on.
    puller.install(pull_agent_timeout_reach=100, pull_agent_timeout_confirm=300)
    pushed = puller.project.build(host.name, {"version": "pushed"})
    host.copy_closure(pushed)
    wanted = puller.publish({"version": "5"})
    push = task_play(host.name, "nix_switch", {"toplevel": pushed, "despite_pull": True})
    pushes = []
    strike_at(puller, "proof", lambda: pushes.append(puller.project.run_playbook(push)))
    done = puller.pull()
    assert (done["outcome"], len(pushes)) == ("committed", 1), done
    assert pushes[0].return_code != 0
    assert "pull agent" in pushes[0].stdout
    assert (host.current_system(), host.boot_default()) == (wanted, wanted)


@pytest.mark.takes_turns(2, among="pulls")
def test_keys_are_exchanged_and_a_clock_is_wrong(puller: Pulling) -> None:
    """Both pointer keys count for a while, then the new one; nothing is activated on the word of a wrong clock."""
    host = puller.host
    old, new = ((puller.keys / f"{name}.pub").read_text() for name in ("pointer", "foreign"))
    wanted = puller.build(version="3")
    puller.offer(puller.pointer(wanted, key="foreign"))
    assert puller.pull()["outcome"] == "signature"
    puller.install(pull_agent_pointer_keys=[old, new])
    assert puller.pull()["outcome"] == "committed"
    puller.install(pull_agent_pointer_keys=[new])
    # What was accepted before still counts, and what the old key signs does not.
    assert puller.pull()["outcome"] == "unchanged"
    later = puller.build(version="4")
    puller.offer(puller.pointer(later))
    assert puller.pull()["outcome"] == "signature"
    assert host.current_system() == wanted

    puller.offer(puller.pointer(later, key="foreign"))
    host.execute(SLOW_CLOCK)
    assert puller.pull()["outcome"] == "clock"
    assert host.current_system() == wanted
    host.execute(f"rm {LATE}")
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == later


@pytest.mark.takes_turns(2, among="pulls")
def test_caches_that_are_down_stale_or_damaged(puller: Pulling) -> None:
    """No closure, no change; and the next pull does not remember that it was absent."""
    host, server = puller.host, puller.server
    good = host.current_system()
    wanted = puller.publish({"version": "3"})
    files = list((server.directory / "cache/nar").iterdir())
    contents = {file: file.read_bytes() for file in files}
    for part, status in ((".narinfo", 404), ("/cache/", 503), ("/cache/", 403)):
        server.faults = {part: status}
        assert puller.pull()["outcome"] == "closure", (part, status)
    server.faults = {}
    for file, content in contents.items():
        file.write_bytes(content[:-9] + bytes(byte ^ 1 for byte in content[-9:]))
    assert puller.pull()["outcome"] == "closure"
    for file, content in contents.items():
        file.write_bytes(content)
    assert (host.current_system(), host.profile()) == (good, good)
    assert puller.pull()["outcome"] == "committed"
    assert host.current_system() == wanted

    # Signed by a key that Nix does not trust here.
    foreign = puller.publish({"version": "4"})
    for file in (server.directory / "cache").glob("*.narinfo"):
        file.write_text(file.read_text().replace("\nSig: pull-", "\nSig: other-"))
    assert puller.pull()["outcome"] == "closure"
    assert not host.has_path(foreign)
    assert host.current_system() == wanted
