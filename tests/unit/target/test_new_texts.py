# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that has no text yet is written without a process; other files are replaced as a whole."""

from __future__ import annotations

import pytest
from guard_disk import MOST_SHELLS
from guard_host import SHELLS, Host, run_library

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import target_text

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
PARTS = ("base", "answer", "time", "files")
PLACES = """
STATE=$HOST/state UNSAVED=$HOST/unsaved COPIES=$HOST/copies
DIR=$STATE/activations/a COPY=$COPIES/activations/a
"""
MAKE = 'mkdir -p "$DIR" "$COPY"\n'
# What would start a process to change a file
NO_PROGRAMS = 'mv() { echo "mv: $*"; false; }\nrm() { echo "rm: $*"; command rm "$@"; }\n'


def run(host: Host, code: str) -> list[str]:
    """The lines that ``code`` prints behind the guard's library."""
    script = "\n".join([*(target_text(f"lib/{part}.sh") for part in PARTS), PLACES, code])
    return run_library(host, script, 60).stdout.splitlines()


@EVERY_SHELL
def test_a_first_text_needs_no_process(host: Host) -> None:
    code = 'put "$DIR/value" one; echo $?; true >"$DIR/empty"; put "$DIR/empty" two; echo $?'
    assert run(host, f'{MAKE}{NO_PROGRAMS}{code}; cat "$DIR"/* "$COPY"/*') == [
        "0",
        "0",
        "two",
        "one",
        "two",
        "one",
    ]


@EVERY_SHELL
def test_a_text_is_never_replaced_by_a_plain_write(host: Host) -> None:
    """What would become of it if the process was killed after the file was opened?"""
    code = 'put "$DIR/value" one; put "$DIR/value" two; echo $?; cat "$DIR/value" "$COPY/value"'
    said = run(host, MAKE + NO_PROGRAMS + code)
    assert [line for line in said if line[:3] not in ("mv:", "rm:")] == ["1", "one", "one"]
    assert run(host, 'put "$DIR/value" two; cat "$DIR/value" "$COPY/value"') == ["two", "two"]


@EVERY_SHELL
def test_other_files_and_long_texts_are_always_renamed(host: Host) -> None:
    """Readers of other files may ask whether a file exists. A long text may be written in pieces."""
    code = 'mv() { [ -s "$2" ] && echo renamed; command mv "$@"; }\nput "$STATE/other" one\nunset DIR COPIES'
    long = "put \"$STATE/activations/a/long\" \"$(printf '%501s' '')\""
    elsewhere = 'unset STATE; put "$HOST/elsewhere" one'
    assert run(host, f"{MAKE}{code}; {long}; {elsewhere}") == ["renamed"] * 3


@EVERY_SHELL
def test_a_first_text_that_does_not_fit_leaves_no_file(host: Host) -> None:
    """Files may be made but hold nothing: a file size limit stands in for a full disk."""
    code = 'trap "" XFSZ; ulimit -f 0; put "$DIR/value" one 2>/dev/null; echo $?; ls "$DIR"'
    assert run(host, MAKE + code) == ["1"]


@EVERY_SHELL
def test_what_main_memory_keeps_for_the_disk_is_always_renamed(host: Host) -> None:
    """It is read first. A kill must not leave an empty text there."""
    code = 'put() { false; }\nmv() { [ -s "$2" ] && echo renamed; command mv "$@"; }\nkeep "$DIR/value" one'
    assert run(host, f'{MAKE}{code}; cat "$UNSAVED"/*/*/*') == ["renamed", "one"]


@EVERY_SHELL
@pytest.mark.parametrize(
    ("disk", "copy", "read"),
    [
        ("one", "", "one"),
        ("one", "two", "two"),
        ("", "", ""),
        ("", "two", "two"),
        (None, "", ""),
        (None, "two", "two"),
        ("one", None, "one"),
    ],
)
def test_a_copy_that_a_kill_has_cut_short_hides_no_text(
    host: Host, disk: str | None, copy: str | None, read: str
) -> None:
    lines = [
        f'printf %s "{text}" >"${place}/value"'
        for place, text in (("DIR", disk), ("COPY", copy))
        if text is not None
    ]
    assert run(host, "\n".join([MAKE, *lines, 'read_text "$DIR/value"; echo "[$TEXT]"'])) == [f"[{read}]"]


@EVERY_SHELL
def test_a_reader_sees_nothing_or_all_of_a_first_text(host: Host) -> None:
    code = """
text=$(printf '%498s' '').
number=0
while [ $number -lt 300 ]; do
    number=$((number + 1)) && put_new "$DIR/$number" "$text" && put_new "$COPY/$number" "$text"
done &
number=1 seen=0 tries=0
while [ $number -le 300 ] && [ $tries -lt 100000 ]; do
    tries=$((tries + 1))
    read_text "$DIR/$number"
    case $TEXT in '') ;; "$text") number=$((number + 1)) ;; *) echo torn && break ;; esac
done
wait
echo "$number"
"""
    assert run(host, MAKE + code) == ["301"]


@EVERY_SHELL
def test_a_file_is_emptied_without_a_process(host: Host) -> None:
    code = 'put "$DIR/value" one; empty_out "$DIR/value"; read_text "$DIR/value"; echo "[$TEXT]"; put "$DIR/value" two'
    check = '; read_text "$DIR/value"; echo "[$TEXT]"; empty_out "$DIR/missing"; ls "$DIR" "$COPY"'
    assert [*run(host, MAKE + NO_PROGRAMS + code + check)][:2] == ["[]", "[two]"]
    assert not (host.directory / "state/activations/a/missing").exists()


@MOST_SHELLS
def test_a_file_that_cannot_be_emptied_counts_as_empty(plain: Host) -> None:
    code = 'put "$DIR/value" one; chmod 400 "$DIR/value"; chmod 500 "$DIR"; empty_out "$DIR/value"'
    assert run(plain, f'{MAKE}{code}; read_text "$DIR/value"; echo "[$TEXT]"') == ["[]"]
    assert (plain.directory / "state/activations/a/value").read_text() == "one\n"
    (plain.directory / "state/activations/a").chmod(0o700)
