# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""The table of activation kinds: how to activate a closure of each kind.

The guard on the host does not know any kind. It gets the shell snippets of this table and runs each of them with
``/bin/sh -c`` and these variables in the environment:

``TOPLEVEL``      the store path being deployed
``SYSTEM``        the system to activate: ``TOPLEVEL``, or its specialisation
``OLD_TOPLEVEL``  the previous target of the profile (empty on a first deploy)
``OLD_SYSTEM``    the previously running system: the real path behind ``current``; it may be a specialisation, or a
                  system that was only tested and never was a generation (empty on a first deploy)
``PROFILE``       the profile link

The guard itself puts the profile link back to the exact old generation before it runs ``roll_back``, so no
snippet ever has to guess which generation was "the previous one".

A snippet may be called after an activation that was interrupted anywhere: it must also undo what the program itself
undoes only after a complete activation. If that takes more than a line, the code is in ``target/kinds/<kind>.sh``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .errors import NixferryError

SYSTEM_PROFILE = "/nix/var/nix/profiles/system"
SET_PROFILE = 'nix-env -p "$PROFILE" --set "$TOPLEVEL"'
# Do not set it twice: a generation that is not the newest may already point to the toplevel.
MAKE_SURE_OF_PROFILE = f'[ "$PROFILE" -ef "$TOPLEVEL" ] || {{ mkdir -p "${{PROFILE%/*}}" && {SET_PROFILE}; }}'


def _with_functions(kind: str, call: str) -> str:
    """Return a snippet that calls a function of ``target/kinds/<kind>.sh``."""
    functions = Path(__file__).parent.parent / "target" / "kinds" / f"{kind}.sh"
    return f"{functions.read_text(encoding='utf-8')}\n{call}"


@dataclass(frozen=True)
class Kind:
    """How to activate, commit and roll back one kind of system."""

    name: str
    activate: str
    """Makes ``SYSTEM`` the running one. Empty: nothing to run."""
    commit: str
    """Makes it permanent, after the confirmation. May be empty when ``activate`` already did."""
    roll_back: str
    """Makes ``OLD_SYSTEM`` the running one again, with ``OLD_SYSTEM``'s own program."""
    restore_boot_default: str
    """Makes ``OLD_TOPLEVEL`` the boot default again after a commit that failed half-way."""
    dry_activate: str
    """Prints what ``activate`` would do, without doing it. Empty: not supported."""
    current: str
    """The links to the running system, separated by spaces: the first existing one counts. The word
    ``profile`` means the profile link; ``~/`` as in ``profile``."""
    booted: str
    """The link to the booted system, to detect a pending reboot; empty if that has no meaning."""
    profile: str
    """The default profile link. A leading ``~/`` is the home directory of the user on the host, and
    ``~/.local/state/`` is ``XDG_STATE_HOME`` there."""
    required: tuple[str, ...]
    """Files that a toplevel must contain to be of this kind, relative to it."""
    exit_failed_units: int | None = None
    """The exit code for: activated, but some units have failed."""
    exit_reboot_required: int | None = None
    """The exit code for: nothing was activated, because that needs a reboot."""
    exit_locked: int | None = None
    """The exit code for: another activation holds the program's own lock; worth a retry. Trusted only together with
    ``locked_words``."""
    lock: str = ""
    """The file that the program locks (flock) for as long as it runs."""
    locked_words: str = ""
    """The program's message if it could not get that lock."""
    begun_words: str = ""
    """The program's message before it changes anything that ``current`` would not show."""
    unfinished: str = ""
    """A list that the program removes at its end: remaining entries were never processed."""
    prepare_boot: str = ""
    """Makes ``TOPLEVEL`` a generation that has a boot entry, while ``OLD_TOPLEVEL`` is the boot default all the time.
    Empty: the kind cannot be booted just once."""
    has_boot_default: bool = False
    """Whether a boot loader decides what runs after a power cut. If not, the guard must roll back an
    interrupted activation itself after a restart."""
    check_units: bool = False
    """Whether the program hides failed units behind exit code 0, so that the guard must watch them."""
    deactivate: str = ""
    """Removes everything that ``SYSTEM`` has made on a host that had no system of this kind before. Empty: not
    supported."""
    remains: str = ""
    """What is left after a failed first deploy that cannot be undone, and how to remove it."""
    find_profile: str = ""
    """Prints the default profile link if only the host knows it; ``profile`` is then the usual one."""
    flake_output: str = ""
    flake_attribute: str = ""
    """The toplevel below ``<flake>#<flake_output>.<name>``; empty: the output itself is the toplevel."""


