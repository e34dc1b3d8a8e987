# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# colmena's `makeHive` has evaluated the hosts already: the output `colmenaHive` of a flake.
{ value, deployment, extend, keys, chosen, setsOf, ... }:

let
  hosts = setsOf { all = "deploymentConfig of what colmena's makeHive returns"; each = "a set of options"; }
    (value.deploymentConfig or (throw "this is not a result of colmena's makeHive: it has `__schema`, but no attribute `deploymentConfig`"));
  names = builtins.attrNames hosts;
in
{
  meta = {
    name = value.metaConfig.name or "hive";
    description = value.metaConfig.description or "";
    options =
      if (value.metaConfig.machinesFile or null) == null then { }
      else { builders = "@${toString value.metaConfig.machinesFile}"; };
  };
  hosts = builtins.mapAttrs
    (name: data: {
      deployment = deployment { inherit keys; format = chosen; host = name; deployment = data; ssh_access = null; };
      secrets = (keys { inherit (data) keys; }).complete;
      # Without additions, use the result of makeHive.
      toplevel = (extend names name (value.nodes.${name} or { config.system.build.toplevel = value.toplevel.${name}; }))
        .config.system.build.toplevel;
    })
    hosts;
}
