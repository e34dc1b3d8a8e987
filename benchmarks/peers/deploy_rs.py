# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy-rs (https://github.com/serokell/deploy-rs): a file with nodes; it switches one host after the other.

What becomes the generation is a wrapper around the system, as deploy-rs' own library makes it: links to what the
toplevel has, beside them ``deploy-rs-activate``, which switches, and ``activate-rs``, which starts deploy-rs' program
on the host.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.contestants import Contestant, Deployment
from benchmarks.measure import Command
from benchmarks.systems import nix_environment

PROGRAM = "deploy"
ON_THE_HOST = "activate"

# Magic rollback stays on, which is the default: the deployer confirms over a login of its own.
FILE = """\
let
  systems = import @directory@ { };
  busybox = "${builtins.path { path = @directory@/seed; name = "mini-nixos-seed"; }}/bin/busybox";
  program = builtins.path { path = @program@; name = "deploy-rs-activate"; };
  wrapped = toplevel: derivation {
    name = "activatable-${toplevel.name}";
    inherit (toplevel) system;
    inherit toplevel program;
    builder = busybox;
    args = [ "sh" "-euc" ''
      ${busybox} mkdir $out
      for entry in $toplevel/*; do ${busybox} ln -s $entry $out/; done
      echo '#!/bin/sh
      cd /tmp
      exec $PROFILE/bin/switch-to-configuration switch' >$out/deploy-rs-activate
      echo "#!/bin/sh
      exec $program \\"\\$@\\"" >$out/activate-rs
      ${busybox} chmod 0755 $out/deploy-rs-activate $out/activate-rs
    '' ];
  };
in
{
  deploy.nodes = builtins.mapAttrs
    (name: system: {
      hostname = name;
      sshUser = "root";
      sshOpts = [ "-F" "@ssh_config@" ];
      profiles.system = { user = "root"; path = wrapped system.config.system.build.toplevel; };
    })
    systems;
}
"""


def contestants() -> list[Contestant]:
    """A whole deploy; it evaluates and builds all hosts before it copies."""
    return [Contestant("deploy-rs", "deploy, with evaluation, checks left out", _deploy, wraps=True)]


def _deploy(deployment: Deployment) -> Command:
    program = shutil.which(ON_THE_HOST)
    if program is None:
        raise FileNotFoundError(f"no {ON_THE_HOST} on PATH, which deploy-rs starts on the hosts")
    text = FILE
    for name, value in {
        "directory": deployment.systems.directory,
        "program": Path(program).resolve(),
        "ssh_config": deployment.ssh_config,
    }.items():
        text = text.replace(f"@{name}@", str(value))
    (deployment.work / "default.nix").write_text(text)
    settings = nix_environment()["NIX_CONFIG"] + "\nexperimental-features = nix-command flakes"
    return Command([PROGRAM, "--skip-checks", "--file", str(deployment.work), ""], {"NIX_CONFIG": settings})
