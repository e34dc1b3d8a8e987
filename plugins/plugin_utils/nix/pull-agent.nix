# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The texts of the pull agent for pull.nix: the same that nix_pull_agent writes (_pull/agent.py, _guard/installed.py), from the
# same files. A test compares them. Needs nothing of nixpkgs.

let
  inherit (builtins) concatStringsSep hashString head isString length map match readFile replaceStrings split stringLength substring tail;

  target = ../target;
  part = name: readFile (target + "/${name}");
  joined = parts: concatStringsSep "\n" (map part parts);

  # As Python's shlex.quote. A long text would be too much for a regular expression of Nix, and needs quotes anyway.
  quote = text:
    if stringLength text < 1000 && match "[a-zA-Z0-9@%+=:,./_-]+" text != null then text
    else "'" + replaceStrings [ "'" ] [ "'\"'\"'" ] text + "'";

  withoutOneEnd = text: substring 0 (stringLength text - 1) text;
  withoutEnd = text:
    if substring (stringLength text - 1) 1 text == "\n" then withoutEnd (withoutOneEnd text) else text;

  # The names in a tuple of a Python file, so that an order of parts is said once.
  tuple = file: name:
    let
      after = head (tail (tail (split "\n${name} = \\(" (readFile file))));
      text = head (split "\\)" after);
    in
    map head (builtins.filter (found: ! isString found) (split "\"([^\"]+)\"" text));

  agentParts = tuple ../_pull/agent.py "AGENT_PARTS";
  guardParts = tuple ../_guard/program.py "GUARD_PARTS";
  unitNames = tuple ../_pull/agent.py "UNITS";

  agentText = joined agentParts;
  guardText = joined guardParts;
  begin = part "guard/installed_begin.sh";
  guardVersion = substring 0 16 (hashString "sha256" "${begin}${guardText}");

  assignment = name: value: "${name}=${quote value}";
in
rec {
  inherit guardVersion unitNames withoutEnd;

  version = substring 0 16 (hashString "sha256" agentText);

  signers = keys:
    concatStringsSep "\n" (map (key: "publisher namespaces=\"nixferry-pointer@v1\" ${key}") keys);

  # `variables` is a list of { name, value }, in the order of AgentSettings.variables.
  agent = variables: withoutEnd (concatStringsSep "\n" (
    [ (begins ../_pull/agent.py) (assignment "PULL_VERSION" version) ]
    ++ map (variable: assignment variable.name variable.value) variables
    ++ [ "" agentText ]
  ));

  begins = file:
    let after = head (tail (tail (split "\nBEGIN = \"\"\"\\\\\n" (readFile file))));
    in "${head (split "\n\"\"\"" after)}\n";

  guard = { kind, profile, publicKeys, callerDecides ? false }: withoutEnd (concatStringsSep "\n" [
    begin
    "INSTALLED_CALLER=$1"
    "HOME=/root; export HOME"
    (assignment "INSTALLED_VERSION" guardVersion)
    (assignment "INSTALLED_KIND" kind)
    (assignment "INSTALLED_PROFILE" profile)
    (assignment "INSTALLED_COMMAND" "")
    (assignment "INSTALLED_KEYS" (concatStringsSep " " publicKeys))
    (assignment "INSTALLED_CALLER_DECIDES" (if callerDecides then "1" else ""))
    "NIXFERRY_PROGRAM_NAME=${substring 0 32 (hashString "sha256" guardText)}"
    (assignment "NIXFERRY_PROGRAM" (withoutOneEnd guardText))
    "set -- answer"
    "eval \"$NIXFERRY_PROGRAM\""
  ]);

  commitSigners = keys:
    concatStringsSep "\n" (map (key: "committer namespaces=\"git\" ${key}") keys);

  # Each check is { kind, target, retries, delay, timeout }; see target/health.sh.
  checks = given:
    let
      numbers = builtins.genList (number: number) (length given);
      call = number:
        let check = builtins.elemAt given number; in
        "    check " + concatStringsSep " " (map quote [
          (toString number)
          (toString check.retries)
          (toString check.delay)
          (toString check.timeout)
          check.kind
          check.target
        ]);
    in
    withoutEnd (concatStringsSep "\n" (
      [ "ROOT=''" "PROC=/proc" ]
      ++ map part (tuple ../_health/on_host.py "PARTS")
      ++ [ "checks() {" ]
      ++ map call numbers
      ++ [ "}" "check_health" "" ]
    ));

  # Text of each unit by its name. `values` has agent, state, login, credentials, fileSize, timeoutBuild, timeoutConfirm, calendar, jitter, all of them text.
  units = values:
    let
      fill = text: replaceStrings
        [ "@AGENT@" "@STATE@" "@LOGIN@" "@CREDENTIALS@" "@FILE_SIZE@" "@TIMEOUT_BUILD@" "@TIMEOUT_CONFIRM@" "@CALENDAR@" "@JITTER@" ]
        [ values.agent values.state values.login values.credentials values.fileSize values.timeoutBuild values.timeoutConfirm values.calendar values.jitter ]
        text;
      sandbox = withoutEnd (part "agent/units/sandbox.conf");
      unit = name: fill (replaceStrings [ "@SANDBOX@" ] [ sandbox ] (part "agent/units/${name}"));
    in
    builtins.listToAttrs (map (name: { inherit name; value = withoutEnd (unit name); }) unitNames);
}
