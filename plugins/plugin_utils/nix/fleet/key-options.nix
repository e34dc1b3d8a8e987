# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The option deployment.keys of NixOps and colmena, for options.nix and for ../keys.nix: a host may have both. The module
# system uses one of several modules with the same `key`, wherever they are.
{ lib, ... }:

let
  inherit (lib) literalExpression mkOption types;

  text = default: description: mkOption { type = types.str; inherit default description; };
  source = type: description: mkOption { type = types.nullOr type; default = null; inherit description; };
  units = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  # A path of Nix in a string would be copied into the store.
  place = types.either types.str types.path;

  key = { name, config, ... }: {
    options = {
      name = text name "The name of the file." // { defaultText = literalExpression "<name>"; };
      text = source types.str "The content.";
      keyFile = source place "The file on the controller that holds the content." // {
        apply = value: if value == null then null else toString value;
      };
      keyCommand = source (types.listOf types.str) "The command on the controller that prints the content.";
      destDir = mkOption {
        type = place;
        default = if config.storage == "persistent" then "/var/lib/nixferry-keys" else "/run/keys";
        defaultText = literalExpression ''"/run/keys", or "/var/lib/nixferry-keys" where storage is "persistent"'';
        apply = toString;
        description = "The directory of the key.";
      };
      path = mkOption {
        type = place;
        default = "${lib.removeSuffix "/" config.destDir}/${config.name}";
        defaultText = literalExpression ''"''${destDir}/''${name}"'';
        apply = toString;
        description = "The path of the key.";
      };
      user = text "root" "The owner of the key.";
      group = text "root" "The group of the key.";
      permissions = text "0600" "The mode of the key in octal digits.";
      uploadAt = mkOption {
        type = types.enum [ "pre-activation" "post-activation" ];
        default = "pre-activation";
        description = "Whether to place the key with the new system, or when that is confirmed.";
      };
      storage = mkOption {
        type = types.nullOr (types.enum [ "tmpfs" "persistent" "sealed" ]);
        default = null;
        description = "Whether to keep the key in main memory, on the disk, or sealed on the disk as well; null: according to its directory.";
      };
      restartUnits = units "Units to restart when the content has changed.";
      reloadUnits = units "Units to reload when the content has changed.";
    };
  };
  # Before 16.09 no type accepts a string as well.
  entry =
    if types ? coercedTo then types.coercedTo types.str (text: { inherit text; }) (types.submodule key)
    else types.submodule key;
in
{
  _file = "nixferry.deploy: the option deployment.keys";
  key = "nixferry.deploy/deployment.keys";

  options.deployment.keys = mkOption {
    type = types.attrsOf entry;
    default = { };
    description = "Secrets that are placed beside the Nix store, by name. A string is the content.";
  };
}
