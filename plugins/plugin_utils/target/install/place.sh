# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Place host keys and files below $MOUNT_POINT, before the system is installed: its activation may need them. FILES are lines
# USER:GROUP  MODE  OFFSET:SIZE  PATH, with tabs between; the contents follow after $NIXFERRY_SKIP bytes of $NIXFERRY_RECEIVED.
# Owners that only the new system knows are given when it is installed; until then root owns the file. HOST_KEYS are lines
# TYPE  generate|keep, KEY_DIRECTORY is where keys are. A file that has this content already is left alone.

# shellcheck disable=SC2034 # lib/base.sh ends the answer with it
VERB=files
trap '' HUP PIPE INT TERM
exec 3>&1
command exec 1>"$NIXFERRY_RECEIVED.log" 2>&1 || exec 1>/dev/null 2>&1
answer_begins
is_root || error not_root "only root can place files"
make_work
if [ -n "$MOUNT_POINT" ] && ! is_mounted "$MOUNT_POINT"; then error not_mounted "nothing is mounted on $MOUNT_POINT"; fi
if [ -n "$MOUNT_POINT" ]; then is_ours "$TARGET/." || error unsafe_place "others than root may write to $MOUNT_POINT"; fi

# A link in the new system must not lead out of it.
check_place() { # PATH
    placed_rest=${1#/}/ placed_at=$TARGET
    while [ -n "$placed_rest" ]; do
        placed_at=$placed_at/${placed_rest%%/*}
        placed_rest=${placed_rest#*/}
        if [ -L "$placed_at" ]; then error unsafe_place "${placed_at#"$ROOT"} is a symbolic link"; fi
    done
    if [ -d "$TARGET$1" ]; then error unsafe_place "${TARGET#"$ROOT"}$1 is a directory"; fi
}

place_file() { # OWNER MODE SOURCE PATH
    check_place "$4"
    placed_offset=$((${3%%:*} + NIXFERRY_SKIP + 1)) placed_size=${3##*:}
    placed_to=$TARGET$4
    # Directories on the way are for all to pass; the file has its own mode.
    (umask 022 && mkdir -p "${placed_to%/*}") || error not_placed "the directory of $4 cannot be made"
    # Also what a run that was killed has left. Others may write to the directory, such as /tmp: they would know the name of a
    # file, and have a link there.
    rm -rf "${placed_to%/*}"/.nixferry-placed-*
    placed_in=$(mktemp -d "${placed_to%/*}/.nixferry-placed-XXXXXX") || error not_placed "$4 cannot be written"
    placed_new=$placed_in/file
    tail -c "+$placed_offset" "$NIXFERRY_RECEIVED" | head -c "$placed_size" >"$placed_new"
    if [ "$(wc -c <"$placed_new")" -ne "$placed_size" ] || ! chmod "$2" "$placed_new"; then
        rm -rf "$placed_in"
        error not_placed "$4 cannot be written"
    fi
    if [ -f "$placed_to" ] && cmp -s "$placed_new" "$placed_to" && [ "$(stat -c %a "$placed_to")" = "$2" ]; then
        rm -rf "$placed_in"
        return 0
    fi
    mv -f "$placed_new" "$placed_to" || error not_placed "$4 cannot be written"
    rmdir "$placed_in"
    say placed "$4"
}

place_all() {
    true >"$WORK/owners.new"
    while IFS=$TAB read -r owner mode source path; do
        if [ -z "$path" ]; then continue; fi
        place_file "$owner" "$mode" "$source" "$path"
        if [ "$owner" != root:root ]; then printf '%s\t%s\t%s\n' "$owner" "$mode" "$path" >>"$WORK/owners.new"; fi
    done <<EOT
$FILES
EOT
    if [ -n "$MOUNT_POINT" ]; then mv -f "$WORK/owners.new" "$WORK/owners"; fi
}

# A key that was made in an earlier run stays: others may know it by now.
place_keys() {
    while IFS=$TAB read -r key_type key_how; do
        if [ -z "$key_type" ]; then continue; fi
        key_path=$KEY_DIRECTORY/ssh_host_${key_type}_key
        key_file=$TARGET$key_path
        check_place "$key_path"
        if [ ! -s "$key_file" ]; then
            (umask 022 && mkdir -p "$TARGET$KEY_DIRECTORY") || error not_placed "$KEY_DIRECTORY cannot be made"
            case $key_how in
                keep)
                    key_old=$ROOT/etc/ssh/ssh_host_${key_type}_key
                    if [ ! -s "$key_old" ]; then error no_old_key "the machine has no $key_type host key to keep"; fi
                    cp "$key_old" "$key_file.new"
                    ;;
                generate)
                    rm -f "$key_file.new" "$key_file.new.pub"
                    ssh-keygen -q -t "$key_type" -N '' -C '' -f "$key_file.new" </dev/null
                    ;;
            esac || error not_placed "the $key_type host key cannot be made"
            { chmod 0600 "$key_file.new" && mv -f "$key_file.new" "$key_file"; } || error not_placed "$key_path cannot be written"
            rm -f "$key_file.new.pub"
            say placed "$key_path"
        fi
        key_public=$(ssh-keygen -y -P '' -f "$key_file" </dev/null) || error bad_key "$key_path is not a private key without a passphrase"
        { write "$key_file.pub.new" "$key_public" && chmod 0644 "$key_file.pub.new" &&
            mv -f "$key_file.pub.new" "$key_file.pub"; } || error not_placed "$key_path.pub cannot be written"
        # A comment is not part of the key.
        key_comment=${key_public#* * }
        if [ "$key_comment" != "$key_public" ]; then key_public=${key_public%" $key_comment"}; fi
        say host_key "$key_public"
        printf '%s\n' "$key_public" >>"$WORK/host_keys.new"
    done <<EOT
$HOST_KEYS
EOT
}

place_all
if [ -n "$HOST_KEYS" ]; then
    true >"$WORK/host_keys.new"
    place_keys
    mv -f "$WORK/host_keys.new" "$WORK/host_keys"
fi
if [ -n "$MOUNT_POINT" ]; then sync -f "$TARGET" 2>/dev/null || sync; fi
answer_ends
