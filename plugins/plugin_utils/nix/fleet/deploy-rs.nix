# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# deploy-rs: the output `deploy` of a flake, or a file with the attribute `deploy`. A node's profile `system` is what
# counts. Its path wraps the system for deploy-rs; the system itself is built from nixosConfigurations.
{ value, ... }:

let
  inherit (builtins) attrNames concatLists filter mapAttrs;

  deploy = value.deploy or value;

  toHost = name: node:
    let
      profile = (node.profiles or { }).system or (throw
        "node '${name}' has no profile `system`, but ${if (node.profiles or { }) == { } then "none at all" else builtins.concatStringsSep ", " (attrNames node.profiles)}: only whole systems are deployed from `deploy.nodes`");
      levels = [ profile node deploy ];
      setting = attribute: default:
        let found = filter (level: level ? ${attribute}) levels; in
        if found == [ ] then default else (builtins.head found).${attribute};
      login = setting "sshUser" null;
      owner = setting "user" login;
      remoteBuild = setting "remoteBuild" false;
    in
    {
      deployment = {
        kind = "nixos";
        target_host = node.hostname or (throw "node '${name}' has no `hostname`");
        target_port = null;
        target_user = login;
        ssh_options = concatLists (map (level: level.sshOpts or [ ]) [ deploy node profile ]);
        privilege_escalation_command =
          if owner == login then [ ]
          else filter (word: builtins.isString word && word != "") (builtins.split " +" (setting "sudo" "sudo -u"));
        escalate_to = owner;
        tags = [ ];
        owners = [ ];
        build_on_target = remoteBuild;
        substitute_on_destination = !(setting "fastConnection" false);
        timeout_confirm = setting "confirmTimeout" 30;
        timeout_activation = setting "activationTimeout" 240;
        rollback = setting "autoRollback" true;
        health_checks = [ ];
        pre_deploy_checks = [ ];
        keys = { };
        ssh_access = null;
        other_profiles = filter (each: each != "system") (attrNames node.profiles);
        left_out = null;
      };
      secrets = { };
      toplevel = profile.path;
    };
in
{
  meta = { description = ""; options = { }; };
  places = [ (deploy.nodes or { }) ];
  hosts = mapAttrs toHost (deploy.nodes or (throw "`deploy` has no attribute `nodes`"));
}
