# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines file: what Nix reads in it, and that a change of one builder leaves the rest alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.module_utils._builders import machines
from ansible_collections.nixferry.deploy.plugins.module_utils._builders.machines import Machine, MachinesError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi"
FOREIGN = """\
# The office; do not touch.
ssh://office x86_64-linux /root/key 8 2 kvm,big-parallel
\tssh-ng://lab.example aarch64-linux ; ssh://other\t- - 2 # two on a line\r

@/etc/nix/more-machines
"""


def test_a_full_entry_is_read_as_nix_reads_it() -> None:
    line = Machine(
        uri="ssh-ng://big?compress=true",
        systems=("x86_64-linux", "i686-linux"),
        ssh_key="/etc/nix/key",
        max_jobs=4,
        speed_factor=1.5,
        supported_features=("kvm",),
        mandatory_features=("big-parallel",),
        host_key=KEY,
    ).line()

    fields = line.split()
    assert fields[:7] == [
        "ssh-ng://big?compress=true",
        "x86_64-linux,i686-linux",
        "/etc/nix/key",
        "4",
        "1.5",
        "kvm,big-parallel",
        "big-parallel",
    ]
    read = machines.parse(line)
    assert (read.max_jobs, read.speed_factor, read.host_key) == (4, 1.5, KEY)
    assert read.supported_features == ("kvm", "big-parallel")


@pytest.mark.parametrize("line", ["big", "big - - - - - - -", "big\t-  -"])
def test_what_is_left_out_has_the_defaults_of_nix(line: str) -> None:
    assert machines.parse(line) == Machine(uri="big")


def test_an_address_without_a_scheme_is_legacy_ssh() -> None:
    machine = machines.parse("user@big x86_64-linux")
    assert (machine.scheme, machine.user, machine.host) == ("ssh", "user", "big")


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("ssh-ng://big", "big"),
        ("ssh://root@big:22?ssh-key=/x", "big"),
        ("ssh-ng://[::1]:22", "[::1]"),
        ("big", "big"),
    ],
)
def test_the_host_of_an_address(uri: str, host: str) -> None:
    assert Machine(uri).host == host


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("big - - auto", "field 4"),
        ("big - - -1", "field 4"),
        ("big - - 1_0", "field 4"),
        ("big - - 1 fast", "field 5"),
        ("big - - 1 nan", "field 5"),
        ("big - - 1 -2", "field 5"),
        ("- x86_64-linux", "without an address"),
        ("big - - 1 1 - - ???", "not base64"),
        # The key itself is base64 too: Nix would take it, and then believe any host.
        ("big - - 1 1 - - AAAAC3NzaC1lZDI1NTE5AAAAIDbnVCLVTWWnH0zhWQvKs9G9rlYTGdoQw3oXKsoaeLfi", "TYPE KEY"),
        ("big - - 1 1 - - - extra", "more than 8"),
    ],
)
def test_what_nix_would_not_take_is_an_error(line: str, problem: str) -> None:
    with pytest.raises(MachinesError, match=problem):
        machines.parse(line)


def test_a_speed_factor_of_zero_counts_as_one() -> None:
    assert machines.parse("big - - 1 0").speed_factor == 1.0


def test_entries_end_with_lines_and_semicolons_and_comments_hold_none() -> None:
    assert [entry.text for entry in machines.entries(FOREIGN)] == [
        "ssh://office x86_64-linux /root/key 8 2 kvm,big-parallel",
        "ssh-ng://lab.example aarch64-linux",
        "ssh://other\t- - 2",
        "@/etc/nix/more-machines",
    ]


def test_a_new_builder_goes_to_the_end() -> None:
    assert machines.with_entry(FOREIGN, "big", "ssh-ng://big x") == FOREIGN + "ssh-ng://big x\n"
    assert machines.with_entry("", "big", "ssh-ng://big x") == "ssh-ng://big x\n"
    assert machines.with_entry("a b", "big", "ssh-ng://big x") == "a b\nssh-ng://big x\n"


def test_a_builder_keeps_its_place() -> None:
    changed = machines.with_entry(FOREIGN, "lab.example", "ssh-ng://lab.example riscv64-linux")
    expected = FOREIGN.replace("ssh-ng://lab.example aarch64-linux", "ssh-ng://lab.example riscv64-linux")
    assert changed == expected


def test_a_second_entry_of_the_same_builder_goes() -> None:
    text = "ssh://big a\nssh-ng://root@big b # mine\nssh://small\n"
    assert machines.with_entry(text, "big", "ssh-ng://big c") == "ssh-ng://big c\n# mine\nssh://small\n"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("lab.example", "ssh://other\t- - 2 # two on a line\r\n"),
        ("other", "\tssh-ng://lab.example aarch64-linux # two on a line\r\n"),
    ],
)
def test_removing_one_of_two_on_a_line(name: str, line: str) -> None:
    left = machines.with_entry(FOREIGN, name, "").splitlines(keepends=True)
    before = FOREIGN.splitlines(keepends=True)
    assert left[:2] + left[3:] == before[:2] + before[3:]
    assert left[2].split() == line.split()


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert machines.with_entry(FOREIGN, "big", "") == FOREIGN


