# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A NixOS module with the pull agent: the options `nixferry.pull` are the variables of the role pull_agent, and the programs
# and units are the same texts. A system that brings it takes over from an agent that the role has installed.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;

  settings = config.nixferry.pull;
  texts = import ./pull-agent.nix;
  profile = "/nix/var/nix/profiles/system";
  state = "/var/lib/nixferry-pull";

  option = type: default: description: mkOption { inherit type default description; };
  lines = types.listOf types.str;

  check = types.submodule {
    options = {
      command = option (types.nullOr types.str) null "A shell command that must exit with 0.";
      unit = option (types.nullOr types.str) null "A systemd unit that must be active.";
      retries = option types.int 5 "The number of retries of a failed check.";
      delay = option types.int 2 "Seconds between two attempts.";
      timeout = option types.int 10 "Seconds that one attempt may take.";
    };
  };

  checks = map
    (given: {
      kind = if given.command != null then "command" else "unit";
      target = if given.command != null then given.command else given.unit;
      inherit (given) retries delay timeout;
    })
    settings.healthChecks;

  # As HealthCheck.budget of _health/checks.py: HOST_END_SECONDS more for each attempt.
  budget = given: (given.retries + 1) * (given.timeout + 4) + given.retries * given.delay;
  needed = builtins.foldl' (sum: given: sum + budget given) settings.timeoutReach checks;

  window = text: builtins.match
    "((Mon|Tue|Wed|Thu|Fri|Sat|Sun)(,(Mon|Tue|Wed|Thu|Fri|Sat|Sun))* )?([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)"
    text != null;
  # A comment behind a key is for people.
  key = text: builtins.head (builtins.match "([a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2})( [^\n]*)?\n?" text);
  isKey = text: builtins.match "((sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2})( [^\n]*)?\n?" text != null;
  isName = text: builtins.match "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}" text != null;
  isAddress = text: builtins.match "(https?|file)://[A-Za-z0-9._~:/?#@&=+,;%-]+" text != null
    && builtins.match "[a-z]+://[^/@]*:[^/@]*@.*" text == null;
  isSshAddress = text: builtins.match
    "ssh://([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?/[A-Za-z0-9._~/+-]+"
    text != null;
  isKnownHost = text: builtins.match "(@(cert-authority|revoked) )?[^ #@][!-~]* [a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [ -~]*)?\n?" text != null;
  isOpenpgpKey = text:
    lib.hasPrefix "-----BEGIN PGP PUBLIC KEY BLOCK-----\n" text && builtins.length (builtins.split "-----BEGIN" text) == 3;
  isFingerprint = text: builtins.match "[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}" (builtins.replaceStrings [ " " ] [ "" ] text) != null;
  # A secret in the store is one that every user can read.
  isPath = text: builtins.match "(/[A-Za-z0-9._/+-]+)?" text != null;
  isOutside = text: isPath text && builtins.match "/nix/store/.*" text == null;

  follows = settings.repository != "";
  # An image for many hosts: each is called what its network or its firmware calls it.
  isGeneric = settings.host == "@hostname";
  # As the NixOS configurations of a flake are called.
  attribute = if settings.attribute != "" then settings.attribute
    else "nixosConfigurations.\"${settings.host}\".config.system.build.toplevel";
  isBranch = text: builtins.match "[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}" text != null
    && builtins.match "(.*[.][.].*|.*//.*|.*/|.*[.]|.*[.]lock(/.*)?|.*/[.].*)" text == null;
  isFile = text: builtins.match "[A-Za-z0-9_.][A-Za-z0-9._/+-]*" text != null && builtins.match "(.*/)?[.][.](/.*)?" text == null;
  isCommit = text: builtins.match "([0-9a-f]{40}|[0-9a-f]{64})?" text != null;

  signers = pkgs.writeText "nixferry-pull-signers" "${texts.signers (map key settings.pointerKeys)}\n";
  fingerprint = text: lib.toUpper (builtins.replaceStrings [ " " ] [ "" ] text);
  openpgpKeys = pkgs.writeText "nixferry-pull-commit-openpgp-keys"
    "${builtins.concatStringsSep "\n" (map texts.withoutEnd settings.commitOpenpgpKeys)}\n";
  knownHosts = pkgs.writeText "nixferry-pull-known-hosts" "${builtins.concatStringsSep "\n" (map texts.withoutEnd settings.knownHosts)}\n";
  commitSigners = pkgs.writeText "nixferry-pull-commit-signers" "${texts.commitSigners (map key settings.commitKeys)}\n";
  guard = pkgs.writeScript "nixferry-pull-guard"
    "${texts.guard { kind = "nixos"; inherit profile; inherit (settings) publicKeys; callerDecides = follows; }}\n";
  checker = pkgs.writeScript "nixferry-pull-checks" "${texts.checks checks}\n";
  agent = pkgs.writeScript "nixferry-pull-agent" "${texts.agent variables}\n";

  variables = map (pair: { name = "PULL_${builtins.elemAt pair 0}"; value = builtins.elemAt pair 1; }) [
    [ "HOST" (if isGeneric then "" else settings.host) ]
    [ "CHANNEL" settings.channel ]
    [ "URL" (if follows then "" else "${lib.removeSuffix "/" settings.url}/${settings.channel}/hosts${if isGeneric then "" else "/${settings.host}"}") ]
    [ "REPOSITORY" settings.repository ]
    [ "BRANCH" settings.branch ]
    [ "TESTING_BRANCH" (if follows && settings.testingBranches then "testing-${settings.host}" else "") ]
    [ "ATTRIBUTE" (if follows then attribute else "") ]
    [ "FILE" settings.file ]
    [ "KNOWN_HOSTS" (if settings.knownHosts == [ ] then "" else "${knownHosts}") ]
    [ "COMMIT_SIGNERS" (if settings.commitKeys == [ ] then "" else "${commitSigners}") ]
    [ "COMMIT_OPENPGP_KEYS" (if settings.commitOpenpgpKeys == [ ] then "" else "${openpgpKeys}") ]
    [ "COMMIT_OPENPGP_FINGERPRINTS" (builtins.concatStringsSep " " (map fingerprint settings.commitOpenpgpFingerprints)) ]
    [ "MIN_COMMIT" settings.minCommit ]
    [ "ALLOW_REWRITE" (if settings.allowRewrite then "1" else "0") ]
    [ "TIMEOUT_BUILD" (toString settings.timeoutBuild) ]
    [ "KIND" "nixos" ]
    [ "PROFILE" profile ]
    [ "CERTIFICATE" settings.certificate ]
    [ "SIGNERS" "${signers}" ]
    [ "GUARD" "${guard}" ]
    [ "GUARD_VERSION" texts.guardVersion ]
    [ "CHECKS" (if checks == [ ] then "" else "${checker}") ]
    [ "CHECK_COUNT" (toString (builtins.length checks)) ]
    [ "ADDRESSES" (builtins.concatStringsSep " " settings.addresses) ]
    [ "WINDOWS" (builtins.concatStringsSep "\n" settings.windows) ]
    [ "REBOOT" settings.reboot ]
    [ "REBOOT_WINDOWS" (builtins.concatStringsSep "\n" settings.rebootWindows) ]
    [ "MIN_SERIAL" (toString settings.minSerial) ]
    [ "MIN_FREE" (toString settings.minFree) ]
    [ "TIMEOUT_ACTIVATION" (toString settings.timeoutActivation) ]
    [ "TIMEOUT_CONFIRM" (toString settings.timeoutConfirm) ]
    [ "TIMEOUT_ROLL_BACK" "300" ]
    [ "TIMEOUT_REBOOT" (toString settings.timeoutReboot) ]
    [ "TIMEOUT_REACH" (toString settings.timeoutReach) ]
    [ "METRICS" settings.metricsDirectory ]
    [ "REPORT" settings.reportUrl ]
    [ "PATH" (builtins.concatStringsSep ":" (map (package: "${package}/bin") programs)) ]
  ];

  # What a system does not have by itself.
  programs = (if follows then [ pkgs.git ] else [ ]) ++ (if settings.commitOpenpgpKeys == [ ] then [ ] else [ pkgs.gnupg ]);

  credentials = builtins.filter (pair: builtins.elemAt pair 1 != "") [
    [ "certificate" settings.certificate ]
    [ "certificate_key" settings.certificateKey ]
    [ "repository_key" settings.repositoryKeyFile ]
  ];

  # Every user of NixOS reaches the Nix daemon, so that no group is needed.
  units = builtins.mapAttrs (_: text: builtins.replaceStrings [ "@GROUPS@\n" ] [ "" ] "${text}\n") (texts.units {
    agent = "${agent}";
    inherit state;
    login = if settings.netrcFile == "" then "" else "StandardInput=file:${settings.netrcFile}";
    credentials = builtins.concatStringsSep "\n"
      (map (pair: "LoadCredential=${builtins.elemAt pair 0}:${builtins.elemAt pair 1}") credentials);
    fileSize = if follows then "8G" else "1M";
    timeoutBuild = if follows then toString settings.timeoutBuild else "1";
    timeoutConfirm = toString settings.timeoutConfirm;
    inherit (settings) calendar;
    jitter = toString settings.jitter;
  });
