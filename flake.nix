# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
{
  description = "Deploy Nix systems with Ansible: what the collection nixferry.deploy offers to Nix itself";

  # No inputs: a user of this flake fetches nothing else, and evaluates it without a network.
  outputs = { self }: {
    # nix flake init -t github:nixferry/nixferry.deploy
    templates.service = {
      path = ./examples/service;
      description = "A web service on this machine, deployed, checked and rolled back by Ansible";
      welcomeText = ''
        Next: `ansible-playbook deploy.yml` in this directory. The README of nixferry.deploy says what to install and what to try.
      '';
    };
    templates.default = self.templates.service;

    # nix flake check: the template builds, and lib.describe finds what it builds.
    checks = builtins.mapAttrs
      (system: packages:
        let
          found = self.lib.describe {
            root = packages;
            arguments = { };
            prefix = [ ];
            requests.example = [ "service" ];
          };
        in
        {
          template = packages.service;
          describe =
            if found.example.outputs.out == packages.service.outPath then packages.service
            else throw "lib.describe tells another output than the derivation has";
        })
      ((import ./examples/service/flake.nix).outputs { self = { }; }).packages;

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

    # These import a file, so that a system that gets one of them twice has it once.
    # The option `nixferry.sshAccess`: which key may log in where, said once for all hosts that import it.
    nixosModules.sshAccess = { ... }: { imports = [ ./plugins/plugin_utils/nix/fleet/access.nix ]; };

    # The options `nixferry.pull`: the agent of the role pull_agent, for a host's own configuration.
    nixosModules.pull = { ... }: { imports = [ ./plugins/plugin_utils/nix/pull.nix ]; };

    # The options `nixferry.cacheClient`: which binary caches Nix uses, as the role cache_client does it elsewhere.
    nixosModules.cacheClient = { ... }: { imports = [ ./plugins/plugin_utils/nix/cache-client.nix ]; };

    # The option deployment.keys of NixOps, for NixOS: the secrets that nix_secrets places.
    nixosModules.keys = { ... }: { imports = [ ./plugins/plugin_utils/nix/keys.nix ]; };
  };
}