def test_toml_is_refused() -> None:
    with pytest.raises(MachinesError, match="TOML"):
        machines.with_entry('version = 1\n[machines.big]\nuri = "ssh://big"\n', "big", "ssh://big")


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        ("# ours; do not edit\n", (2, 8, 0), "line 1: this Nix reads the text after ';'"),
        ("# ours; do not edit\n", (2, 26, 3), "line 1: this Nix reads the text after ';'"),
        ("# ours; do not edit\n", (2, 24, 15), None),
        ("# ours; do not edit\n", (2, 28, 2), None),
        ("# ours; do not edit\n", (2, 34, 0), None),
        ("# ours; do not edit\n", None, None),
        ("ssh://a\n  \n", (2, 18, 1), "line 2: this Nix reads a line of spaces"),
        ("ssh://a - - 0\n", (2, 34, 0), "has no job slots"),
        ("ssh-ng://localhost\n", (2, 34, 0), "is this machine itself"),
        ("ssh-ng://user@localhost\n", (2, 34, 0), None),
        ("ssh://a - - 1 1.5\n", (2, 8, 0), "speed factor"),
        ("ssh://a - - 1 1.5\n", (2, 26, 0), None),
        ("\n\nssh://a - - auto\n", (2, 34, 0), "line 3: ssh://a: max jobs"),
    ],
)
def test_lines_that_break_builds_are_named(
    text: str, version: tuple[int, ...] | None, expected: str | None
) -> None:
    found = machines.hazards(text, version)
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]


def test_lix_splits_as_older_versions_of_nix_do() -> None:
    assert machines.hazards("# a; b\n", (2, 95, 0), lix=True)


# --- whatever the file looks like --------------------------------------------------------------------------------

words = st.text(alphabet="ab-./,:@?=#", min_size=1, max_size=8)
names = st.sampled_from(["big", "small", "a.b", "x"])
pieces = st.one_of(
    st.builds("ssh://{} {}".format, names, words),
    st.builds("ssh-ng://root@{}:22 x86_64-linux - 4".format, names),
    st.builds("# {}".format, words),
    st.builds("@/{}".format, words),
    st.sampled_from(["", " ", ";", "\t", "\r", " ; "]),
    words,
)
lines = st.lists(pieces, max_size=4).map(" ".join)
texts = st.lists(lines, max_size=6).flatmap(
    lambda rows: st.sampled_from(["\n".join(rows), "".join(f"{row}\n" for row in rows)])
)
NEW = "ssh-ng://big x86_64-linux /etc/nix/big_ed25519 4"


def others(text: str, name: str) -> list[str]:
    return [entry.text for entry in machines.entries(text) if machines.host_of(entry) != name]


def comments(text: str) -> list[str]:
    return [line.partition("#")[2].rstrip("\r") for line in text.split("\n") if "#" in line]


@given(texts)
def test_adding_leaves_every_other_entry_and_comment(text: str) -> None:
    if machines.is_toml(text):
        return
    added = machines.with_entry(text, "big", NEW)
    assert others(added, "big") == others(text, "big")
    assert comments(added) == comments(text)
    assert [entry.text for entry in machines.entries(added) if machines.host_of(entry) == "big"] == [NEW]
    assert machines.with_entry(added, "big", NEW) == added


@given(texts)
def test_removing_leaves_every_other_entry_and_comment(text: str) -> None:
    if machines.is_toml(text):
        return
    removed = machines.with_entry(text, "big", "")
    assert others(removed, "big") == others(text, "big")
    assert comments(removed) == comments(text)
    assert not [entry for entry in machines.entries(removed) if machines.host_of(entry) == "big"]
    assert machines.with_entry(removed, "big", "") == removed


@given(texts)
def test_adding_and_removing_brings_the_file_back(text: str) -> None:
    fresh = machines.with_entry(text, "new", "ssh-ng://new x86_64-linux")
    back = machines.with_entry(fresh, "new", "")
    assert back in (text, text + "\n")


@given(
    st.builds(
        Machine,
        uri=st.builds("{}://{}".format, st.sampled_from(["ssh", "ssh-ng"]), names),
        systems=st.lists(st.sampled_from(["x86_64-linux", "aarch64-linux"]), unique=True).map(tuple),
        ssh_key=st.sampled_from(["", "/etc/nix/key"]),
        max_jobs=st.integers(0, 1000),
        speed_factor=st.sampled_from([0.5, 1.0, 2.0, 3.75]),
        supported_features=st.lists(st.sampled_from(["kvm", "benchmark"]), unique=True).map(tuple),
        mandatory_features=st.just(()),
        host_key=st.sampled_from(["", KEY]),
    )
)
def test_what_is_written_is_read_back(machine: Machine) -> None:
    assert machines.parse(machine.line()) == machine
