# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# deploy-rs: the output `deploy` of a flake, or a file with the attribute `deploy`. The role nixos deploys a node's profile
# `system`. Its path wraps the system for deploy-rs' own activation. The system inside is built: it may be that of any
# configuration, whatever the node's name is.
{ value, added, setsOf, unwrap, ... }:

let
  inherit (builtins) attrNames concatLists concatStringsSep elem filter head isString map mapAttrs;

  deploy = value.deploy or value;
  nodes = setsOf { all = "`deploy.nodes`"; each = "a node of deploy-rs, with `hostname` and `profiles`"; }
    (deploy.nodes or (throw "`deploy` has no attribute `nodes`"));

  toHost = name: node:
    let
      where = "deploy.nodes.${name}.profiles";
      profiles = setsOf { all = "`${where}`"; one = "profile"; each = "a set with `path`"; } (node.profiles or { });
      system = profiles.system or { };
      # A setting of a profile overrides that of its node, which overrides the global one.
      setting = profile: attribute: default:
        let found = filter (level: level ? ${attribute}) [ profile node deploy ]; in
        if found == [ ] then default else (head found).${attribute};
      login = setting system "sshUser" null;
      owner = setting system "user" login;

      first = filter (each: profiles ? ${each}) (node.profilesOrder or [ ]);
      others = filter (each: each != "system") (first ++ filter (each: !elem each first) (attrNames profiles));
      describe = each:
        let
          profile = profiles.${each};
          user = setting profile "user" (setting profile "sshUser" null);
        in
        {
          name = each;
          inherit user;
          login_user = setting profile "sshUser" null;
          profile_path = profile.profilePath or (if user == null then null else "/nix/var/nix/profiles/per-user/${user}/${each}");
        };
    in
    {
      deployment = {
        # Without a system, the role nixos has nothing to deploy.
        kind = if profiles ? system then "nixos" else "profile";
        target_host = node.hostname or (throw "node '${name}' has no `hostname`");
        target_port = null;
        target_user = login;
        ssh_options = concatLists (map (level: level.sshOpts or [ ]) [ deploy node system ]);
        privilege_escalation_command =
          if owner == login then [ ]
          else filter (word: isString word && word != "") (builtins.split " +" (setting system "sudo" "sudo -u"));
        escalate_to = owner;
        tags = [ ];
        owners = [ ];
        build_on_target = setting system "remoteBuild" false;
        substitute_on_destination = !(setting system "fastConnection" false);
        timeout_confirm = setting system "confirmTimeout" 30;
        timeout_activation = setting system "activationTimeout" 240;
        rollback = setting system "autoRollback" true;
        health_checks = [ ];
        pre_deploy_checks = [ ];
        keys = { };
        ssh_access = null;
        further_profiles =
          if profiles == { } then throw "node '${name}' has no profiles: `${where}.system` is the one to deploy"
          else map describe others;
        left_out = null;
      };
      secrets = { };
      toplevel =
        if !(profiles ? system) then
          throw "node '${name}' has no profile `system`, but ${concatStringsSep ", " others}: only whole systems are deployed from `deploy.nodes` by the role nixos"
        else if added (attrNames nodes) name != [ ] then
          throw "node '${name}': access between hosts cannot be added to a system that deploy-rs has wrapped"
        else unwrap "${where}.system" system.path;
    };
in
{
  meta = { description = ""; options = { }; };
  # Not `nodes`: mapAttrs forgets the places of attributes.
  places = [ deploy.nodes ];
  hosts = mapAttrs toHost nodes;
}