in
{
  options.nixferry.pull = {
    enable = option types.bool false "Whether the host pulls its systems.";
    url = option types.str "" "The address of the directory with the pointers, as the host reads it.";
    channel = option types.str "stable" "The channel that the host follows.";
    host = option types.str config.networking.hostName "The name of the host in pointers, or `@hostname`: the name that the host has when the agent runs.";
    publicKeys = option lines [ ] "The public keys of Nix of which one must have signed a system.";
    pointerKeys = option lines [ ] "The public keys of OpenSSH of which one must have signed a pointer, as lines of .pub files.";
    repository = option types.str "" "The address of a git repository, in place of `url`: the host builds its system by itself, from a branch.";
    branch = option types.str "main" "The branch of `repository` that the host follows. It may not be rewritten, see `allowRewrite`.";
    testingBranches = option types.bool true "Whether the branch `testing-<host>` counts, while it is on top of `branch`. Its system does not become the boot default.";
    attribute = option types.str "" "The system in `repository`. The default is the host's of `nixosConfigurations`.";
    file = option types.str "" "A file of `repository` with the `attribute`, such as `default.nix`. By default, the flake has it.";
    commitKeys = option lines [ ] "The public keys of OpenSSH of which one must have signed a commit, as lines of .pub files. If empty, no signature is wanted.";
    commitOpenpgpKeys = option lines [ ] "Public keys of OpenPGP of which one may have signed a commit in place of `commitKeys`, as `gpg --armor --export` prints them.";
    commitOpenpgpFingerprints = option lines [ ] "The whole fingerprints of `commitOpenpgpKeys` that may sign, or of their subkeys.";
    repositoryKeyFile = option types.str "" "The path, on the host, of a secret key of OpenSSH for a `repository` with `ssh://`. It must not be in the store.";
    knownHosts = option lines [ ] "The host keys of the server of `repository`, as lines of a known_hosts file.";
    minCommit = option types.str "" "The full name of a commit that `branch` must contain, for a host without memory.";
    allowRewrite = option types.bool false "Whether `branch` may be rewritten, or go back to an older commit.";
    timeoutBuild = option types.int 7200 "The seconds within which the system of `repository` must be evaluated and built.";
    caches = option lines [ ] "Binary caches to add to those of the host's Nix, which then trusts `publicKeys` as well.";
    calendar = option types.str "*:0/10" "When the host looks for a new system, as a calendar event of systemd.";
    jitter = option types.int 480 "The seconds within which hosts spread their looks.";
    windows = option lines [ ] "The maintenance windows in which a new system is activated, such as `Sat,Sun 22:00-04:00`. If empty, at any time.";
    reboot = option (types.enum [ "never" "if-required" "window" ]) "never"
      "Whether a system that only a reboot activates completely is booted, once, before it may stay.";
    rebootWindows = option lines [ ] "The windows for `reboot = \"window\"`.";
    minSerial = option types.int 0 "The lowest serial that the host accepts before it has seen any.";
    minFree = option types.int 256 "The MiB that a fetch leaves free on the store's file system.";
    healthChecks = option (types.listOf check) [ ] "Checks that must pass before a new system stays.";
    addresses = option lines [ ] "Further addresses of small files that a new system must reach, besides its pointer.";
    timeoutActivation = option types.int 300 "The seconds that an activation may take, and a commit likewise.";
    timeoutConfirm = option types.int 180 "The seconds after an activation within which `timeoutReach` and the health checks must have passed.";
    timeoutReach = option types.int 60 "The seconds within which a new system must reach its pointer.";
    timeoutReboot = option types.int 600 "The seconds within which a reboot must begin.";
    metricsDirectory = option types.str "" "A directory for metrics in the format of node_exporter's textfile collector.";
    reportUrl = option types.str "" "An address to which the status is sent by HTTP POST after each run.";
    certificate = option types.str "" "The path, on the host, of a certificate with which it logs in to the server of the pointers or of `repository`.";
    certificateKey = option types.str "" "The path, on the host, of its secret key. It must not be in the store.";
    netrcFile = option types.str "" "The path, on the host, of a netrc file with the login for the pointers. It must not be in the store.";
  };

  config = mkIf settings.enable {
    assertions = map (pair: { assertion = builtins.elemAt pair 0; message = "nixferry.pull: ${builtins.elemAt pair 1}"; }) [
      [ (if follows then isAddress settings.repository || isSshAddress settings.repository else isAddress settings.url) "`url` or `repository` is not a valid address, or has a password" ]
      [ (!follows || settings.url == "") "`url` and `repository` exclude each other" ]
      [ (isBranch settings.branch) "`branch` is not a valid name of a branch" ]
      [ (!follows || builtins.match "[A-Za-z0-9_\"'.+-]+" attribute != null) "`attribute` is not a valid path of attributes" ]
      [ (settings.file == "" || isFile settings.file) "`file` is not a valid path in a repository" ]
      [ (builtins.all isKey settings.commitKeys) "`commitKeys` must be lines of .pub files" ]
      [ ((settings.commitOpenpgpKeys == [ ]) == (settings.commitOpenpgpFingerprints == [ ])) "`commitOpenpgpKeys` and `commitOpenpgpFingerprints` need each other" ]
      [ (builtins.all isOpenpgpKey settings.commitOpenpgpKeys) "`commitOpenpgpKeys` must be public keys, as `gpg --armor --export` prints them" ]
      [ (builtins.all isFingerprint settings.commitOpenpgpFingerprints) "one of `commitOpenpgpFingerprints` is not a whole fingerprint" ]
      [ (isSshAddress settings.repository == (settings.repositoryKeyFile != "")) "a `repository` with ssh:// needs `repositoryKeyFile`, and no other one has it" ]
      [ (isSshAddress settings.repository == (settings.knownHosts != [ ])) "a `repository` with ssh:// needs `knownHosts`, and no other one has it" ]
      [ (builtins.all isKnownHost settings.knownHosts) "`knownHosts` must be lines of a known_hosts file" ]
      [ (isOutside settings.repositoryKeyFile && isOutside settings.certificateKey && isPath settings.certificate) "a certificate or a secret key is not a path, or a key is in the store" ]
      [ ((settings.certificate == "") == (settings.certificateKey == "")) "`certificate` and `certificateKey` need each other" ]
      [ (settings.certificate == "" || builtins.match "https://.*" (if follows then settings.repository else settings.url) != null) "a `certificate` is for an address that begins with https://" ]
      [ (isCommit settings.minCommit) "`minCommit` is not the full name of a commit" ]
      [ ((isGeneric || isName settings.host) && isName settings.channel) "`host` or `channel` is not a valid name in pointers" ]
      [ (!follows || !isGeneric) "with a `repository`, `host` must be a name, since it names the system" ]
      [ (follows || settings.publicKeys != [ ]) "without `publicKeys` every system would be refused" ]
      [ ((follows || settings.pointerKeys != [ ]) && builtins.all isKey settings.pointerKeys) "`pointerKeys` must be lines of .pub files" ]
      [ (builtins.all window (settings.windows ++ settings.rebootWindows)) "a window is not valid, such as `Sat,Sun 22:00-04:00`" ]
      [ (builtins.all isAddress settings.addresses) "one of `addresses` is not a valid address" ]
      [ (settings.reportUrl == "" || isAddress settings.reportUrl) "`reportUrl` is not a valid address" ]
      [ (settings.timeoutConfirm >= needed) "`timeoutConfirm` is below the ${toString needed} s that `timeoutReach` and the checks may take" ]
      [ (builtins.all (given: (given.command == null) != (given.unit == null)) settings.healthChecks) "a health check is either a `command` or a `unit`" ]
    ];

    systemd.packages = [
      (pkgs.symlinkJoin {
        name = "nixferry-pull-units";
        paths = builtins.attrValues (builtins.mapAttrs (name: pkgs.writeTextDir "lib/systemd/system/${name}") units);
      })
    ];
    # The section [Install] of a package counts for nothing on NixOS.
    systemd.timers.nixferry-pull.wantedBy = [ "timers.target" ];
    systemd.services.nixferry-pull-resume.wantedBy = [ "multi-user.target" ];
    systemd.tmpfiles.rules = [
      "d ${state} 0755 root root -"
      "L+ ${state}/agent - - - - ${agent}"
      "L+ ${state}/profile - - - - ${pkgs.writeText "nixferry-pull-profile" "${profile}\n"}"
    ];

    nix.settings = mkIf (settings.caches != [ ]) {
      extra-substituters = settings.caches;
      extra-trusted-public-keys = settings.publicKeys;
    };
  };
}
