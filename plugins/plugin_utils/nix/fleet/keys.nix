# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Secrets by name, in one form for all formats. `keys` as in NixOps and colmena, `secrets` as in morph.
# `metadata` has no contents and forces none; `complete` also has the places of the contents.
{ keys ? { }, secrets ? { } }:

let
  inherit (builtins) mapAttrs;

  ofKey = key: {
    inherit (key) path user group permissions;
    upload_at = key.uploadAt;
    source = if key.keyFile != null then "file" else if key.keyCommand != null then "command" else "text";
  };
  ofSecret = secret: {
    path = secret.destination;
    inherit (secret.owner) user group;
    inherit (secret) permissions;
    upload_at = secret.uploadAt;
    source = "file";
  };
in
{
  metadata = mapAttrs (_name: ofKey) keys // mapAttrs (_name: ofSecret) secrets;
  complete = mapAttrs
    (_name: key: ofKey key // {
      inherit (key) text;
      # Nix would copy a path into the store on output.
      file = if key.keyFile == null then null else toString key.keyFile;
      command = key.keyCommand;
      # Only this collection's own option has these.
      storage = key.storage or null;
      restart_units = key.restartUnits or [ ];
      reload_units = key.reloadUnits or [ ];
    })
    keys
  // mapAttrs
    (_name: secret: ofSecret secret // {
      text = null;
      file = toString secret.source;
      command = null;
      # The command that morph runs on the host after it has sent the secret.
      action = secret.action or [ ];
    })
    secrets;
}
