# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A NixOS module with the option nixferry.sshAccess: SSH access between hosts. All hosts have the same description, and
# each takes its own part of it: the keys that may log in, and the hosts that its users log in to. The names are those of
# the option ssh.access of nixus. The module system uses one of several modules with the same `key`: fleet files always
# get this one, and may import it as well, so that other tools understand them.
{ config, options, lib, ... }:

let
  inherit (builtins) attrNames concatMap deepSeq elem filter groupBy head listToAttrs map mapAttrs match;
  inherit (lib) literalExpression mkOption types;

  access = config.nixferry.sshAccess;
  name = config.nixferry.hostName;
  names = config.nixferry.hostNames;

  # The content of a file ends with a newline. Keys that differ only in this are the same.
  line = types.coercedTo types.str (lib.removeSuffix "\n") types.str;
  set = type: description: mkOption { type = types.attrsOf type; default = { }; inherit description; };

  key.options = {
    publicKey = mkOption { type = line; description = "The line of the public key."; };
    hasAccessTo = set (types.attrsOf types.bool)
      "Where the holder may log in: names of hosts, each with names of users, each true or false.";
  };
  host.options = {
    hostKeys = set line "The public keys of the host itself, by any name.";
    hostNames = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Names and addresses by which others reach the host, beside its own name.";
    };
    keys = set (types.submodule key) "The public keys of users on the host, by any name.";
  };

  # Never quote the value: it may be a private key by mistake.
  publicKey = where: text:
    if match "(ssh-|ecdsa-|sk-)[^ \n]+ [^\n]+" text == null then throw "nixferry.sshAccess.${where} is not the one line of a public key"
    else text;

  logins = concatMap
    (source: concatMap
      (keyName:
        let found = access.${source}.keys.${keyName}; in
        concatMap
          (target: map (user: { inherit source target user; key = publicKey "${source}.keys.${keyName}.publicKey" found.publicKey; })
            (filter (user: found.hasAccessTo.${target}.${user}) (attrNames found.hasAccessTo.${target})))
          (attrNames found.hasAccessTo))
      (attrNames access.${source}.keys))
    (attrNames access);

  strange = filter (login: names != null && !elem login.target names) logins;
  nothing = { hostKeys = { }; hostNames = [ ]; };
  checked = login:
    if (access.${login.target} or nothing).hostKeys == { } then
      throw "nixferry.sshAccess.${login.target}.hostKeys is empty, but ${login.source} is to log in there: give the public host key, as /etc/ssh/ssh_host_ed25519_key.pub of the host has it"
    else login;
  # Every host checks all of it: an error anywhere stops every deploy, so a login is never deployed on one end only.
  valid =
    if strange != [ ] then throw "nixferry.sshAccess: '${(head strange).target}' is not a host of the fleet to log in to"
    else deepSeq access (map checked logins);
  mine = deepSeq valid valid;

  knownHost = target: known: mapAttrs
    (keyName: text: {
      hostNames = lib.unique ([ target ] ++ known.hostNames ++ lib.optional (target == name) "localhost");
      publicKey = publicKey "${target}.hostKeys.${keyName}" text;
    })
    known.hostKeys;
in
{
  _file = "nixferry.deploy: the option nixferry.sshAccess";
  key = "nixferry.deploy/ssh-access";

  options.nixferry = {
    sshAccess = set (types.submodule host) "SSH access between hosts, the same for all hosts, by the names of hosts.";
    hostName = mkOption {
      type = types.str;
      default = config.networking.hostName;
      defaultText = literalExpression "config.networking.hostName";
      description = "The name of the host in nixferry.sshAccess.";
    };
    hostNames = mkOption {
      type = types.nullOr (types.listOf types.str);
      default = null;
      description = "The hosts of the fleet, to refuse a login to any other. Null: unknown.";
    };
  };

  # Before 15.09 these options had other names.
  config = if options.programs.ssh ? knownHosts then {
    users.users = mapAttrs (_user: found: { openssh.authorizedKeys.keys = lib.unique (map (login: login.key) found); })
      (groupBy (login: login.user) (filter (login: login.target == name) mine));
    programs.ssh.knownHosts = listToAttrs (concatMap
      (target:
        let known = knownHost target access.${target}; in
        map (keyName: { name = "${target}-${keyName}"; value = known.${keyName}; }) (attrNames known))
      (lib.unique (map (login: login.target) (filter (login: login.source == name) mine))));
  } else {
    assertions = [{ assertion = access == { }; message = "nixferry.sshAccess needs nixpkgs 15.09 or later"; }];
  };
}
