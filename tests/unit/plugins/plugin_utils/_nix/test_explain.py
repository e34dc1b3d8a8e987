# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.command import result_of_log
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.explain import (
    NOT_OF_CODE,
    cause_of,
    code_remedy,
    remedy_for,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.fetches import without_passwords

LOGS = Path(__file__).parents[3] / "fixtures" / "nix-logs"


def recorded_error(version: str, case: str) -> NixferryError:
    log, _separator, code = (
        (LOGS / f"{version}-{case}.log").read_text(encoding="utf-8").rpartition("exit code: ")
    )
    return result_of_log(["/usr/bin/nix"], int(code), "", log).error(step="evaluate")


@pytest.mark.parametrize("version", ["2.8.0", "2.26.3", "2.34.8"])
@pytest.mark.parametrize(
    ("case", "message", "remedy"),
    [
        ("evaluate-thrown", "no such luck", ""),
        (
            "evaluate-asserted",
            "Failed assertions:\n- The \u2018fileSystems\u2019 option does not specify",
            "",
        ),
        ("evaluate-no-attribute", "attribute 'nothing' in selection path 'nothing' not found", "{host}"),
        ("evaluate-syntax", "syntax error, unexpected end of file (at /tmp/", ""),
        ("evaluate-search-path", "file 'nowhere' was not found in the Nix search path", "`include`"),
        ("flake-no-attribute", "does not provide attribute 'packages.x86_64-linux.nothing'", "{host}"),
        ("flake-no-flake", "-source/flake.nix'", "holds flake.nix"),
        ("flake-untracked", "web1.nix", "`git add`"),
        (
            "fetch-git-ssh",
            "ssh://git@127.0.0.1:1/app.git could not be fetched: ssh: connect to host 127.0.0.1 port 1: Connection "
            "refused; fatal: Could not read from remote repository.",
            "check the address",
        ),
        (
            "fetch-git-https",
            "https://***@127.0.0.1:1/app.git could not be fetched: fatal: ",
            "check the address",
        ),
        (
            "fetch-git-inner",
            "ssh://git@127.0.0.1:1/app.git could not be fetched: ssh: connect to host",
            "check the address",
        ),
        ("fetch-tarball", "unable to download 'https://127.0.0.1:1/app.tar.gz': Could", "check the address"),
        ("flake-pipe", "/fifo' has an unsupported type", "neither sockets nor pipes"),
        ("evaluate-inner-attribute", "attribute 'nothing' missing", ""),
        (
            "evaluate-search-path-below",
            "file 'nowhere/lib/x.nix' was not found",
            "[nowhere=/path/to/nowhere]",
        ),
        ("realise-features", "fast", "the features {fast}"),
        ("realise-foreign", "riscv64-linux", "`builders`"),
        ("realise-wrong-hash", "hash mismatch in fixed-output derivation", "correct the hash"),
        ("realise-silent", "failed with exit code 1", ""),
    ],
)
def test_recorded_errors_are_explained(version: str, case: str, message: str, remedy: str) -> None:
    error = recorded_error(version, case)
    assert message in error.cause
    assert (remedy in error.remedy) if remedy else error.remedy == ""
    assert "\x1b" not in error.cause
    assert "error:" not in error.cause
    assert "show-trace" not in error.cause
    assert error.output


@pytest.mark.parametrize("version", ["2.8.0", "2.26.3"])
def test_a_link_to_a_flake_is_explained(version: str) -> None:
    """Later versions follow it."""
    error = recorded_error(version, "flake-link")
    assert "/link' is not a flake" in error.cause
    assert "name the directory itself" in error.remedy


def test_passwords_in_addresses_are_not_told() -> None:
    for version in ("2.8.0", "2.26.3", "2.34.8"):
        error = recorded_error(version, "fetch-git-https")
        assert "secret" not in "\n".join([error.cause, error.remedy, *error.output])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("git+ssh://git@host/a", "git+ssh://git@host/a"),
        ("git+ssh://git:pw@host/a", "git+ssh://***@host/a"),
        ("'https://token@host/a'", "'https://***@host/a'"),
        ("https://host/a@b", "https://host/a@b"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_credentials_of_addresses(given: str, told: str) -> None:
    assert without_passwords(given) == told


def test_an_inventory_names_its_own_option() -> None:
    text = "error: file 'nixpkgs/nixos' was not found in the Nix search path"
    assert "the task's `include`, as in `include: [nixpkgs=" in remedy_for(text)
    assert "`include` of the inventory's configuration" in remedy_for(text, of_inventory=True)


@pytest.mark.parametrize(
    "cause",
    [
        "opening lock file '/x': Permission denied",
        "ssh://git@h/a could not be fetched: ",
        "nix was ended by the signal SIGTERM",
        "nix ended with exit code 1 without any output",
        "the timeout for the evaluation expired while nix was running",
    ],
)
def test_advice_about_nix_code_is_given_for_its_errors_only(cause: str) -> None:
    assert code_remedy(cause, "Fix it.") == NOT_OF_CODE
    for own in ("undefined variable 'x'", "attribute 'a' missing", "no such luck", "infinite recursion"):
        assert code_remedy(own, "Fix it.") == "Fix it."


def test_a_trace_is_cut_down_to_its_cause_and_place() -> None:
    text = """error:
       … while calling the 'throw' builtin
         at /srv/fleet.nix:3:11:
            2| { web1 =
            3|   throw "no such luck";
             |   ^

       … from call site
         at /srv/other.nix:9:1:

       error: no such luck
         at /srv/fleet.nix:7:5:
            7|   x
"""
    assert cause_of(text) == "no such luck (at /srv/fleet.nix:7:5)"


def test_a_place_in_the_text_that_was_passed_is_not_told() -> None:
    assert (
        cause_of("error: undefined variable 'x'\n\n       at «string»:1:1:\n\n  1| x")
        == "undefined variable 'x'"
    )


def test_a_very_long_message_is_cut() -> None:
    lines = cause_of("error: " + "\n".join(f"line {number}" for number in range(500))).splitlines()
    assert len(lines) < 50
    assert lines[-1] == "..."


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("error: writing to file: No space left on device", "Free space"),
        (
            "error: experimental Nix feature 'flakes' is disabled; use '--extra-exp...'",
            "switches the feature off",
        ),
        ("error: experimental Nix feature 'ca-derivations' is disabled", "extra-experimental-features"),
        ("error: access to absolute path '/etc/hosts' is forbidden in pure eval mode", "impure: true"),
        ("error: unable to download 'https://x': Couldn't resolve host name (6)", "network"),
        ("error: cannot add path '/nix/store/a' because it lacks a valid signature", "trusted-users"),
        (
            "error: cannot add path '/nix/store/a' because it lacks a signature by a trusted key",
            "trusted-users",
        ),
        ("error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket'", "nix-daemon"),
        ("error: the group 'nixbld' specified in 'build-users-group' does not exist", "nix-setup-systemd"),
        (
            "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Permission denied",
            "may not talk to the Nix daemon",
        ),
        # Debian's Nix 2.8 and 2.26, for a user who is not in the group nix-users.
        (
            "error: getting status of /nix/var/nix/daemon-socket/socket: Permission denied",
            "may not talk to the Nix daemon",
        ),
        (
            "error: getting status of '/nix/var/nix/daemon-socket/socket': Permission denied",
            "may not talk to the Nix daemon",
        ),
        ("error: opening lock file '/nix/var/nix/db/big-lock': Permission denied", "with a daemon"),
        (
            "error: this system does not support the kernel namespaces that are required for sandboxing",
            "sandbox",
        ),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "max_memory"),
        ("nix was ended by the signal SIGKILL", "max_memory"),
        # Nix 2.8, 2.26 and 2.34, for a user id without an entry, and with a home directory of another user.
        ("error: cannot figure out user name", "/etc/passwd"),
        ("error: cannot determine user's home directory", "/etc/passwd"),
        ("error: creating directory '/nohome/.cache/nix': Permission denied", "set HOME"),
        ('error: creating directory "/nohome/.cache/nix": Permission denied', "set HOME"),
        ("error: opening '/home/x/.cache/nix/eval-cache-v5': Permission denied", "set HOME"),
        (
            "error: could not set permissions on '/nix/var/nix/profiles/per-user' to 755: Operation not permitted",
            "nix-users",
        ),
        ("fatal: x\nHost key verification failed.", "known_hosts"),
        ("git@h: Permission denied (publickey,password).", "ssh agent"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "access-tokens"),
        ("error: unable to download 'https://h/a': HTTP error 404", "Check the address"),
        (
            "error: unable to download 'https://c/nix-cache-info': Couldn't resolve host name (6)",
            "substituter",
        ),
        ("error: '/srv/my fleet#deploy' is not a valid URL", "rename the directory"),
        ("error: 'file:///srv/my fleet?dir=sub' is not a valid URL", "rename the directory"),
        ("error: './it's 50%#deploy' is not a valid URL", "rename the directory"),
    ],
)
def test_common_failures_have_a_remedy(text: str, part: str) -> None:
    assert part in remedy_for(text)


def test_an_unknown_failure_has_none() -> None:
    assert remedy_for("error: the moon is full") == ""


@pytest.mark.parametrize("version", ["2.8", "2.34"])
def test_a_missing_path_names_the_directory_that_relative_ones_count_from(version: str) -> None:
    text = {
        "2.8": "error: getting status of '/home/ann/p/nowhere': No such file or directory",
        "2.34": "error: path '/home/ann/p/nowhere' does not exist",
    }[version]
    assert (
        remedy_for(text, directory="/home/ann/p")
        == "Correct the path; a relative one counts from /home/ann/p."
    )
    in_store = text.replace("/home/ann/p", f"/nix/store/{'a' * 32}-source")
    assert "a relative one" not in remedy_for(in_store, directory="/home/ann/p")


@given(st.text())
def test_any_text_has_a_cause(text: str) -> None:
    assert isinstance(cause_of(text), str)
    remedy_for(text)
