# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The block of trusted keys in nix.conf, with the real script in every shell."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from guard_host import SHELLS, Host

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.signing import checked_public_keys
from ansible_collections.nixferry.deploy.plugins.plugin_utils._keys.trusted import (
    TrustedKeys,
    parse_trusted_keys,
    trusted_keys_script,
)

in_every_shell = pytest.mark.parametrize("host", list(SHELLS), indirect=True)
FIRST, SECOND, CACHE = (
    f"{name}:{base64.b64encode(bytes([number]) * 32).decode()}"
    for number, name in enumerate(("deploy-1", "deploy-2", "cache.nixos.org-1"))
)
# "nix config show", with the settings that matter here; an old one knows "show-config" only.
NIX = """\
#!/bin/sh
case $* in
    *show-config) ;;
    *"config show") [ ! -e "$FAULTS/old-nix" ] || exit 1 ;;
    *) exit 1 ;;
esac
text=$(cat "$HOST"/etc/nix/*.conf 2>/dev/null)
keys=$(echo "$text" | sed -n 's/^\\(extra-\\)\\{0,1\\}trusted-public-keys = //p' | tr '\\n' ' ')
[ ! -e "$FAULTS/deaf-nix" ] || keys=
echo "substituters = https://example.org"
echo "trusted-public-keys = $keys"
"""


@pytest.fixture
def configuration(host: Host) -> Path:
    host.program("nix", NIX)
    # The script asks who it is; a test need not be root.
    host.program("id", "#!/bin/sh\necho 0\n")
    file = host.directory / "etc/nix/nix.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"access-tokens = github.com=geheim\ntrusted-public-keys = {CACHE}")
    file.chmod(0o640)
    return file


def manage(host: Host, *keys: str, wanted: str = "present", dry_run: bool = False) -> TrustedKeys:
    completed = host.run(trusted_keys_script(keys, wanted=wanted, dry_run=dry_run))
    assert "geheim" not in completed.stdout + completed.stderr
    return parse_trusted_keys(completed)


@in_every_shell
def test_a_key_comes_and_goes(host: Host, configuration: Path) -> None:
    original = configuration.read_text()
    told = manage(host, FIRST, dry_run=True)
    assert (told.before, told.after, told.file) == ((), (FIRST,), str(configuration))
    assert configuration.read_text() == original

    assert manage(host, FIRST).changed
    assert configuration.read_text().splitlines() == [
        *original.splitlines(),
        "# BEGIN public keys of deploys, kept by nixferry.deploy.nix_trusted_key",
        f"extra-trusted-public-keys = {FIRST}",
        "# END public keys of deploys",
    ]
    assert configuration.stat().st_mode & 0o777 == 0o640
    assert not manage(host, FIRST).changed

    added = manage(host, FIRST, SECOND)
    assert (added.before, added.after) == ((FIRST,), (FIRST, SECOND))
    assert manage(host, FIRST, wanted="absent").after == (SECOND,)
    assert manage(host, SECOND, wanted="absent").after == ()
    assert not manage(host, SECOND, wanted="absent").changed
    assert configuration.read_text() == original + "\n"


@in_every_shell
def test_a_key_that_another_line_brings(host: Host, configuration: Path) -> None:
    host.fault("old-nix")
    assert not manage(host, CACHE).changed
    with pytest.raises(NixferryError, match="another line of the configuration"):
        manage(host, CACHE, wanted="absent")
    assert "BEGIN" not in configuration.read_text()


def test_there_need_be_no_file(host: Host, configuration: Path) -> None:
    configuration.unlink()
    assert manage(host, FIRST).changed
    assert configuration.stat().st_mode & 0o777 == 0o644


def test_determinate_nix_keeps_nix_conf_for_itself(host: Host, configuration: Path) -> None:
    configuration.write_text("!include nix.custom.conf\n")
    assert manage(host, FIRST).file == str(configuration.with_name("nix.custom.conf"))
    assert configuration.read_text() == "!include nix.custom.conf\n"
    assert not manage(host, FIRST).changed


