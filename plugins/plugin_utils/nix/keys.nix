# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A NixOS module with the option deployment.keys of NixOps: declares what nix_secrets places, and for each key a service
# <name>-key.service that has started once the key is there. Nothing of a content gets into the system.
{ config, lib, ... }:

let
  inherit (lib) escapeShellArg literalExpression mkIf mkOption types;

  keys = builtins.attrValues config.deployment.keys;

  text = default: description: mkOption { type = types.str; inherit default description; };
  source = type: description: mkOption { type = types.nullOr type; default = null; inherit description; };
  units = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };

  key = { name, config, ... }: {
    options = {
      name = text name "The name of the file." // { defaultText = literalExpression "<name>"; };
      text = source types.str "The content.";
      keyFile = source types.str ''
        The file on the controller that holds the content. A string: a path would be copied into the store.
      '';
      keyCommand = source (types.listOf types.str) "The command on the controller that prints the content.";
      destDir = mkOption {
        # A path of Nix would be copied into the store.
        type = types.str;
        default = if config.storage == "persistent" then "/var/lib/nixferry-keys" else "/run/keys";
        defaultText = literalExpression ''"/run/keys", or "/var/lib/nixferry-keys" where storage is "persistent"'';
        description = "The directory of the key.";
      };
      path = mkOption {
        type = types.str;
        default = "${lib.removeSuffix "/" config.destDir}/${config.name}";
        readOnly = true;
        defaultText = literalExpression ''"''${destDir}/''${name}"'';
        description = "Where the key lies.";
      };
      user = text "root" "Whom the key belongs to.";
      group = text "root" "The group that the key belongs to.";
      permissions = text "0600" "The mode of the key in octal digits.";
      uploadAt = mkOption {
        type = types.enum [ "pre-activation" "post-activation" ];
        default = "pre-activation";
        description = "Whether the key comes with the new system, or when that is confirmed.";
      };
      storage = mkOption {
        type = types.enum [ "tmpfs" "persistent" "sealed" ];
        default = "tmpfs";
        description = "Whether the key lies in main memory, on the disk, or sealed on the disk as well.";
      };
      restartUnits = units "Units to restart when the content has changed.";
      reloadUnits = units "Units to reload when the content has changed.";
    };
  };

  sources = key: builtins.filter (value: value != null) [ key.text key.keyFile key.keyCommand ];
in
{
  options.deployment.keys = mkOption {
    type = types.attrsOf (types.submodule key);
    default = { };
    description = "Secrets that are placed beside the Nix store, by name.";
  };

  config = mkIf (keys != [ ]) {
    assertions = map
      (key: {
        # None: the content comes from a variable of Ansible.
        assertion = builtins.length (sources key) <= 1;
        message = "deployment.keys.${key.name} has more than one of text, keyFile and keyCommand";
      })
      keys;

    systemd.services = builtins.listToAttrs (map
      (key: {
        name = "${key.name}-key";
        value = {
          description = "Secret ${key.name}";
          # A deploy that changes nothing about a key is no reason to stop who depends on it.
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

    # Whoever a key belongs to may be new with this system, and its services start right after this.
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
