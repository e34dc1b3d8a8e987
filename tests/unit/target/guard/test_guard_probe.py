# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says about itself, and how it says it."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._guard.program import (
    GUARD_PARTS,
    guard_program,
    target_text,
)

EVERY_SHELL = pytest.mark.parametrize("host", list(SHELLS), indirect=True)


@EVERY_SHELL
def test_probe_describes_the_host_and_changes_nothing(host: Host) -> None:
    old = host.current
    second = host.toplevel("second")
    host.run_system(second)
    before = sorted(path for path in host.directory.rglob("*") if "/programs/" not in str(path))
    found = host.probe()
    assert (found.current, found.booted, found.profile_target) == (second, second, second)
    assert (found.generation, [(g.number, g.path, g.current) for g in found.generations]) == (
        2,
        [(1, old, False), (2, second, True)],
    )
    link = Path(f"{host.profile}-1-link")
    assert found.generations[0].date == int(link.lstat().st_mtime)
    assert found.system == f"{platform.machine()}-linux"
    assert found.nix_version == "2.18.1"
    assert (found.toplevel_valid, found.lock_holder, found.interrupted, found.unchanged) == (
        None,
        None,
        (),
        False,
    )
    assert sorted(path for path in host.directory.rglob("*") if "/programs/" not in str(path)) == before


@EVERY_SHELL
def test_probe_answers_everything_about_a_toplevel_in_one_round_trip(host: Host) -> None:
    new = host.toplevel("new")
    for name, text in (
        ("kernel", "6.12.2"),
        ("kernel-params", "quiet"),
        ("init-interface-version", "systemd 3"),
    ):
        (Path(new) / name).write_text(text)
    found = host.probe(toplevel=new, closure=True, dry_activate=True)
    assert (found.toplevel_valid, found.toplevel_missing, found.unchanged) == (True, (), False)
    assert found.toplevel_reboot_reasons == ("kernel", "kernel-params", "init-interface-version")
    assert found.reboot_reasons == ()
    assert found.closure_toplevel == ((new, len(new)), (f"{new}-dependency", len(f"{new}-dependency")))
    assert found.closure_current[0] == (host.current, len(host.current))
    assert (found.dry_activate_exit_code, "would restart web.service" in found.dry_activate_log) == (0, True)
    assert not host.state.exists()


def test_probe_names_what_is_wrong_with_a_toplevel(host: Host) -> None:
    assert host.probe(toplevel=str(host.directory / "store/nothing")).toplevel_valid is False
    new = host.toplevel("new")
    (Path(new) / "bin/switch-to-configuration").unlink()
    assert host.probe(toplevel=new).toplevel_missing == ("bin/switch-to-configuration",)
    assert host.probe(toplevel=new, specialisation="blue").toplevel_missing == ("specialisation/blue",)


def test_probe_recognises_what_already_runs(host: Host) -> None:
    assert host.probe(toplevel=host.current).unchanged


def test_probe_of_a_host_without_anything(host: Host) -> None:
    for name in ("current-system", "booted-system"):
        (host.directory / "run" / name).unlink()
    for link in host.profile.parent.iterdir():
        link.unlink()
    host.program("nix-store", "#!/bin/sh\nexit 127\n")
    found = host.probe(closure=True)
    assert (found.current, found.profile_target, found.generation, found.generations) == ("", "", None, ())
    assert (found.nix_version, found.failed_units) == ("", ())


def test_probe_tells_a_pending_reboot_and_failed_units(host: Host) -> None:
    host.with_service_manager(failed_before="ancient.service nixferry-x.service")
    new = host.toplevel("new")
    (Path(new) / "initrd").write_text("another")
    host.deploy(new)
    found = host.probe()
    assert found.reboot_reasons == ("initrd",)
    assert found.failed_units == ("ancient.service",)
    done = host.status(next(path.name for path in (host.state / "activations").iterdir()))
    assert (done.reboot_required, done.reboot_reasons) == (True, ("initrd",))


def test_dry_activation_that_hangs_is_ended(host: Host) -> None:
    new = host.toplevel("new")
    program = Path(new) / "bin/switch-to-configuration"
    program.write_text("#!/bin/sh\nsleep 60\n")
    found = host.probe(toplevel=new, dry_activate=True, timeout_activation=3)
    assert found.dry_activate_exit_code is None
    assert "it did not end within 3 s" in found.dry_activate_log


