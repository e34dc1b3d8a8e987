# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The data of a host before its system is evaluated: `deployment` is that attribute of its configuration.
{ format, host, deployment, keys, ssh_access }:

let
  inherit (builtins) concatLists concatStringsSep map;

  timing = check: {
    name = check.description;
    delay = check.period;
    inherit (check) timeout;
  };
  # As over ssh: the words separated by spaces, for the host's shell.
  ofCommand = check: timing check // { command = concatStringsSep " " check.cmd; };
  ofRequest = check: timing check // {
    url = "${check.scheme}://${if check.host == null then "" else check.host}:${toString check.port}${check.path}";
    own_host = check.host == null;
    inherit (check) headers scheme port path;
    validate_certs = !check.insecureSSL;
  };
  checksOf = checks: map ofCommand (concatLists (map (check: if check.cmd == null then [ ] else [ check ]) checks.cmd))
    ++ map ofRequest checks.http;

  environment = deployment.targetEnv or "none";
in
if environment != "none" then
  throw "host '${host}': deployment.targetEnv is \"${environment}\", but machines are not created here. Set it to \"none\", and deployment.targetHost to the address of the machine that exists"
else {
  kind = "nixos";
  target_host = deployment.targetHost or null;
  target_port = deployment.targetPort or null;
  target_user = deployment.targetUser or null;
  ssh_options = deployment.sshOptions or [ ];
  privilege_escalation_command = deployment.privilegeEscalationCommand or [ ];
  tags = deployment.tags or [ ];
  owners = deployment.owners or [ ];
  build_on_target = deployment.buildOnTarget or false;
  substitute_on_destination =
    if (deployment.substituteOnDestination or null) != null then deployment.substituteOnDestination
    else if format == "nixops" then !deployment.hasFastConnection
    else null;
  health_checks = checksOf (deployment.healthChecks or { cmd = [ ]; http = [ ]; });
  pre_deploy_checks = checksOf (deployment.preDeployChecks or { cmd = [ ]; http = [ ]; });
  keys = (keys {
    keys = deployment.keys or { };
    secrets = deployment.secrets or { };
  }).metadata;
  inherit ssh_access;
  # The reason if the host is excluded from deploys.
  left_out =
    if deployment.buildOnly or false then "deployment.buildOnly is set"
    else if (deployment.targetHost or "") == null then "deployment.targetHost is null"
    else null;
}
