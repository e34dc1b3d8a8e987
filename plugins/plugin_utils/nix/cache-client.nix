# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A NixOS module with what the role cache_client configures elsewhere: the options `nixferry.cacheClient` are its variables.
{ config, lib, ... }:

let
  inherit (lib) mkIf mkOption optionalAttrs types;

  settings = config.nixferry.cacheClient;
  option = type: default: description: mkOption { inherit type default description; };

  cache = types.submodule {
    options = {
      url = mkOption { type = types.str; description = "The address, such as `https://cache.example.org`, without a login."; };
      publicKeys = option (types.listOf types.str) [ ] "The public keys whose signatures Nix accepts, from this and from all other caches.";
      priority = option (types.nullOr types.int) null "Caches with a smaller number are asked first; cache.nixos.org has 40.";
      certificate = option types.str "" "The path, on the host, of a certificate with which Nix 2.34 and later logs in to the cache.";
      certificateKey = option types.str "" "The path, on the host, of its secret key. It must not be in the store.";
    };
  };

  # As in roles/cache_client/vars/main.yml.
  address = given:
    let
      parameters = builtins.filter (text: text != "") [
        (if given.priority == null then "" else "priority=${toString given.priority}")
        (if given.certificate == "" then "" else "tls-certificate=${given.certificate}")
        (if given.certificateKey == "" then "" else "tls-private-key=${given.certificateKey}")
      ];
      mark = if builtins.match ".*[?].*" given.url == null then "?" else "&";
    in
    given.url + (if parameters == [ ] then "" else mark + builtins.concatStringsSep "&" parameters);

  addresses = map address settings.caches;
  unique = builtins.foldl' (found: text: if builtins.elem text found then found else found ++ [ text ]) [ ];
  keys = unique (builtins.concatMap (given: given.publicKeys) settings.caches);
  isAddress = text: builtins.match "([a-z0-9+]+://[^[:space:]@]+|/[^[:space:]@]*)" text != null;
  isKey = text: builtins.match "[^[:space:]:]+:[A-Za-z0-9+/]{43}=" text != null;
  isPath = text: builtins.match "(/[A-Za-z0-9._/+-]*)?" text != null && builtins.match "/nix/store/.*" text == null;
in
{
  options.nixferry.cacheClient = {
    enable = option types.bool false "Whether Nix fetches from these caches.";
    caches = option (types.listOf cache) [ ] "The binary caches.";
    exclusive = option types.bool false "Whether Nix uses only these caches and keys. Otherwise they come in addition to others.";
    netrcFile = option types.str "" "The path, on the host, of a netrc file with logins for the caches. It must not be in the store.";
    negativeTtl = option types.int 0 "How long Nix remembers that a cache lacks a path, in seconds. Nix's own default is an hour.";
    positiveTtl = option types.int 3600 "How long Nix remembers what a cache says of a path, in seconds. Nix's own default is 30 days.";
    connectTimeout = option types.int 5 "The seconds after which Nix gives up on a cache that does not answer. 0 means never.";
    downloadSpeed = option types.int 0 "The maximum download speed in KiB per second. 0 means no limit.";
    fallback = option types.bool false "Whether Nix asks the next cache, and then builds, if a cache fails in the middle of a download.";
  };

  config = mkIf settings.enable {
    assertions = map (pair: { assertion = builtins.elemAt pair 0; message = "nixferry.cacheClient: ${builtins.elemAt pair 1}"; }) [
      [ (builtins.all (given: isAddress given.url) settings.caches) "a `url` is not valid, or has a login, which every user of the host could read" ]
      [ (builtins.all isKey keys) "one of `publicKeys` is not a public key of Nix" ]
      [ (builtins.all (given: isPath given.certificate && isPath given.certificateKey) settings.caches) "a certificate or its key is not a path outside of the store" ]
      [ (builtins.all (given: (given.certificate == "") == (given.certificateKey == "")) settings.caches) "a `certificate` needs its `certificateKey`" ]
      [ (isPath settings.netrcFile) "`netrcFile` is not a path outside of the store" ]
    ];

    nix.settings =
      (if settings.exclusive then { substituters = lib.mkForce addresses; trusted-public-keys = lib.mkForce keys; }
      else { extra-substituters = addresses; extra-trusted-public-keys = keys; })
      // {
        narinfo-cache-negative-ttl = settings.negativeTtl;
        narinfo-cache-positive-ttl = settings.positiveTtl;
        connect-timeout = settings.connectTimeout;
      }
      // optionalAttrs (settings.netrcFile != "") { netrc-file = settings.netrcFile; }
      // optionalAttrs (settings.downloadSpeed > 0) { download-speed = settings.downloadSpeed; }
      // optionalAttrs settings.fallback { fallback = true; };
  };
}
