# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# systemd-boot.
# Sources: systemd-boot-builder.py of nixpkgs (entries called nixos-generation-N.conf, later nixos-HASH.conf; both with
# a counter such as +3 where boot counting is on), lanzaboote (programs in EFI/Linux), bootctl(1), the Boot Loader
# Interface for the variables, and boot.c of systemd: entries are called by the names of their files without the counter,
# in lower case; what chooses one is a pattern.

EFI_VARIABLES=/sys/firmware/efi/efivars
LOADER_GUID=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
ONE_SHOT_FEATURE=8      # the bit of LoaderFeatures for one-shot entries
PREFERRED_SINCE=260     # the version of systemd-boot that knows preferred entries (systemd-boot-builder.py says so)

efi_variable() { echo "$ROOT$EFI_VARIABLES/$1-$LOADER_GUID"; }

# Set ENTRY_PARTITION and EFI_PARTITION to the directories of the entries and of the configuration: two partitions if there is
# an XBOOTLDR. Asking costs time: what is called from outside asks once, and the functions that it calls do not.
find_partitions() {
    ENTRY_PARTITION=$(bootctl --print-boot-path 2>/dev/null) || ENTRY_PARTITION=$BOOT_DIRECTORY
    EFI_PARTITION=$(bootctl --print-esp-path 2>/dev/null) || EFI_PARTITION=$BOOT_DIRECTORY
}

# Is this an EFI host whose variables cannot be read?
efi_is_hidden() {
    [ -d "$ROOT/sys/firmware/efi" ] || return 1
    for hidden_variable in "$ROOT$EFI_VARIABLES"/*; do [ ! -e "$hidden_variable" ] || return 1; done
}

# Print the content of a variable, which stands behind four bytes of attributes. Programs cannot seek in such a file.
# shellcheck disable=SC2002 # a redirection is a file in which tail seeks
efi_content() { if [ -e "$(efi_variable "$1")" ]; then cat "$(efi_variable "$1")" | tail -c +5; fi; }

# Print the text in a variable: UTF-16. Names of entries are ASCII.
efi_text() { efi_content "$1" | tr -d '\000'; }

# loader_setting KEY: print the last value of a key in loader.conf
loader_setting() {
    [ -r "$ROOT$EFI_PARTITION/loader/loader.conf" ] || return 0
    loader_value=''
    while read -r loader_key loader_rest; do
        if [ "$loader_key" = "$1" ]; then loader_value=$loader_rest; fi
    done <"$ROOT$EFI_PARTITION/loader/loader.conf"
    printf '%s\n' "$loader_value"
}

systemd_boot_override() {
    find_partitions
    choose_default
    case $CHOSEN_BY in
        LoaderEntry*)
            override_verb=set-$(echo "${CHOSEN_BY#LoaderEntry}" | lower_case)
            echo "its EFI variable $CHOSEN_BY chooses what boots by default (\`bootctl $override_verb ''\` removes it)"
            ;;
    esac
}

systemd_boot_problem() {
    find_partitions
    choose_default
    if ! have bootctl; then
        echo "bootctl was not found"
    elif loader_features=$(efi_content LoaderFeatures | od -An -tu1 -N1) && [ -n "$loader_features" ] &&
        [ $((loader_features & ONE_SHOT_FEATURE)) = 0 ]; then
        echo "its systemd-boot is too old to boot an entry just once (bootctl update)"
    elif grep -q " $EFI_VARIABLES [^ ]* ro[, ]" "$PROC/mounts" 2>/dev/null; then
        echo "its EFI variables are mounted read-only, so systemd-boot cannot be told to boot an entry just once"
    elif [ ! -e "$ROOT$EFI_PARTITION/loader/loader.conf" ]; then
        echo "there is no loader/loader.conf in $EFI_PARTITION: its EFI system partition is not mounted"
    elif [ -z "$CHOSEN" ]; then
        echo "the default entry in loader.conf of systemd-boot could not be found"
    elif [ "$(menu_timeout)" = menu-force ]; then
        echo "its systemd-boot waits in its menu for a key (boot.loader.timeout), so after a crash the host would not come back"
    fi
}

menu_timeout() {
    menu_variable=$(efi_text LoaderConfigTimeout)
    echo "${menu_variable:-$(loader_setting timeout)}"
}

# Print the name of an entry for systemd-boot: its file name without the counter, which is +N or +N-M at its end.
entry_name() {
    entry_file=${1##*/}
    entry_stem=${entry_file%.*}
    case $entry_stem in
        *+*) if is_counter "${entry_stem##*+}"; then entry_stem=${entry_stem%+*}; fi ;;
    esac
    echo "$entry_stem.${entry_file##*.}"
}

