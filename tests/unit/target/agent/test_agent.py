# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pull agent's decisions, with the real shell code in every shell: pointers, clocks, windows, holds, quarantine."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from guard_host import SHELLS, Host
from pull_host import ask, run_agent

from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.pointers import (
    Pointer,
    sign_pointer,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.ssh_signature import SshKey

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
TOPLEVEL = f"/nix/store/{'a' * 32}-nixos-system-web1"
NOW = 1_800_000_000
POINTER = Pointer("web1", "stable", 100, NOW - 1000, NOW + 1000, TOPLEVEL)


def judged(host: Host, place: Path, content: bytes, *, now: int = NOW, **settings: str) -> str:
    """``good``, or the problem with a pointer."""
    (place / "incoming").write_bytes(content)
    line = (
        f'read_accepted; if read_pointer "$PULL/incoming" "$PULL/work" && judge_pointer {now}; then echo good '
        '"$POINTER_SERIAL" "$POINTER_TOPLEVEL"; else echo "$PROBLEM"; fi'
    )
    return " ".join(ask(host, place, line, **settings))


@in_every_shell
def test_a_good_pointer_is_taken_and_others_are_not(host: Host, place: Path, keys: dict[str, SshKey]) -> None:
    signed = sign_pointer(POINTER, keys["publisher"])
    assert judged(host, place, signed) == f"good 100 {TOPLEVEL}"
    assert judged(host, place, sign_pointer(POINTER, keys["other"])) == "signature"
    assert judged(host, place, signed.replace(b"serial 100", b"serial 101")) == "signature"
    assert judged(host, place, b"") == "format"
    assert judged(host, place, signed[:-40]) == "format"
    assert judged(host, place, signed + b"\n" * 20000) == "format"
    assert judged(host, place, signed.replace(b"stable", b"sta\0ble")) == "format"
    assert judged(host, place, b"<html>404</html>\n") == "format"
    assert judged(host, place, signed, PULL_HOST="web2") == "foreign"
    assert judged(host, place, signed, PULL_CHANNEL="testing") == "foreign"
    assert judged(host, place, signed, PULL_MIN_SERIAL="101") == "replayed"


@in_every_shell
@pytest.mark.parametrize(
    ("name", "default", "found"),
    [
        ("web1", "", "web1 https://x/hosts/web1"),
        ("web1.example.org", "nixos", "web1 https://x/hosts/web1"),
        ("localhost", "", "none"),
        ("localhost.localdomain", "", "none"),
        ("(none)", "", "none"),
        ("../web2", "", "none"),
        ("", "", "none"),
        # What systemd calls a machine without a name
        ("nixos", "nixos", "none"),
        ("nixos.example.org", "nixos.example.org", "none"),
        ("nixos", "", "nixos https://x/hosts/nixos"),
    ],
)
def test_a_host_without_a_fixed_name_is_called_what_the_machine_is(
    host: Host, place: Path, name: str, default: str, found: str
) -> None:
    if default:
        hint = place / "root/run/systemd/default-hostname"
        hint.parent.mkdir(parents=True)
        hint.write_text(f"{default}\n")
    lines = (
        'ROOT="$PULL/root"',
        f"uname() {{ echo {shlex.quote(name)}; }}",
        'if find_host; then echo "$PULL_HOST $PULL_URL"; else echo none$PULL_URL; fi',
    )
    assert ask(host, place, *lines, PULL_HOST="", PULL_URL="https://x/hosts") == [found]
    fixed = ask(host, place, *lines, PULL_HOST="db1", PULL_URL="https://x/hosts/db1")
    assert fixed == ["db1 https://x/hosts/db1"]


SIGNED = POINTER.text()
BAD_TEXTS = {
    "a line more": SIGNED + "more x\n",
    "a line less": SIGNED.replace("channel stable\n", ""),
    "another order": SIGNED.replace("host web1\nchannel stable\n", "channel stable\nhost web1\n"),
    "a field twice": SIGNED.replace("channel stable\n", "host web1\n"),
    "another version": SIGNED.replace("pointer 1", "pointer 2"),
    "a leading zero": SIGNED.replace("serial 100", "serial 0100"),
    "a sign": SIGNED.replace("serial 100", "serial -1"),
    "a number that overflows": SIGNED.replace("serial 100", "serial 9999999999999999999"),
    "no number": SIGNED.replace("serial 100", "serial "),
    "a file below a path": SIGNED.replace("web1\n", "web1\n").replace("-web1\n", "-web1/bin\n", 1),
    "a path out of the store": SIGNED.replace(TOPLEVEL, f"/nix/store/{'a' * 32}-x/../../../etc"),
    "a host with a slash": SIGNED.replace("host web1", "host ../web1"),
    "two spaces": SIGNED.replace("host web1", "host  web1"),
    "an expiry before the issue": SIGNED.replace(f"expires {NOW + 1000}", f"expires {NOW - 2000}"),
    "nothing": "",
}


@in_every_shell
def test_what_is_signed_is_parsed_strictly(host: Host, place: Path) -> None:
    found = {}
    for name, text in {"the good one": SIGNED, **BAD_TEXTS}.items():
        (place / "text").write_text(text)
        found[name] = ask(host, place, 'if parse_pointer "$PULL/text"; then echo yes; else echo no; fi')
    assert found.pop("the good one") == ["yes"]
    assert found == {name: ["no"] for name in BAD_TEXTS}


@in_every_shell
def test_serials_only_grow_and_name_one_system(host: Host, place: Path, keys: dict[str, SshKey]) -> None:
    (place / "accepted").write_text(POINTER.text())
    other = f"/nix/store/{'b' * 32}-nixos-system-web1"

    def of(**values: object) -> str:
        return judged(host, place, sign_pointer(replace(POINTER, **values), keys["publisher"]))  # type: ignore[arg-type]

    assert of() == f"good 100 {TOPLEVEL}"
    assert of(serial=99) == "replayed"
    assert of(toplevel=other) == "replayed"
    assert of(serial=101, toplevel=other) == f"good 101 {other}"
    # A state that was lost is not a floor of nothing.
    (place / "accepted").write_text("damaged\n")
    content = sign_pointer(replace(POINTER, serial=99), keys["publisher"])
    assert judged(host, place, content, PULL_MIN_SERIAL="100") == "replayed"


@in_every_shell
def test_a_wrong_clock_is_no_expiry(host: Host, place: Path, keys: dict[str, SshKey]) -> None:
    signed = sign_pointer(POINTER, keys["publisher"])
    assert judged(host, place, signed, now=NOW + 999).startswith("good")
    assert judged(host, place, signed, now=NOW + 1000) == "expired"
    # Before it was issued, by more than clocks may differ.
    assert judged(host, place, signed, now=NOW - 1299).startswith("good")
    assert judged(host, place, signed, now=NOW - 1301) == "clock"
    assert judged(host, place, signed, now=0) == "clock"
    # The installation, and the last accepted pointer, are times that have been.
    (place / "not_before").write_text(f"{NOW + 500}\n")
    assert judged(host, place, signed, now=NOW) == "clock"
    (place / "not_before").write_text("nonsense\n")
    assert judged(host, place, signed, now=NOW).startswith("good")
    (place / "accepted").write_text(replace(POINTER, serial=99, issued=NOW + 900, expires=NOW + 901).text())
    assert judged(host, place, signed, now=NOW) == "clock"


WINDOWS = {
    ("", "Mon", "03:00"): True,
    ("02:00-04:00", "Mon", "02:00"): True,
    ("02:00-04:00", "Mon", "03:59"): True,
    ("02:00-04:00", "Mon", "04:00"): False,
    ("02:00-04:00", "Mon", "01:59"): False,
    ("08:09-09:08", "Tue", "08:59"): True,
    ("22:00-04:00", "Wed", "23:59"): True,
    ("22:00-04:00", "Wed", "00:00"): True,
    ("22:00-04:00", "Wed", "21:59"): False,
    ("Sat,Sun 22:00-04:00", "Sat", "22:00"): True,
    # The night belongs to the day on which it begins.
    ("Sat,Sun 22:00-04:00", "Mon", "03:00"): True,
    ("Sat,Sun 22:00-04:00", "Sat", "03:00"): False,
    ("Fri 22:00-24:00", "Fri", "23:59"): True,
    ("Fri 22:00-24:00", "Sat", "00:00"): False,
    ("02:00-03:00\nTue 12:00-13:00", "Tue", "12:30"): True,
    ("02:00-03:00\nTue 12:00-13:00", "Wed", "12:30"): False,
    ("00:00-24:00", "Thu", "00:00"): True,
    ("nonsense", "Thu", "00:00"): False,
    ("25:00-26:00", "Thu", "01:00"): False,
}


@in_every_shell
def test_windows(host: Host, place: Path) -> None:
    lines = [
        f"if is_in_window {shlex.quote(window)} {day} {hour}; then echo open; else echo closed; fi"
        for window, day, hour in WINDOWS
    ]
    found = dict(zip(WINDOWS, ask(host, place, *lines), strict=True))
    assert found == {case: "open" if is_open else "closed" for case, is_open in WINDOWS.items()}


@in_every_shell
def test_a_hold_that_cannot_be_read_holds(host: Host, place: Path) -> None:
    def held(text: str) -> list[str]:
        (place / "hold").write_text(text)
        return ask(host, place, f'read_hold {NOW}; echo "$HELD"')

    assert ask(host, place, f'read_hold {NOW}; echo "$HELD"') == [""]
    assert held(f"{NOW + 1} until tomorrow\n") == ["until tomorrow"]
    assert held(f"{NOW} over\n") == [""]
    assert held("0 for ever\n") == ["for ever"]
    assert held("0\n") == ["no reason given"]
    assert held("tomorrow please\n") == ["please"]
    assert held("") == ["no reason given"]
    assert held("99999999999999999999 overflow\n") == ["overflow"]


@in_every_shell
def test_a_path_is_kept_back_even_if_the_disk_takes_no_file(host: Host, place: Path) -> None:
    look = f"if is_kept_back {TOPLEVEL}; then echo kept; else echo free; fi"
    assert ask(host, place, look) == ["free"]
    assert ask(host, place, f"quarantine {TOPLEVEL} 'it failed'", look) == ["kept"]
    assert (place / f"quarantine/{Path(TOPLEVEL).name}").read_text() == "it failed\n"
    # A file where the directory should be is a disk that takes nothing.
    (place / f"quarantine/{Path(TOPLEVEL).name}").unlink()
    (place / "quarantine").rmdir()
    (place / "quarantine").write_text("")
    assert ask(host, place, f"quarantine {TOPLEVEL} 'it failed'", look) == ["kept"]


@in_every_shell
def test_an_activation_is_tried_twice_if_it_was_interrupted(host: Host, place: Path) -> None:
    again = f"if count_try {TOPLEVEL}; then echo again; else echo enough; fi"
    other = f"if count_try {TOPLEVEL}-2; then echo again; else echo enough; fi"
    assert ask(host, place, again, again, other, again) == ["again", "enough", "again", "again"]


FINGERPRINT, OTHER = "A" * 40, "B" * 40
GOOD = "[GNUPG:] GOODSIG AAAAAAAAAAAAAAAA Ann <ann@example.org>"
VALID = f"[GNUPG:] VALIDSIG {OTHER} 2027-01-15 1800000000 0 4 0 22 8 00 {FINGERPRINT}"
BEFORE = (
    "[GNUPG:] NEWSIG ann@example.org\n[GNUPG:] KEY_CONSIDERED x 0\n[GNUPG:] SIG_ID x 2027-01-15 1800000000"
)
SIGNATURES = {
    "the primary key": (f"{BEFORE}\n{GOOD}\n{VALID}\n[GNUPG:] TRUST_FULLY 0 always", FINGERPRINT, True),
    "its subkey": (f"{GOOD}\n{VALID}", f"{'C' * 40} {OTHER}", True),
    "another key": (f"{GOOD}\n{VALID}", "C" * 40, False),
    "a part of a fingerprint": (f"{GOOD}\n{VALID}", FINGERPRINT[:16], False),
    "no fingerprint": (f"{GOOD}\n{VALID}", "", False),
    "no good one": (VALID, FINGERPRINT, False),
    "no valid one": (GOOD, FINGERPRINT, False),
    "two": (f"{GOOD}\n{VALID}\n{GOOD}\n{VALID}", FINGERPRINT, False),
    "a bad one beside it": (f"{GOOD}\n{VALID}\n[GNUPG:] BADSIG A x", FINGERPRINT, False),
    "an expired key": (f"{GOOD.replace('GOODSIG', 'EXPKEYSIG')}\n{VALID}", FINGERPRINT, False),
    "a revoked key": (f"{GOOD.replace('GOODSIG', 'REVKEYSIG')}\n{VALID}", FINGERPRINT, False),
    "a signature of a key": (f"{GOOD}\n{VALID.replace(' 00 ', ' 13 ')}", FINGERPRINT, False),
    "too few words": (f"{GOOD}\n{VALID.rpartition(' ')[0]}", OTHER, False),
    "words in a name": (f"{GOOD} [GNUPG:] VALIDSIG {FINGERPRINT}", FINGERPRINT, False),
    "other words": (f"gpg: {GOOD}\n{VALID}", FINGERPRINT, False),
    "patterns": (f"{GOOD}\n{VALID.replace(FINGERPRINT, '*')}", FINGERPRINT, False),
    "nothing": ("", FINGERPRINT, False),
}


@in_every_shell
def test_what_gpg_says_is_read_strictly(host: Host, place: Path) -> None:
    found = {}
    for name, (said, trusted, _good) in SIGNATURES.items():
        line = f"if is_trusted_openpgp {shlex.quote(said)}; then echo yes; else echo no; fi"
        found[name] = ask(host, place, line, PULL_COMMIT_OPENPGP_FINGERPRINTS=trusted) == ["yes"]
    assert found == {name: good for name, (_said, _trusted, good) in SIGNATURES.items()}


# Nix says what it needs, and then fails; the disk has room before, and little or much after that.
NIX_STORE = """\
#!/bin/sh
case $* in
    *--check-validity*) exit 1 ;;
    *--dry-run*) echo "these paths (1.50 MiB download, 12.30 MiB unpacked):" >&2 ;;
    *) cp "$HOST/later" "$HOST/free"; exit 1 ;;
esac
"""
DF = '#!/bin/sh\necho header\necho "disk 1 1 $(cat "$HOST/free") 1% /nix"\n'


# That of busybox has a df of its own.
@pytest.mark.parametrize("host", [shell for shell in SHELLS if shell != "busybox"], indirect=True)
@pytest.mark.parametrize(
    ("free", "later", "code"),
    [("1000000", "1000000", 74), ("1000000", "100", 73), ("5000", "5000", 73)],
    ids=["another fault", "full meanwhile", "no room from the start"],
)
def test_a_full_disk_is_told_from_a_closure_that_is_not_there(
    host: Host, place: Path, free: str, later: str, code: int
) -> None:
    host.program("nix-store", NIX_STORE)
    host.program("df", DF)
    (host.directory / "free").write_text(free)
    (host.directory / "later").write_text(later)
    done = run_agent(
        host,
        place,
        f"STATE_DIRECTORY=$PULL POINTER_TOPLEVEL={TOPLEVEL}; (realise); echo code=$?",
        PULL_MIN_FREE="0",
    )
    assert f"code={code}" in done.stdout.splitlines(), done.stderr
