# A small web service that needs no other flake, so that its first build takes a second.
{
  description = "A web service that nixferry.deploy keeps running";

  outputs = { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      service = system: derivation {
        name = "service";
        inherit system;
        builder = "/bin/sh";
        args = [ "-c" "printf %s \"$program\" >\"$out\"" ];
        # The program refers to the page in the store, so the page goes wherever the program goes.
        program = builtins.replaceStrings [ "@page@" ] [ "${./page.html}" ] (builtins.readFile ./service.py);
        # To ask other machines takes longer than to build.
        preferLocalBuild = true;
        allowSubstitutes = false;
      };
    in
    {
      packages = builtins.listToAttrs (map
        (system: { name = system; value.service = service system; })
        systems);
    };
}
