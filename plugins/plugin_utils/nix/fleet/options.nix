# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The NixOS options `deployment.*` of NixOps 1.7 and 2.0, morph and colmena, with the defaults of `format`.
# All of them in one module: files that moved from one tool to another keep working.
{ format, host, key-options }:

{ config, options, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  anything = types.attrsOf (types.anything or types.unspecified);

  # Sections of NixOps' back ends: accepted, so that the refusal can name the back end.
  clouds = [
    "azure" "container" "datadog" "digitalOcean" "dns" "ec2" "gce" "hetzner" "libvirtd" "packet" "proxmox" "route53"
    "virtualbox" "vmware" "vsphere"
  ];

  secret = {
    options = {
      destination = mkOption { type = types.str; };
      source = mkOption { type = types.str; };
      owner = {
        user = option types.str "root";
        group = option types.str "root";
      };
      permissions = option types.str "0400";
      action = option (types.listOf types.str) [ ];
      mkDirs = option types.bool true;
      uploadAt = option (types.enum [ "pre-activation" "post-activation" ]) "pre-activation";
    };
  };

  checkOptions = {
    description = mkOption { type = types.str; };
    period = option types.int 2;
    timeout = option types.int 5;
  };
  checks = types.submodule {
    options = {
      cmd = option (types.listOf (types.submodule { options = checkOptions // { cmd = option (types.nullOr (types.listOf types.str)) null; }; })) [ ];
      http = option
        (types.listOf (types.submodule {
          options = checkOptions // {
            host = option (types.nullOr types.str) null;
            scheme = option types.str "http";
            port = mkOption { type = types.int; };
            path = option types.path "/";
            headers = option (types.attrsOf types.str) { };
            insecureSSL = option types.bool false;
          };
        })) [ ];
    };
  };
  commands = builtins.concatMap (check: if check.cmd == null then [ ] else check.cmd)
    (config.deployment.preDeployChecks.cmd ++ config.deployment.healthChecks.cmd);
in
{
  _file = "nixferry.deploy: deployment options";
  key = "nixferry.deploy/deployment";
  imports = [ key-options ];

  options.deployment = {
    # Address and login.
    targetHost = option (types.nullOr types.str) host;
    targetPort = option (types.nullOr types.int)
      (if format == "nixops" then builtins.head (config.services.openssh.ports ++ [ 22 ]) else null);
    targetUser = option (types.nullOr types.str) (if format == "morph" then "" else "root");
    sshOptions = option (types.listOf types.str) [ ];
    privilegeEscalationCommand = option (types.listOf types.str) [ "sudo" "-H" "--" ];
    targetEnv = option types.str "none";

    # Deploy options.
    alwaysActivate = option types.bool true;
    allowLocalDeployment = option types.bool false;
    buildOnTarget = option types.bool false;
    buildOnly = option types.bool false;
    hasFastConnection = option types.bool false;
    substituteOnDestination = option (types.nullOr types.bool) (if format == "morph" then false else null);
    replaceUnknownProfiles = option types.bool true;
    provisionSSHKey = option types.bool true;
    healthChecks = option checks { };
    preDeployChecks = option checks { };

    # Further data of the host.
    tags = option (types.listOf types.str) [ ];
    owners = option (types.listOf types.str) [ ];
    secrets = option (types.attrsOf (types.submodule secret)) { };
    storeKeysOnMachine = option types.bool false;
    encryptedLinksTo = option (types.listOf types.str) [ ];
    name = option types.str "nixferry";
    uuid = option types.str "nixferry";
    arguments = option anything { };
  } // builtins.listToAttrs (map (name: { inherit name; value = option anything { }; }) clouds);

  # The programs of the checks must be on the host. morph writes this file for hosts without checks, too: theirs stay the
  # systems that morph has deployed. Before 15.09 only the system's own parts can be there.
  config = lib.mkIf (commands != [ ] || format == "morph") {
    system = lib.optionalAttrs (options.system ? extraDependencies) {
      extraDependencies = [ (pkgs.writeText "healthcheck-commands.txt" (builtins.concatStringsSep "\n" commands)) ];
    };
  };
}
