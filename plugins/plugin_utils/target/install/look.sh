# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Look at the machine before anything is changed: what it is, whether it can become a NixOS host, and which disks it has.
# Changes nothing.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=look
exec 3>&1 1>/dev/null 2>&1
answer_begins
is_root || error not_root "only root can look at disks and install a system"
if [ "$(uname -s)" != Linux ]; then error not_linux "the machine runs $(uname -s)"; fi

os_release() { sed -n "s/^$1=//p" "$ROOT/etc/os-release" 2>/dev/null | tr -d "\"'" | head -n 1; }

is_installer() { [ "$(os_release ID):$(os_release VARIANT_ID)" = nixos:installer ]; }

# A system that runs from main memory has no store of its own to keep. A host may have its root in memory, and its store on
# a disk.
is_like_an_installer() {
    [ "$(os_release ID)" = nixos ] && have nixos-install && is_in_memory / && is_in_memory /nix/store
}

is_in_memory() { case $(stat -f -c %T "$ROOT$1") in tmpfs | ramfs | overlayfs | squashfs) true ;; *) false ;; esac; }

# A host without a disk has booted a release that the role netboot keeps.
has_release() { read_text "$PROC/cmdline" && case " $TEXT" in *' nixferry.release='*) true ;; *) false ;; esac; }

if is_installer; then
    say state installer
elif [ -s "$ROOT/$RECORD" ]; then
    read_text "$ROOT/$RECORD"
    case $NEWLINE$TEXT$NEWLINE in *"${NEWLINE}confirmed=1$NEWLINE"*) say state managed ;; *) say state installed ;; esac
    say_lines record "$TEXT"
elif { [ -d "$ROOT/var/lib/nixferry/activations" ] && [ -e "$ROOT/run/current-system" ]; } || has_release; then
    say state managed
elif is_like_an_installer; then
    say state installer
else
    say state linux
fi
find_boot_identity
say boot "$BOOT_IDENTITY"
say current "$(readlink -f "$ROOT/run/current-system" 2>/dev/null)"
say name "$(os_release PRETTY_NAME)"
find_nix_system
say system "$NIX_SYSTEM"
while read -r memory_word memory_kib _; do
    if [ "$memory_word" = MemTotal: ]; then say memory_mib "$((memory_kib / 1024))"; fi
done <"$PROC/meminfo"
if [ -d "$SYS/firmware/efi" ]; then
    say efi 1
    for secure_boot in "$SYS"/firmware/efi/efivars/SecureBoot-*; do
        if [ -e "$secure_boot" ] && [ "$(tail -c 1 "$secure_boot" | od -An -tu1 | tr -d ' ')" = 1 ]; then say secure_boot 1; fi
    done
fi
if have systemd-detect-virt; then say container "$(systemd-detect-virt --container)"; fi
for missing_tool in tar cpio setsid; do
    if ! have "$missing_tool"; then say kexec_problem "$missing_tool is missing"; fi
done
if have setsid && ! setsid --wait true; then say kexec_problem 'setsid knows no --wait'; fi
read_text "$PROC/sys/kernel/kexec_load_disabled"
if [ "$TEXT" = 1 ]; then say kexec_problem 'the kernel forbids kexec (kernel.kexec_load_disabled)'; fi
for missing_tool in nixos-install nixos-enter; do
    if ! have "$missing_tool"; then say install_problem "$missing_tool is missing"; fi
done
if is_mounted "$MOUNT_POINT"; then say mounted 1; fi
for ended_step in disks system; do
    for ended_how in begun 'done'; do
        read_text "$WORK/$ended_step.$ended_how"
        if [ -n "$TEXT" ]; then say "${ended_step}_$ended_how" "$(listed "$TEXT")"; fi
    done
done
say_disks
check_script_devices
answer_ends
