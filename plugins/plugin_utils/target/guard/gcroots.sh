# shellcheck shell=sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# GC roots: protect the new and the old system while an activation needs them.

ACTIVATIONS_KEPT=20
GC_ROOTS=/nix/var/nix/gcroots/nixferry

add_gc_root() {
    [ -n "$2" ] || return 0
    if is_root; then
        { [ -d "$ROOT$GC_ROOTS" ] || mkdir -p "$ROOT$GC_ROOTS"; } && ln -sfn "$2" "$ROOT$GC_ROOTS/$ID-$1"
    else
        nix-store --add-root "$DIR/root-$1" --indirect --realise "$2" >/dev/null
    fi
}

remove_gc_roots() {
    rm -f "$ROOT$GC_ROOTS/$ID-new" "$ROOT$GC_ROOTS/$ID-old" "$ROOT$GC_ROOTS/$ID-profile" \
        "$DIR/root-new" "$DIR/root-old" "$DIR/root-profile"
}

# After a failure both systems keep their GC roots; the next successful deploy removes them.
forget_failed() {
    for gc_root in "$ROOT$GC_ROOTS"/*; do
        gc_root_id=${gc_root##*/}
        failed_record=$STATE/activations/${gc_root_id%-*}
        read_text "$failed_record/phase"
        if [ "$TEXT" != failed ]; then continue; fi
        read_text "$failed_record/request/profile"
        if [ "$TEXT" = "$PROFILE" ]; then rm -f "$gc_root"; fi
    done
}

# Delete old activation records and their GC roots.
prune_activations() {
    kept=0
    for found_id in $(activations); do
        kept=$((kept + 1))
        if [ "$found_id" = "$ID" ] || [ "$kept" -le "$ACTIVATIONS_KEPT" ]; then continue; fi
        read_text "$STATE/activations/$found_id/phase"
        if is_final "$TEXT" || ! is_phase "$TEXT"; then rm -rf "$STATE/activations/${found_id:?}"; fi
    done
    prune_programs
    # Left behind by a power cut in prepare_state.
    for left_behind in "$STATE"/test.*; do
        if [ -e "$left_behind" ]; then rm -f "$left_behind"; fi
    done
    for gc_root in "$ROOT$GC_ROOTS"/*; do
        gc_root_id=${gc_root##*/}
        if [ -L "$gc_root" ] && [ ! -d "$STATE/activations/${gc_root_id%-*}" ]; then rm -f "$gc_root"; fi
    done
}
