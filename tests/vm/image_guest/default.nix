# Mini NixOS systems with the pull agent: what pull.nix makes of its options, and Debian in the store for what mini NixOS leaves to
# its host. systems.json has `pull.nix`, the files of the kernel, the key that may log in, and by name the options of systems.
let
  given = builtins.fromJSON (builtins.readFile ./systems.json);
  seed = builtins.path { path = ./seed; name = "mini-nixos-seed"; };
  platform = builtins.currentSystem;
  mini = import ./mini-nixos.nix { inherit seed platform; };
  inherit (import ./busybox.nix { inherit seed platform; }) busybox run;
  userland = builtins.path { path = ./userland; name = "userland"; };

  # Programs are longer than an environment variable may be.
  writeFile = mode: name: text: run name { inherit text; passAsFile = [ "text" ]; } ''
    ${busybox} cp "$textPath" $out
    ${busybox} chmod ${mode} $out
  '';
  lib = {
    mkIf = condition: value: if condition then value else { };
    mkOption = option: option;
    removeSuffix = _: text: text;
    types = { str = 0; int = 0; bool = 0; listOf = type: type; nullOr = type: type; enum = type: type; submodule = type: type; };
  };
  pkgs = {
    writeText = writeFile "0444";
    writeScript = writeFile "0555";
    writeTextDir = name: text: { name = baseNameOf name; inherit text; };
    symlinkJoin = join: join;
  };
  module = pull: import (/. + given.module) {
    inherit lib pkgs;
    config = { networking.hostName = ""; nixferry = { inherit pull; }; };
  };
  defaults = builtins.mapAttrs (_: option: option.default) (module { }).options.nixferry.pull;

  system = name: options:
    let
      config = (module (defaults // options.pull)).config;
      broken = builtins.filter (each: !each.assertion) config.assertions;
      wanted = unit:
        let parts = builtins.match "(.*)[.](service|timer)" unit; in
        config.systemd."${builtins.elemAt parts 1}s".${builtins.head parts}.wantedBy or [ ];
      units = builtins.concatMap (package: package.paths) config.systemd.packages;
      lines = builtins.concatStringsSep "\n";
      setting = key: "${key} = ${builtins.concatStringsSep " " config.nix.settings.${key}}";
    in
    if broken != [ ] then throw (lines (map (each: each.message) broken)) else {
      inherit (options) version;
      bootFiles = given.files;
      kernelParams = given.parameters;
      web.enable = false;
      units = builtins.listToAttrs (map
        (unit: { inherit (unit) name; value = { inherit (unit) text; wantedBy = wanted unit.name; }; })
        units);
      etc = {
        "tmpfiles.d/nixferry.conf" = lines (config.systemd.tmpfiles.rules ++ [ "" ]);
        # As on NixOS, every user reaches the daemon.
        "tmpfiles.d/nix-daemon.conf" = "d /nix/var/nix/daemon-socket 0755 root root - -\n";
        "nix/nix.conf" = lines ([ "substituters =" "build-users-group = nixbld" "sandbox = false" ]
          ++ map setting (builtins.attrNames config.nix.settings) ++ [ "" ]);
        "mini-nixos/boot-loader" = ''
          loader systemd-boot
          esp /boot
          timeout 0
          kernel /nix/var/nix/profiles/system/kernel
          initrd /nix/var/nix/profiles/system/initrd
        '';
      };
      activationScripts.tmpfiles =
        "if [ -d /run/systemd/system ]; then systemd-tmpfiles --create nixferry.conf; fi";
      postBootCommands = ''
        mkdir -p /usr
        mount --bind ${userland}/usr /usr
        if [ ! -e /etc/passwd ]; then
            for name in bin sbin lib lib64; do ln -s usr/$name /$name; done
            cp -R ${userland}/etc ${userland}/var /
            find /etc /var -xdev -type d -exec chmod u+w {} +
            # NixOS looks up the names of units' users; Debian has no such library.
            echo nixferry-pull:x:980:980::/:/bin/false >>/etc/passwd
            echo nixferry-pull:x:980: >>/etc/group
            # Not in the store, whose directory a group may write to: sshd would not believe it.
            echo '${given.key}' >/etc/ssh/lab_authorized_keys
            ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
            echo "@@ key $(cat /etc/ssh/ssh_host_ed25519_key.pub)"
        fi
        mount -t vfat -o umask=0077 /dev/vda1 /boot
        ip link set lo up
        ip address add 10.0.2.15/24 dev eth0
        ip link set eth0 up
        ip route add default via 10.0.2.2
      '';
    };
in
mini (builtins.mapAttrs system given.systems)
