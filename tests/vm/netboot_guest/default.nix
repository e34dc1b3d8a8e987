# Systems that boot from the network: what a toplevel of NixOS with installer/netboot/netboot.nix has, around an init that
# starts an ssh server. `parts` has kernel, netboot-initrd and netboot of the lab's image vm; `keys` the keys of the guest.
{ parts, keys, version, behaviour ? "good", platform ? builtins.currentSystem }:
let
  programs = builtins.path { path = parts + "/netboot"; name = "programs"; };
  boot = builtins.path { path = parts; name = "boot"; filter = path: _type: builtins.match ".*/netboot" path == null; };
  login = builtins.path { path = keys; name = "keys"; };
  busybox = "${programs}/bin/busybox";
in
derivation {
  name = "nixos-system-guest-${version}";
  system = platform;
  builder = busybox;
  args = [ "sh" "-euc" ''
    export PATH=$out/bin
    ${busybox} mkdir -p $out/bin $out/etc
    ${busybox} --list | while read -r applet; do ${busybox} ln -s ${busybox} $out/bin/$applet; done
    ln -sf ${programs}/bin/dropbear $out/bin/dropbear
    rm $out/bin/init
    cp ${./systemctl} $out/bin/systemctl
    sed "1s|/bin/sh|$out/bin/sh|; s|@out@|$out|g; s|@programs@|${programs}|g; s|@keys@|${login}|g" ${./init} >$out/init
    sed -i "1s|/bin/sh|$out/bin/sh|" $out/bin/systemctl
    chmod 755 $out/init $out/bin/systemctl
    ln -s ${boot}/kernel $out/kernel
    ln -s ${boot}/netboot-initrd $out/initrd
    echo "console=ttyS0 quiet mitigations=off nokaslr no_timer_check" >$out/kernel-params
    echo "../nix-store.squashfs /nix/.ro-store squashfs loop,x-initrd.mount 0 0" >$out/etc/fstab
    echo ${version} >$out/nixos-version
    echo ${behaviour} >$out/behaviour
  '' ];
}
