# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# nixus: the file has already evaluated everything; its result contains its configuration.
{ value, added, setsOf, ssh-access, ... }:

let
  inherit (builtins) attrNames filter isAttrs listToAttrs map mapAttrs;

  names = attrNames value.config.nodes;
  modules = filter (each: each.value.configuration.imports != [ ])
    (map (name: { inherit name; value.configuration.imports = added names name; }) names);
  config =
    if modules == [ ] then value.config
    # Its nixpkgs may be older than this function.
    else ((value.extendModules or (throw "the nixpkgs that nixus itself uses is too old for access between hosts to be added from outside: set it in the file, with nixus' option ssh.access")) { modules = [{ nodes = listToAttrs modules; }]; }).config;

  secretOf = directory: secret:
    let
      owner = if secret.group != null then "per-group/${secret.group}" else "per-user/${if secret.user == null then "root" else secret.user}";
    in
    {
      path = "${directory}/active/${owner}";
      user = if secret.group != null || secret.user == null then "root" else secret.user;
      group = if secret.group == null then "root" else secret.group;
      permissions = if secret.group == null then "0400" else "0040";
      upload_at = "pre-activation";
      source = "file";
    };
  secretsOf = node:
    let secrets = node.configuration.secrets or { }; in
    mapAttrs (name: secret: let found = secretOf secrets.baseDirectory secret; in found // { path = "${found.path}/${name}"; })
      (secrets.files or { });

  toHost = name: node: {
    deployment = {
      kind = "nixos";
      target_host = node.host;
      target_port = null;
      target_user = null;
      ssh_options = [ ];
      privilege_escalation_command = node.privilegeEscalationCommand or [ "sudo" ];
      tags = [ ];
      owners = [ ];
      build_on_target = false;
      substitute_on_destination = !(node.hasFastConnection or false);
      timeout_confirm = node.successTimeout or 20;
      timeout_activation = node.switchTimeout or 60;
      ignore_failed_units = node.ignoreFailingSystemdUnits or false;
      health_checks = [ ];
      pre_deploy_checks = [ ];
      keys = secretsOf node;
      ssh_access = ssh-access name node.configuration;
      left_out =
        if !(node.enable or node.enabled or true) then "it is not enabled"
        else if node.host == null then "its option `host` is null"
        else null;
    };
    secrets = mapAttrs
      (name: secret: secret // { text = null; command = null; file = toString node.configuration.secrets.files.${name}.file.file; })
      (secretsOf node);
    toplevel = node.configuration.system.build.toplevel;
  };
in
if !(value ? config.nodes) || !isAttrs value.config.nodes then
  throw "this is not a result of nixus: it has no set `config.nodes`. Name the file that calls nixus with the network, or set the option `format` to the tool that it was written for"
else {
  meta = { description = ""; options = { }; };
  places = filter isAttrs (value.options.nodes.definitions or [ ]);
  hosts = mapAttrs toHost
    (setsOf { all = "`config.nodes`"; each = "a node of nixus"; } config.nodes);
}
