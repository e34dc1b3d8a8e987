# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What a host gets of the access between hosts: a module for the host `name`, or none.
# authorized_keys.<host>.<user> are lists of keys, known_hosts.<host>.<name> is as programs.ssh.knownHosts has it.
{ access, names }:

let
  inherit (builtins) attrNames elem filter head mapAttrs;

  authorized = access.authorized_keys or { };
  known = access.known_hosts or { };
  strange = filter (host: !elem host names) (attrNames authorized);
in
name:
if strange != [ ] then
  throw "ssh_access: there is no host '${head strange}' in the fleet to log in to"
else if !(authorized ? ${name} || known ? ${name}) then [ ]
else [
  {
    _file = "ssh_access";
    key = "nixferry.deploy/ssh-access";
    config = {
      users.users = mapAttrs (_user: keys: { openssh.authorizedKeys = { inherit keys; }; }) (authorized.${name} or { });
      programs.ssh.knownHosts = known.${name} or { };
    };
  }
]
