# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fault may have left behind on a host, asked in one go and without Ansible."""

from __future__ import annotations

from dataclasses import dataclass

from lab import BOOT_DEFAULT, SYSTEM_PROFILE, LabHost

# Prints "key value" lines. Of the guard's own files only those count that are of no use once it has ended:
# the records of activations stay.
LOOK = f"""
say() {{ echo "$1 $2"; }}
say runs "$(readlink -e /run/current-system)"
say boots "$({BOOT_DEFAULT})"
say profile "$(readlink -e {SYSTEM_PROFILE})"
say profile_link "$(readlink {SYSTEM_PROFILE})"
say etc "$(readlink -e /etc/static)"
say wanted_etc "$(readlink -e /run/current-system/etc)"
say version "$(cat /run/current-system/nixos-version)"
for link in {SYSTEM_PROFILE}-*-link; do
    number=${{link#{SYSTEM_PROFILE}-}}
    if [ -e "$link" ]; then say generation "${{number%-link}} $(readlink -e "$link")"; fi
done | sort
systemctl list-units --type=service --state=running --plain --no-legend --full | while read -r unit _; do
    case $unit in nixferry-* | user@*) ;; *) say service "$unit" ;; esac
done
systemctl list-units --all --plain --no-legend --full 'nixferry-*' | while read -r unit _ active _; do
    say left "the unit $unit ($active)"
done
for record in /var/lib/nixferry/activations/*; do
    if [ -f "$record/phase" ]; then
        # Where the guard keeps what the disk does not take
        unsaved=/run/nixferry/unsaved/activations/${{record##*/}}/phase
        if [ ! -f "$unsaved" ]; then unsaved=$record/phase; fi
        phase=$(tr -cd a-z- <"$unsaved" | head -c 30)
        say activation "${{record##*/}} ${{phase:-none}} $(stat -c %y "$record/phase" | tr -d ' ')"
    fi
done
for path in /nix/var/nix/gcroots/nixferry/* /etc/systemd/system/nixferry-* /run/nixferry/lock* \
    /var/lib/nixferry/new /var/lib/nixferry/test.*; do
    # What the guard has set aside is not the guard's own.
    case $path in *.garbage.*) continue ;; esac
    if [ -e "$path" ] || [ -L "$path" ]; then say left "$path"; fi
done
for copy in /run/nixferry/copies/activations/*; do
    # It is kept until the disk has taken the end of the record.
    if [ -d "$copy" ] && [ ! -d "/run/nixferry/unsaved/activations/${{copy##*/}}" ]; then say left "$copy"; fi
done
for process in $(grep -lszE '^/(var/lib|run)/nixferry/(copies/)?activations/.*/guard.sh$' /proc/[0-9]*/cmdline); do
    say left "the process ${{process%/cmdline}}: $(tr '\\0' ' ' <"$process" 2>/dev/null)"
done
exit 0
"""


@dataclass(frozen=True)
class HostState:
    """A host as it is. Store paths are empty where there is none."""

    runs: str
    boots: str
    profile: str
    profile_link: str
    etc: str
    """What /etc is made from."""
    wanted_etc: str
    """What the running system would make it from."""
    version: str
    """The version of the running system, which its web service tells."""
    generations: tuple[str, ...]
    services: frozenset[str]
    """Running services, but for those that come and go with logins."""
    activations: tuple[tuple[str, str], ...]
    """Activations that the guard has on record, the latest to change last: (id, phase)."""
    left: frozenset[str]
    """What is left of a guard at work: units, roots, locks, processes, temporary files."""

    def last_phase(self, before: HostState) -> str:
        """The phase of the latest activation since `before`; empty when there was none."""
        known = {identifier for identifier, _phase in before.activations}
        phases = [phase for identifier, phase in self.activations if identifier not in known]
        return phases[-1] if phases else ""


def look(host: LabHost) -> HostState:
    """Ask a host by way of its container: works while everybody is locked out."""
    answers: dict[str, list[str]] = {}
    for line in host.execute(LOOK).stdout.splitlines():
        key, _space, value = line.partition(" ")
        answers.setdefault(key, []).append(value)
    activations = sorted(
        (line.split() for line in answers.get("activation", [])), key=lambda words: words[2:]
    )
    return HostState(
        runs=answers["runs"][0],
        boots=answers["boots"][0],
        profile=answers["profile"][0],
        profile_link=answers["profile_link"][0],
        etc=answers["etc"][0],
        wanted_etc=answers["wanted_etc"][0],
        version=answers["version"][0],
        generations=tuple(answers.get("generation", [])),
        services=frozenset(answers.get("service", [])),
        activations=tuple((words[0], words[1]) for words in activations),
        left=frozenset(answers.get("left", [])),
    )