@EVERY_SHELL
def test_any_value_survives_the_way_to_the_host_and_back(host: Host) -> None:
    values = (
        " spaces  and\ttabs",
        "percent % %41 and newline\nmiddle",
        "quotes ' \" ` $HOME $(id) \\ \\n !",
        "ümläut € 🚀",
        "\x01\x1b[31m\x7f",
        "=leading",
        "-n",
        "*",
    )
    new = host.toplevel("new")
    Path(new, "bin/switch-to-configuration").write_text('#!/bin/sh\nprintf %s "$VALUE" >"$HOST/value"\n')
    for value in values:
        host.probe(toplevel=new, dry_activate=True, environment=(("VALUE", value),))
        assert (host.directory / "value").read_text() == value
        if value.isprintable():
            assert host.probe(profile=f"/{value}").profile == f"/{value}"


def test_log_is_bounded_and_keeps_its_end(host: Host) -> None:
    noise = 'i=0; while [ "$i" -lt 3000 ]; do echo "line $i of much noise"; i=$((i + 1)); done; echo the end'
    started = host.start(host.toplevel("new", test=noise))
    log = host.awaited(started.activation_id).log
    assert len(log) <= 16384
    assert "the end" in log


def test_bytes_that_are_no_text_do_not_break_the_answer(host: Host) -> None:
    started = host.start(host.toplevel("new", test="printf 'a\\377\\376\\001b\\r\\n'"))
    # The controller drops control characters of what a host says.
    assert "a\ufffd\ufffdb\n" in host.awaited(started.activation_id).log


def test_noise_before_the_answer_is_skipped(host: Host) -> None:
    noisy = host.programs / "noisy-shell"
    noisy.write_text(
        f"#!/bin/sh\necho 'Welcome to this host'\necho nixferry=0\nexec {host.programs}/guard-shell\n"
    )
    noisy.chmod(0o755)
    host.login_shell = "noisy-shell"
    assert host.probe().nix_version == "2.18.1"


@pytest.mark.skipif(
    not shutil.which("ps"), reason="ps is missing: a host without /proc, such as macOS, has it"
)
def test_host_without_proc_uses_other_means(host: Host) -> None:
    """As on macOS: no /proc, no readlink -f, no setsid, no fractions of a second."""
    host.environment["NIXFERRY_PROC"] = str(host.directory / "no-proc")
    host.program("readlink", '#!/bin/sh\n[ "$1" != -f ] || exit 1\nexec /usr/bin/readlink "$@"\n')
    host.program("realpath", "#!/bin/sh\nexit 1\n")
    host.program(
        "stat", '#!/bin/sh\n[ "$1" != -c ] || exit 1\n[ "$2" = %m ] && exec /usr/bin/stat -c %Y "$3"\n'
    )
    host.program("sleep", "#!/bin/sh\ncase $1 in *.*) exit 1 ;; esac\nexec /usr/bin/sleep 0.1\n")
    new = host.toplevel("new")
    assert host.deploy(new).phase == "committed"
    found = host.probe()
    assert found.current == new
    assert found.generations[1].date == int(Path(f"{host.profile}-2-link").lstat().st_mtime)


def test_sources_use_no_shell_extension_and_only_its_driver_names_a_program_of_a_kind() -> None:
    code = {part: re.sub(r"(?m)^\s*#.*$", "", target_text(part)) for part in GUARD_PARTS}
    assert [part for part, text in code.items() if "switch-to-configuration" in text] == ["kinds/nixos.sh"]
    for text in code.values():
        assert not re.search(r"(?m)^\s*(local|function|declare) |\[\[|<<<|\bpipefail\b", text)


def test_nothing_that_is_sent_is_evaluated() -> None:
    """The one `eval` of the guard is for names of variables that stand in its own text."""
    lines = [line.strip() for line in guard_program().text.splitlines() if re.search(r"\beval\b", line)]
    assert [line for line in lines if not line.startswith("#")] == 2 * ['eval "value=\\${$variable-}"']