def test_a_generated_file_is_not_touched(host: Host, configuration: Path) -> None:
    made = host.directory / "nix/store/1-nix.conf"
    made.parent.mkdir(parents=True)
    made.write_text(f"trusted-public-keys = {CACHE}\n")
    configuration.unlink()
    configuration.symlink_to(made)
    with pytest.raises(NixferryError, match="made by the configuration") as error:
        manage(host, FIRST, dry_run=True)
    assert "nix.settings.trusted-public-keys" in error.value.remedy
    # What the configuration says already is fine.
    assert not manage(host, CACHE).changed


def test_only_root_may(host: Host, configuration: Path) -> None:
    host.program("id", "#!/bin/sh\necho 1000\n")
    with pytest.raises(NixferryError, match="only root") as error:
        manage(host, FIRST)
    assert "become" in error.value.remedy
    assert "BEGIN" not in configuration.read_text()


def test_a_key_that_nix_does_not_take_is_removed_again(host: Host, configuration: Path) -> None:
    original = configuration.read_text()
    host.fault("deaf-nix")
    with pytest.raises(NixferryError, match="does not take the key deploy-1"):
        manage(host, FIRST)
    assert configuration.read_text() == original + "\n"


@in_every_shell
@pytest.mark.parametrize("answer", ["exit 1", "exit 0", "echo 'substituters = x'", "kill -KILL $$"])
def test_a_key_counts_as_gone_only_if_nix_says_so(host: Host, configuration: Path, answer: str) -> None:
    """Another line still trusts the key, and Nix does not print its settings."""
    manage(host, FIRST)
    before = configuration.read_text()
    host.program("nix", f"#!/bin/sh\n{answer}\n")
    for key in (CACHE, FIRST):
        for dry_run in (True, False):
            with pytest.raises(NixferryError, match="does not print the setting"):
                manage(host, key, wanted="absent", dry_run=dry_run)
    assert configuration.read_text() == before


def test_settings_that_nix_stops_to_print_are_taken_back(host: Host, configuration: Path) -> None:
    manage(host, FIRST)
    before = configuration.read_text()
    broken = 'grep -q "^extra" "$HOST/etc/nix/nix.conf" || exit 1\n'
    host.program("nix", NIX.replace("#!/bin/sh\n", f"#!/bin/sh\n{broken}"))
    with pytest.raises(NixferryError, match="does not print its settings any more"):
        manage(host, FIRST, wanted="absent")
    assert configuration.read_text() == before


@pytest.mark.usefixtures("configuration")
def test_the_daemon_is_restarted_if_it_runs(host: Host) -> None:
    (host.directory / "run/systemd/system").mkdir(parents=True)
    host.program("systemctl", '#!/bin/sh\necho "$*" >>"$HOST/systemctl"\n')
    manage(host, FIRST)
    manage(host, FIRST)
    calls = (host.directory / "systemctl").read_text().splitlines()
    assert calls.count("restart nix-daemon.service") == 1
    host.program("systemctl", '#!/bin/sh\n[ "$1" != restart ]\n')
    with pytest.raises(NixferryError, match="did not start again"):
        manage(host, SECOND)


@pytest.mark.usefixtures("configuration")
@pytest.mark.parametrize(("code", "works"), [(3, True), (4, True), (1, False), (137, False)])
def test_a_daemon_of_which_nothing_is_known_is_not_taken_for_a_stopped_one(
    host: Host, code: int, works: bool
) -> None:
    """3 is the exit code for an inactive unit, 4 for none of that name. Others say nothing about the unit."""
    (host.directory / "run/systemd/system").mkdir(parents=True)
    host.program("systemctl", f"#!/bin/sh\nexit {code}\n")
    if works:
        manage(host, FIRST)
    else:
        with pytest.raises(NixferryError, match="did not start again"):
            manage(host, FIRST)


def test_a_secret_key_is_neither_taken_nor_shown() -> None:
    secret = f"deploy-1:{base64.b64encode(bytes(64)).decode()}"
    with pytest.raises(NixferryError, match="'deploy-1' is not a valid public key") as error:
        checked_public_keys([secret], step=Step.TRUST_KEYS)
    assert secret not in error.value.text("web1")
    assert checked_public_keys([f" {FIRST}\n", FIRST], step=Step.TRUST_KEYS) == [FIRST]
