# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
{
  description = "Deploy Nix systems with Ansible: what the collection nixferry.deploy offers to Nix itself";

  outputs = { self }: {
    # How nix_build finds the derivation behind an attribute path, as data that survives JSON:
    #   nix eval --json --apply 'describe: describe {
    #     root = (builtins.getFlake "...").nixosConfigurations; arguments = { }; prefix = [ ];
    #     requests = { web1 = [ "web1" ]; };
    #   }' nixferry#lib.describe
    lib.describe = import ./plugins/plugin_utils/nix/evaluate.nix;

    # Fleet files of other tools as one attribute set: (lib.fleet { files = [ ./network.nix ]; }).hosts.web1.toplevel
    lib.fleet = import ./plugins/plugin_utils/nix/fleet;

    # The options `deployment.*`, for hosts in nixosConfigurations that say for themselves how they are reached.
    nixosModules.deployment = { config, lib, pkgs, ... }@arguments:
      import ./plugins/plugin_utils/nix/fleet/options.nix
        {
          format = "nixos";
          host = config.networking.hostName;
          key-options = ./plugins/plugin_utils/nix/fleet/key-options.nix;
        }
        arguments;

    # These two import a file, so that a system that gets one of them twice has it once.
    # The option `nixferry.sshAccess`: which key may log in where, said once for all hosts that import it.
    nixosModules.sshAccess = { ... }: { imports = [ ./plugins/plugin_utils/nix/fleet/access.nix ]; };

    # The option deployment.keys of NixOps, for NixOS: the secrets that nix_secrets places.
    nixosModules.keys = { ... }: { imports = [ ./plugins/plugin_utils/nix/keys.nix ]; };
  };
}