# Sources: nixos/modules/system/activation/switch-to-configuration.pl and switch-to-configuration-ng of nixpkgs for
# the actions and exit codes. The toplevel runs `boot` first and the specialisation second: the boot loader
# programs are given the path to make the default, and those that know only whole generations
# (systemd-boot-builder.py before 2025) ignore a specialisation's path and would leave the OLD generation default.
# An exit code may also be the errno of the last error, at any point: 11 (EAGAIN), 4 (EINTR) and 100 (ENETDOWN)
# prove nothing by themselves. Releases until 24.05 wait for the lock, later ones refuse.
# The profile reaches the disk before the boot loader: a power cut must not leave a host that boots a system without a
# generation.
_NIXOS_COMMIT = f"""\
{SET_PROFILE} || exit
{{ sync -f "$PROFILE" || sync; }} 2>/dev/null
"$TOPLEVEL/bin/switch-to-configuration" boot || exit
[ "$SYSTEM" = "$TOPLEVEL" ] || "$SYSTEM/bin/switch-to-configuration" boot"""

# The running specialisation is looked up among the old toplevel's children, as its path alone does not reveal its
# parent.
_NIXOS_RESTORE_BOOT_DEFAULT = """\
"$OLD_TOPLEVEL/bin/switch-to-configuration" boot || exit
for child in "$OLD_TOPLEVEL"/specialisation/*; do
    if [ "$child" -ef "$OLD_SYSTEM" ]; then "$child/bin/switch-to-configuration" boot || exit; fi
done"""

# The programs that install a boot loader write an entry for every generation of the profile, and make the toplevel
# that they are given the default: here it is the old one, by its own program.
_NIXOS_PREPARE_BOOT = f"{SET_PROFILE} || exit\n{_NIXOS_RESTORE_BOOT_DEFAULT}"

_NIXOS = Kind(
    name="nixos",
    activate='"$SYSTEM/bin/switch-to-configuration" test',
    commit=_NIXOS_COMMIT,
    roll_back='"$OLD_SYSTEM/bin/switch-to-configuration" test',
    restore_boot_default=_NIXOS_RESTORE_BOOT_DEFAULT,
    dry_activate='"$SYSTEM/bin/switch-to-configuration" dry-activate',
    current="/run/current-system",
    booted="/run/booted-system",
    profile=SYSTEM_PROFILE,
    required=("bin/switch-to-configuration", "nixos-version"),
    exit_failed_units=4,
    exit_reboot_required=100,
    exit_locked=11,
    lock="/run/nixos/switch-to-configuration.lock",
    locked_words="Could not acquire lock",
    begun_words="activating the configuration",
    unfinished="/run/nixos/start-list",
    prepare_boot=_NIXOS_PREPARE_BOOT,
    has_boot_default=True,
    flake_output="nixosConfigurations",
    flake_attribute="config.system.build.toplevel",
)

