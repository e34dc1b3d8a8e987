# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A NixOS module with the option deployment.keys of NixOps: declares the secrets that nix_secrets places, and for each key a
# service <name>-key.service that starts once the key is there. No content gets into the system.
{ config, lib, ... }:

let
  inherit (lib) escapeShellArg mkIf;

  keys = builtins.attrValues config.deployment.keys;

  sources = key: builtins.filter (value: value != null) [ key.text key.keyFile key.keyCommand ];
in
{
  imports = [ ./fleet/key-options.nix ];

  config = mkIf (keys != [ ]) {
    assertions = map
      (key: {
        # Without any, the content comes from a variable of Ansible.
        assertion = builtins.length (sources key) <= 1;
        message = "deployment.keys.${key.name} has more than one of text, keyFile and keyCommand";
      })
      keys;

    systemd.services = builtins.listToAttrs (map
      (key: {
        name = "${key.name}-key";
        value = {
          description = "Secret ${key.name}";
          # Do not stop the units that depend on a key if a deploy does not change it.
          restartIfChanged = false;
          stopIfChanged = false;
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            TimeoutStartSec = "infinity";
          };
          script = ''
            until [ -e ${escapeShellArg key.path} ]; do sleep 0.3; done
          '';
        };
      })
      keys);

    # The owner of a key may be new in this system, and its services start right after this.
    system.activationScripts.nixferry-key-owners = lib.stringAfter [ "users" "groups" ]
      (lib.concatMapStrings
        (key: ''
          if [ -f ${escapeShellArg key.path} ]; then
            chown ${escapeShellArg "${key.user}:${key.group}"} ${escapeShellArg key.path}
            chmod ${escapeShellArg key.permissions} ${escapeShellArg key.path}
          fi
        '')
        keys);
  };
}
