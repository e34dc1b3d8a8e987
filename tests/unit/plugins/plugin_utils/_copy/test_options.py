# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels in which pieces, how it is reported, and how failures read."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.explain import CAUSES, explain
from ansible_collections.nixferry.deploy.plugins.plugin_utils._copy.options import (
    TRAILER_BYTES,
    CopyRequest,
    CopyResult,
    diff_text,
    groups,
    most_listed,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._nix.store import Item, batches, parse_path_info

A, B, C = (f"/nix/store/{letter * 32}-{name}" for letter, name in (("a", "libc"), ("b", "web"), ("c", "top")))
MIB = 1024 * 1024


@given(st.lists(st.integers(min_value=0, max_value=300 * MIB), max_size=60), st.integers(8 * MIB, 64 * MIB))
def test_groups_keep_the_order_and_the_limit(sizes: list[int], limit: int) -> None:
    items = [Item(f"/nix/store/{number}", size) for number, size in enumerate(sizes)]
    made = list(groups(items, limit))
    assert [item for group in made for item in group] == items
    for group in made:
        weight = sum(item.nar_size + TRAILER_BYTES for item in group)
        assert weight <= limit or len(group) == 1


@given(st.lists(st.integers(min_value=0, max_value=MIB), min_size=2, max_size=60))
def test_groups_are_no_smaller_than_needed(sizes: list[int]) -> None:
    limit = 4 * MIB
    made = list(groups([Item("p", size) for size in sizes], limit))
    for group, following in itertools.pairwise(made):
        together = [*group, following[0]]
        assert sum(item.nar_size + TRAILER_BYTES for item in together) > limit


@given(st.lists(st.text(), max_size=50), st.integers(1, 20))
def test_batches(paths: list[str], size: int) -> None:
    made = list(batches(paths, size))
    assert [path for batch in made for path in batch] == paths
    assert all(1 <= len(batch) <= size for batch in made)


def test_path_info_of_any_version() -> None:
    # Nix 2.8 aligns with a tab, 2.26 and 2.34 with spaces; warnings may stand between.
    text = f"{A}\t     2208\nwarning: something\n\n{B}  12\n{C} ?\n"
    assert parse_path_info(text) == [Item(A, 2208), Item(B, 12)]


@pytest.mark.parametrize(
    ("source", "is_ssh", "host_fetches"),
    [
        (None, False, False),
        ("ssh://build@builder", True, False),
        ("ssh-ng://builder?max-connections=2", True, False),
        ("https://cache.example.org", False, True),
        ("s3://bucket?region=eu-west-1", False, True),
        ("file:///srv/cache", False, True),
        ("/mnt", False, True),
    ],
)
def test_who_reads_the_source(source: str | None, is_ssh: bool, host_fetches: bool) -> None:
    request = CopyRequest(paths=(A,), source=source)
    assert (request.source_is_ssh, request.host_fetches) == (is_ssh, host_fetches)


NOTHING = CopyResult(transport="none")
SOME = CopyResult(
    transport="stream", missing=(Item(A, 3 * MIB), Item(B, 100), Item(C, 50)), copied=(B, C), attempts=2
)


def test_the_result_has_the_same_keys_whatever_happened() -> None:
    assert set(NOTHING.facts()) == set(SOME.facts())
    assert NOTHING.facts()["changed"] is False
    assert NOTHING.facts()["failed"] is False


def test_what_the_host_fetched_itself_was_not_copied() -> None:
    facts = SOME.facts()
    assert facts["changed"] is True
    assert facts["copied"] == [B, C]
    assert facts["copied_paths"] == 2
    assert facts["nar_size"] == 150
    assert facts["substituted"] == [A]
    assert facts["missing"][0] == {"path": A, "nar_size": 3 * MIB}


def test_the_result_of_a_big_copy_is_counts_and_the_first_paths() -> None:
    paths = [f"/nix/store/{number:032}-part" for number in range(3000)]
    items = tuple(Item(path, 7) for path in paths)
    big = CopyResult("ssh", missing=items, copied=tuple(paths[:2000]), unbuilt=tuple(paths[2000:]))
    facts = big.facts()
    assert facts["missing"] == [{"path": path, "nar_size": 7} for path in paths[:20]]
    assert (facts["copied"], facts["unbuilt"]) == (paths[:20], paths[2000:2020])
    assert facts["substituted"] == paths[2000:2020]
    counts = [facts[f"{name}_paths"] for name in ("missing", "copied", "substituted", "unbuilt")]
    assert counts == [3000, 2000, 1000, 1000]
    assert facts["nar_size"] == 14000
    assert [most_listed(every=False, verbosity=number) for number in (0, 2, 3)] == [20, 20, None]
    everything = big.facts(most=most_listed(every=True, verbosity=0))
    assert (len(everything["missing"]), everything["copied"]) == (3000, paths[:2000])
    assert set(everything) == set(facts)


def test_the_diff_lists_paths_and_sizes() -> None:
    assert diff_text(SOME) == f"+ {A} (3.0 MiB)\n+ {B} (100 B)\n+ {C} (50 B)\n3 paths, 3.0 MiB\n"
    assert diff_text(CopyResult("ssh", missing=(Item(A, 1),))).endswith("\n1 path, 1 B\n")


# What the programs of Nix 2.8, 2.26 and 2.34, sudo and OpenSSH 9 and 10 really print.
RECORDED = {
    "unsigned, daemon of 2.8": (
        [
            f"error: cannot add path '{A}' because it lacks a valid signature",
            "error: unexpected end-of-file",
        ],
        f"does not accept unsigned paths from this user: cannot add path '{A}' because it lacks a valid signature",
        "become: true",
        False,
    ),
    "unsigned, daemon of 2.26 and a chatty warning": (
        [
            "warning: ignoring the client-specified setting 'download-attempts', because it is a restricted setting "
            "and you are not a trusted user",
            f"error: cannot add path '{A}' because it lacks a signature by a trusted key",
            "error: unexpected end-of-file",
        ],
        f"cannot add path '{A}' because it lacks a signature by a trusted key",
        "trusted-public-keys",
        False,
    ),
    "coloured, from a terminal": (
        [
            f"\x1b[31;1merror:\x1b[0m cannot add path '\x1b[35;1m{A}\x1b[0m' because it lacks a valid signature"
        ],
        f": cannot add path '{A}' because it lacks a valid signature",
        "become",
        False,
    ),
    "disk full": (
        [
            f"error: writing to file: No space left on device [while copying {A}]",
            "error: unexpected end-of-file",
        ],
        "the disk of the host is full",
        "nix-collect-garbage",
        False,
    ),
    "link cut": (
        [
            "client_loop: send disconnect: Broken pipe",
            "error: unexpected end-of-file",
        ],
        "the connection to the host broke: client_loop: send disconnect: Broken pipe",
        "not sent a second time",
        True,
    ),
    "master gone, key refused": (
        [
            "admin@127.0.0.1: Permission denied (publickey,password).",
            "error: cannot connect to 'nixferry-target'",
        ],
        "the connection to the host broke: admin@127.0.0.1: Permission denied (publickey,password).",
        "Run again",
        True,
    ),
    "sshd restarts": (
        [
            "ssh: connect to host 127.0.0.1 port 22: Connection refused",
            "error: cannot connect to 'nixferry-target'",
        ],
        "Connection refused",
        "Run again",
        True,
    ),
    "no Nix for this user": (
        ["/bin/sh: 1: exec: nix-store: not found", "error: cannot connect to 'nixferry-target'"],
        "Nix was not found on the host",
        "Install Nix",
        False,
    ),
    "sudo wants a password": (
        ["sudo: a password is required", "error: cannot connect to 'nixferry-target'"],
        "privilege escalation asks for a password",
        "ansible_become_password",
        False,
    ),
    "daemon not for this user": (
        [
            "error: getting status of '/nix/var/nix/daemon-socket/socket': Permission denied",
        ],
        "the Nix daemon of the host cannot be reached",
        "allowed-users",
        False,
    ),
    "store of another user": (
        ["error: opening lock file '/nix/var/nix/db/big-lock': Permission denied"],
        "this user may not write to the Nix store",
        "become: true",
        False,
    ),
    "not built": (
        [f"error: path '{A}' is not valid"],
        f"path '{A}' is not valid",
        "Build the path first",
        False,
    ),
    "truncated": (
        ["gzip: stdin: unexpected end of file", "error: unexpected end-of-file"],
        "the data was corrupted on the way",
        "Run again",
        True,
    ),
    "name server away": (
        [
            "ssh: Could not resolve hostname web1: Temporary failure in name resolution",
            "error: cannot connect to 'nixferry-target'",
        ],
        "the connection to the host broke",
        "Run again",
        True,
    ),
    "database in use": (
        [
            "error: executing SQLite statement 'insert into Refs': database is busy (in '/nix/var/nix/db/db.sqlite')"
        ],
        "the host is busy",
        "Run again",
        True,
    ),
    "cache too slow": (
        ["error: unable to download 'https://cache.example.org/nix-cache-info': HTTP error 503"],
        "the cache did not answer",
        "`from`",
        True,
    ),
    "cache forbids": (
        ["error: unable to download 'https://cache.example.org/nix-cache-info': HTTP error 403"],
        "HTTP error 403",
        "",
        False,
    ),
    "read-only store": (
        ["error: opening file '/nix/store/.links/x': Read-only file system"],
        "may not write to the Nix store",
        "become: true",
        False,
    ),
    "protocol garbled, no other sign": (
        ["error: cannot connect to 'nixferry-target'"],
        "the store of the host could not be opened",
        "ansible HOST -m raw",
        True,
    ),
}


@pytest.mark.parametrize(("lines", "message", "remedy", "transient"), RECORDED.values(), ids=RECORDED.keys())
def test_recorded_failures(lines: list[str], message: str, remedy: str, transient: bool) -> None:
    error = explain(lines, "nothing said")
    assert message in error.cause
    assert remedy in error.remedy
    assert error.transient is transient
    assert error.step == "copy"
    assert "\x1b" not in error.text("web1")
    assert error.untrusted == ("signature" in message)


def test_an_unknown_failure_is_quoted_and_silence_is_named() -> None:
    assert explain(["info", "error: the moon is full", "bye"], "silence").cause == "the moon is full"
    assert explain(["", "  "], "silence").cause == "silence"


def test_every_cause_says_what_to_do() -> None:
    for cause in CAUSES:
        assert "{line}" in cause.message
        assert cause.remedy.endswith(".")
