# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Turn every format of fleet files into one attribute set.
#
# parts      the other files of this directory, by name
# files      paths of fleet files; several are one NixOps network
# value      instead of files: the value of a flake's output
# format     a name of `formats` below; null: detect it
# arguments  the arguments of functions at the top of the files
# access     a definition of the option of access.nix, for all hosts
# system     the platform of hosts without one in their files; null: that of the machine
#
# Result: { format = "..."; meta = { ... }; hosts.<name> = { deployment; secrets; toplevel; }; list = names: { ... }; }
# In a list, places has the place where each host is defined, if Nix knows it.
# deployment is data that survives JSON, without contents of secrets. secrets says how to read these. Neither forces the
# toplevel, and one host never forces another. A list may come from `listed`, the same data of an evaluation with lean.nix.
parts:

{ files ? [ ], value ? null, format ? null, arguments ? { }, access ? { }, system ? null }:

let
  inherit (builtins) attrNames concatStringsSep deepSeq filter functionArgs head intersectAttrs isAttrs isFunction
    isPath isString length listToAttrs map mapAttrs removeAttrs substring;

  # Call a function once, like all the tools. A result that is still a function is a mistake, and calls may never end.
  call = name: value:
    let
      function = if isAttrs value && value ? __functor then value.__functor value else value;
      wanted = functionArgs function;
      missing = filter (argument: !wanted.${argument} && !(arguments ? ${argument})) (attrNames wanted);
    in
    if !isFunction function then value
    else if missing != [ ] then
      throw "${name} is a function that requires ${concatStringsSep ", " missing}. Give it with the option `args`; or, if this is the module of one host, name the file that has the hosts"
    else function (if wanted == { } then arguments else intersectAttrs wanted arguments);

  sources =
    if files == [ ] then [{ name = ""; value = checked "the flake's output" (call "the flake's output" value); }]
    else map (file: { name = toString file; value = checked (toString file) (call (toString file) (import file)); }) files;

  # Refuse a value that is not a set of hosts before parts of it are taken for hosts. The result of nixus is a derivation as
  # well, and deploy-rs' hosts are an output of a flake.
  checked = name: value:
    let what = parts.shape value; in
    if what == null || isAttrs value && (if format == null then parts.detect parts.shape [ ] [ value ] != null else format == "nixus" || value ? deploy) then value
    else
      throw "${name} is ${what}, but ${
        if format == null then "a fleet is an attribute set of hosts, as NixOps, morph, colmena and nixus read it"
        else "the format ${format} is an attribute set of hosts"}. Name the file or the output that has the hosts, and with the option `format` (`fleet_format` of a build) the tool that it was written for: ${concatStringsSep ", " (attrNames formats)}";

  first = (head sources).value;

  formats = {
    nixops = parts.nixops;
    morph = parts.morph;
    nixus = parts.nixus;
    colmena = if first ? __schema then parts.hive else parts.colmena;
    deploy-rs = parts.deploy-rs;
    nixos = parts.systems "nixos";
    darwin = parts.systems "darwin";
    home-manager = parts.systems "home-manager";
  };

  # A directory has its text in default.nix.
  text = file: builtins.readFile (if builtins.pathExists (file + "/default.nix") then file + "/default.nix" else file);
  chosen =
    if format != null then format
    else parts.detect parts.shape (map text files) (map (source: source.value) sources);

  # The place of the attribute in the first of `sets` that has it.
  place = name: sets:
    let found = filter (position: position != null) (map (builtins.unsafeGetAttrPos name) sets); in
    if found == [ ] then null else "${(head found).file}:${toString (head found).line}";

  # nixpkgs in the search path, for files whose attribute `section` does not name it.
  searched = section: attribute:
    let
      found = builtins.tryEval (builtins.findFile builtins.nixPath "nixpkgs");
      where = place section (map (source: source.value) sources);
    in
    if found.success then found.value
    else
      throw "file 'nixpkgs' was not found in the Nix search path, where it is looked for since ${
        if where == null then "there is no ${section}.${attribute} in ${concatStringsSep ", " (map (source: source.name) sources)}${
          if format != null then "" else ", which was taken for a file of ${chosen}. ${another}"}"
        else "`${section}` has no `${attribute}` at ${where}"}";

  another = "If the file was written for another tool, name it with the option `format`";
  # What is wrong with the value of `name`, which should be `wanted`.
  mistaken = name: value: wanted: throw "${name} is ${parts.shape value}, but in the format ${chosen} it is ${wanted}. ${another}";

  # The value of a host as a module, and that of `defaults`. They are checked when a host is evaluated.
  module = name: moduleOf "host '${name}'" "a host";
  defaults = value: moduleOf "`defaults`" "it" (value.defaults or { });
  moduleOf = name: role: value:
    let
      what = if isAttrs value && !(value ? __functor) then parts.shape value else null;
      usable = isAttrs value || isFunction value || isPath value || (isString value && substring 0 1 value == "/");
    in
    if usable && what == null then value
    else
      throw "${name} is ${if what == null then parts.shape value else what}, but in the format ${chosen} ${role} is a NixOS module: a set, a function, or the path of a file with one. ${another}${
        if what == "one configuration that has been evaluated already" then ": `nixos` is a set of such configurations" else ""}";

  # A module with the file that has it, for messages of the module system; "": none. The module stays as deep as it is:
  # the module system merges lists in the order of depth, and another order is another system than that of the tool.
  located = lib: file: value:
    let placed = content: if isAttrs content then { _file = file; } // content else content; in
    if file == "" then value
    else if isAttrs value && !(value ? __functor) then placed value
    # Where a function cannot be given the arguments of another one (before 18.03), messages do not tell the file.
    else if (isAttrs value || isFunction value) && lib ? setFunctionArgs then
      lib.setFunctionArgs (found: placed (value found)) (lib.functionArgs value)
    else value;

  # The values of `set`, each of which must be a set itself; `what` describes all of them, one, and what each should be.
  setsOf = what: set:
    if !isAttrs set then mistaken what.all set "an attribute set"
    else
      mapAttrs
        (name: value:
          if isAttrs value then value
          else mistaken "${what.one or "host"} '${name}'" value what.each)
        set;

  # What a file has beside its hosts has to be a set before an attribute is taken for missing in it.
  settings = { nixops = [ "network" "resources" ]; morph = [ "network" ]; colmena = [ "meta" "network" ]; }.${chosen} or [ ];
  settled = source:
    let
      wrong = filter (name: source.value ? ${name} && !isAttrs source.value.${name}) settings;
      name = head wrong;
      where = place name [ source.value ];
    in
    if first ? __schema || wrong == [ ] then source
    else mistaken "`${name}` at ${toString where}" source.value.${name} "an attribute set";

  fleet = formats.${chosen} {
    inherit arguments call chosen defaults located module searched setsOf system;
    sources = map settled sources;
    inherit (parts) deployment keys lean nixpkgs unwrap;
    options = arguments: parts.options (arguments // { inherit (parts) key-options; });
    value =
      if length sources == 1 then (settled (head sources)).value
      else throw "${concatStringsSep ", " (map (source: source.name) sources)}: only a NixOps network is made of several files";
    purely = files == [ ];
    inherit extra added;
    # Distinguishes hosts whose description of SSH access differs; null: the host has none.
    ssh-access = name: config:
      let found = config.nixferry.sshAccess or { }; in
      if found == { } then null
      else if config.nixferry.hostName != name then
        throw "host '${name}': nixferry.sshAccess has no part for \"${config.nixferry.hostName}\". Set networking.hostName or nixferry.hostName to \"${name}\", which the host is called in the fleet"
      else builtins.hashString "sha256" (builtins.toJSON found);
    # An evaluated system with the modules of `added`.
    extend = names: name: evaluated:
      let modules = added names name; in
      if modules == [ ] then evaluated
      else (evaluated.extendModules or (throw "host '${name}' is evaluated already: nothing can be added to it")) { inherit modules; };
  };

  # Modules for a host beside its own; `names` are those of all hosts.
  extra = names: name: [
    parts.access
    {
      _file = "ssh_access";
      nixferry = { hostName = name; hostNames = names; sshAccess = access; };
    }
  ];
  # The same for a host that was already evaluated and must be evaluated again with them.
  added = names: name: if access == { } then [ ] else extra names name;

  # Do not deploy a host with wrong deployment data.
  hosts = mapAttrs
    (name: host: removeAttrs host [ "listed" ] // {
      toplevel = deepSeq host.deployment host.toplevel;
      # For the result of a build.
      nixferryAbout = {
        tool = chosen;
        place = place name (fleet.places or [ ]);
        inherit (host.deployment) kind target_host target_user target_port tags;
      };
    })
    fleet.hosts;
in
{
  format = chosen;
  inherit (fleet) meta;
  inherit hosts;

  # The data of the hosts in `names`; null: of all. Common requirements are checked even without names.
  list = names: builtins.seq (fleet.base or null) {
    format = chosen;
    inherit (fleet) meta;
    names = attrNames hosts;
    places = mapAttrs (name: _host: place name (fleet.places or [ ])) hosts;
    hosts = mapAttrs (_name: host: host.listed or host.deployment)
      (if names == null then fleet.hosts
      else intersectAttrs (listToAttrs (map (name: { inherit name; value = null; }) names)) fleet.hosts);
  };
}