is_counter() { case $1 in '' | -* | *- | *-*-* | *[!0-9-]*) false ;; esac; }

# Has systemd-boot given up the entry? It no longer counts as a preferred one.
has_no_tries_left() {
    tries_stem=${1%.*}
    case $tries_stem in *+0 | *+0-*) is_counter "${tries_stem##*+}" ;; *) false ;; esac
}

# A host may boot by a systemd-boot that is older than its systems. An unknown version is taken for a new one.
knows_preferred() {
    loader_version=$(efi_text LoaderInfo)
    loader_version=${loader_version#systemd-boot }
    loader_version=${loader_version%%[!0-9]*}
    [ -z "$loader_version" ] || [ "$loader_version" -ge "$PREFERRED_SINCE" ]
}

lower_case() { tr '[:upper:]' '[:lower:]'; }

systemd_boot_entries() {
    for entry in "$ROOT$ENTRY_PARTITION"/loader/entries/*.conf "$ROOT$ENTRY_PARTITION"/EFI/Linux/*.efi; do
        if [ -e "$entry" ]; then echo "$entry"; fi
    done
}

systemd_boot_entry() {
    find_partitions
    systemd_boot_entries | while IFS= read -r entry; do
        if [ "$(init_of "$entry")" = "$1" ]; then entry_name "$entry"; fi
    done | tail -n 1
}

# Set CHOSEN_BY to what chooses the boot default, a variable of the loader or a key of loader.conf, and CHOSEN to the
# system: empty if it depends on more than the entries. In the order of config_select_default_entry in boot.c of systemd.
choose_default() {
    CHOSEN=''
    for CHOSEN_BY in LoaderEntryPreferred preferred LoaderEntryDefault default; do
        case $CHOSEN_BY in *referred) knows_preferred || continue ;; esac
        case $CHOSEN_BY in
            Loader*) chosen_pattern=$(efi_text "$CHOSEN_BY" | lower_case) ;;
            *) chosen_pattern=$(loader_setting "$CHOSEN_BY" | lower_case) ;;
        esac
        case $chosen_pattern in
            @saved) return 0 ;; # the entry that was booted last
            '' | @*) continue ;;
        esac
        CHOSEN=$(systems_of_entries "$CHOSEN_BY" "$chosen_pattern" | sort -u)
        case $CHOSEN in
            '') continue ;;
            /*"$NEWLINE"* | [!/]*) CHOSEN='' ;;
        esac
        return 0
    done
    CHOSEN_BY=''
}

# systems_of_entries SOURCE PATTERN: print the systems of the entries that match; `other` for one that boots none
systems_of_entries() {
    systemd_boot_entries | while IFS= read -r entry; do
        entry_id=$(entry_name "$entry")
        case $entry_id in *[A-Z]*) entry_id=$(echo "$entry_id" | lower_case) ;; esac
        # shellcheck disable=SC2254 # it is a pattern
        case $entry_id in $2) ;; *) continue ;; esac
        case $1 in *referred) if has_no_tries_left "$entry"; then continue; fi ;; esac
        entry_system=$(init_of "$entry")
        echo "${entry_system:-other}"
    done
}

systemd_boot_default() {
    find_partitions
    choose_default
    printf '%s\n' "$CHOSEN"
}

systemd_boot_once() {
    bootctl set-oneshot "$1" && without_nul "$(efi_variable LoaderEntryOneShot)" | grep -qF "$1"
}

systemd_boot_forget() { bootctl set-oneshot ''; }

# systemd-boot-builder.py makes this file anew, never opens one that exists, and renames it (write_loader_conf).
systemd_boot_leftovers() {
    find_partitions
    echo "$ROOT$EFI_PARTITION/loader/loader.tmp"
}
