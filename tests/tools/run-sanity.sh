#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Run "ansible-test sanity" on the checkout: run-sanity.sh VENV [again] [ARGUMENT...]
#
# VENV is the virtual environment whose ansible-core supplies ansible-test. All tests run. Code is compiled by every
# Python version that is installed here, and imported by the oldest, the newest and one that choose.py chooses: each
# needs an environment of its own. The linters have their turn with one of three commits. With "again", which says that
# another ansible-core has run all tests already, what judges files without knowing ansible-core is left out, and with
# every other commit all of it. All this only with NIXFERRY_TEST_PART=1: otherwise nothing is left out. The run fails too when a test did not run because a program that it wants is missing.
#
# ansible-test insists on a path that ends in ansible_collections/NAMESPACE/NAME, on a git repository and on a home
# directory that it fills with virtual environments. All of that lies under .build/sanity.

set -eu

if [ $# -lt 1 ]; then
    echo "usage: run-sanity.sh VENV [again] [ARGUMENT...]" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/../.." && pwd -P)
venv=$(cd "$1" && pwd -P)
shift
again=
if [ "${1-}" = again ]; then
    again=1
    shift
fi
core=$("$venv/bin/python" -c 'import ansible.release; print(".".join(ansible.release.__version__.split(".")[:2]))')

work=$repository/.build/sanity/$core
home=$work/home
tree=$work/ansible_collections/nixferry/deploy
mkdir -p "$home/.ansible/test/cache" "$work/bin"

# One run at a time in one tree.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$work/lock"
    flock 9
fi

"$venv/bin/python" "$repository/tests/tools/export_tree.py" "$tree"

# pip keeps its settings and its cache in the real home directory.
for entry in .config .cache .pip; do
    if [ -e "$HOME/$entry" ] && ! [ -e "$home/$entry" ]; then
        ln -s "$HOME/$entry" "$home/$entry"
    fi
done

# The name under which ansible-test looks for its pip installer carries pip's version.
pip_version=$(cd "$work" && "$venv/bin/python" -c '
from types import SimpleNamespace
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(SimpleNamespace(version="3.13"))["pip"].replace(".", "_"))
')
cp "$repository/tests/tools/get_pip.py" "$home/.ansible/test/cache/get_pip_$pip_version.py"

# Real interpreters only: the wrappers of a version manager on PATH fail for versions that are not switched on.
"$repository/tests/tools/find-python.sh" link "$work/bin"
search_path=$venv/bin:$work/bin:$(echo "$PATH" | tr : '\n' | grep -v '/shims$' | paste -s -d : -)

choose=$repository/tests/tools/choose.py
if [ -n "$again" ] && [ "$("$venv/bin/python" "$choose" "sanity again" run rest | head -n 1)" = rest ]; then
    echo "[$core] Left out: it is the turn of this ansible-core with another commit."
    exit 0
fi
own_version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# The versions that this ansible-core supports and this machine has, oldest first, one a line.
versions=$(cd "$work" && "$venv/bin/python" -c 'if True:
    import pathlib, sys
    from ansible_test._internal.constants import SUPPORTED_PYTHON_VERSIONS
    found = [version for version in SUPPORTED_PYTHON_VERSIONS if pathlib.Path("bin", f"python{version}").exists()]
    print(*(found or sys.argv[1:]), sep="\n")
' "$own_version")
oldest=$(echo "$versions" | head -n 1)
newest=$(echo "$versions" | tail -n 1)
# shellcheck disable=SC2046,SC2086 # version numbers
imported_by=$(printf '%s\n' "$oldest" "$newest" $("$venv/bin/python" "$choose" "sanity $core" $versions) | sort -u -V)

# Whether it is a topic's turn, of so many commits one: is_turn TOPIC CHOICE... where the first choice is the turn.
is_turn() {
    topic=$1
    shift
    "$venv/bin/python" "$choose" "$topic" "$@" | grep -qx "$1"
}

left_out=
if [ "${NIXFERRY_TEST_PART-}" = 1 ]; then
    # `make lint` judges the same files by ruff, yamllint and ShellCheck.
    if ! is_turn "sanity linters $core" lint later still-later; then
        left_out="pylint pep8 yamllint shellcheck"
    fi
    # These judge files by themselves: one ansible-core is as good as another.
    if [ -n "$again" ]; then
        left_out="${left_out:-pep8 yamllint shellcheck} pslint changelog line-endings shebang symlinks
            no-illegal-filenames no-smart-quotes no-assert no-get-exception replace-urlopen use-argspec-type-path"
    fi
fi

log=$work/sanity.log
: >"$log"
cd "$tree"
status=0

# Print what ansible-test prints, marked with its version: run_sanity WORD-LIST-OF-PYTHONS ARGUMENT...
run_sanity() {
    pythons=
    for version in $1; do
        pythons="$pythons --target-python $version"
    done
    shift
    # The braces keep ansible-test's own exit status, which a pipeline would lose.
    # shellcheck disable=SC2086 # words
    { env -u ANSIBLE_COLLECTIONS_PATH -u VIRTUAL_ENV HOME="$home" PATH="$search_path" \
        "$venv/bin/ansible-test" sanity --color no --controller "origin:python=$own_version" $pythons \
        "$@" </dev/null 2>&1 9>&- || echo "ansible-test failed: $?"; } |
        tee -a "$log" | sed -u "s/^/[$core] /"
}

if [ $# -gt 0 ]; then
    run_sanity "$versions" "$@"
else
    # shellcheck disable=SC2086 # words
    echo "[$core] Compiled by Python" $versions, imported by $imported_by${left_out:+; without $left_out}
    run_sanity "$versions" --test compile
    for name in compile $left_out; do
        set -- "$@" --skip-test "$name"
    done
    run_sanity "$imported_by" "$@"
fi
if grep -q '^ansible-test failed: ' "$log"; then
    status=1
fi

# A Python version that is not installed here is told apart from a program that is missing: few machines have them all.
if grep -E 'Required program|due to missing' "$log"; then
    echo "A sanity test did not run because something that it needs is missing, see above." >&2
    status=1
fi
exit $status