# `darwin-rebuild` sets the profile first. Here it is set last, since the profile is what launchd activates after a
# restart (modules/services/activate-system), and nothing in an activation reads it: until the confirmation a restart
# comes back with the old system.
_DARWIN = Kind(
    name="darwin",
    activate=_with_functions("darwin", 'activate_system "$SYSTEM"'),
    commit=MAKE_SURE_OF_PROFILE,
    roll_back=_with_functions("darwin", "roll_back"),
    restore_boot_default="",
    dry_activate="",
    current="/run/current-system",
    booted="",
    profile=SYSTEM_PROFILE,
    required=("activate", "darwin-version"),
    remains="links to /etc/static in /etc, and launchd services; nix-darwin's own darwin-uninstaller removes them",
    flake_output="darwinConfigurations",
    flake_attribute="system",
)

# The profile is set after the confirmation; the `home-manager` program sets it before the activation. The running
# generation is home-manager's own garbage collector root, which may be a specialisation or a generation that was only
# tested.
_HOME_MANAGER = Kind(
    name="home-manager",
    activate=_with_functions("home-manager", 'activate_home "$SYSTEM"'),
    commit=MAKE_SURE_OF_PROFILE,
    roll_back=_with_functions("home-manager", "roll_back"),
    restore_boot_default="",
    dry_activate=_with_functions("home-manager", 'export DRY_RUN=1 VERBOSE=1\nactivate_home "$SYSTEM"'),
    current="~/.local/state/home-manager/gcroots/current-home profile",
    booted="",
    profile="~/.local/state/nix/profiles/home-manager",
    required=("activate", "home-files"),
    check_units=True,
    deactivate=_with_functions("home-manager", "deactivate"),
    find_profile=_with_functions("home-manager", "find_profile"),
    flake_output="homeConfigurations",
    flake_attribute="activationPackage",
)

# `activate` only logs the units that failed and exits 0; `register-profile` adds the profile generation and its own
# root for the garbage collector.
_SYSTEM_MANAGER = Kind(
    name="system-manager",
    activate='"$SYSTEM/bin/activate"',
    commit=f'{MAKE_SURE_OF_PROFILE} && "$SYSTEM/bin/register-profile"',
    roll_back=_with_functions("system-manager", "roll_back"),
    restore_boot_default=_with_functions("system-manager", "restore_gc_root"),
    dry_activate="",
    current="profile",
    booted="",
    profile="/nix/var/nix/profiles/system-manager-profiles/system-manager",
    required=("bin/activate", "bin/register-profile"),
    check_units=True,
    deactivate=_with_functions("system-manager", "deactivate"),
    flake_output="systemConfigs",
)

# The profile is set before the user's command runs: a service that is started from a profile is started from the
# profile link, so a command such as `systemctl restart web` would otherwise restart the old version.
_PROFILE = Kind(
    name="profile",
    activate=f'mkdir -p "${{PROFILE%/*}}" && {SET_PROFILE}',
    commit=MAKE_SURE_OF_PROFILE,
    roll_back="",
    restore_boot_default="",
    dry_activate="",
    current="profile",
    booted="",
    profile="",
    required=(),
    remains="what the command has started and written",
)

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (_NIXOS, _DARWIN, _HOME_MANAGER, _SYSTEM_MANAGER, _PROFILE)
}


def kind_named(name: str) -> Kind:
    """Look up a kind; raises a ``NixferryError`` that lists the known ones."""
    try:
        return KINDS[name]
    except KeyError:
        raise NixferryError(
            f"{name!r} is not a kind of system",
            step="choose the kind",
            remedy=f"Use one of {', '.join(KINDS)}.",
        ) from None


def profile_kind(activate_command: str = "") -> Kind:
    """Return the kind ``profile`` with the user's own command, which may be empty.

    The command runs after the profile was set, on activation and on rollback: ``PROFILE`` points to the closure to
    activate and so does ``TOPLEVEL``, which is the old one during a rollback.
    """
    command = activate_command.strip()
    if not command:
        return KINDS["profile"]
    return replace(
        KINDS["profile"],
        activate=f"{KINDS['profile'].activate} || exit\n{command}",
        roll_back=f"TOPLEVEL=$OLD_TOPLEVEL\nSYSTEM=$OLD_SYSTEM\n{command}",
        check_units=True,
    )
