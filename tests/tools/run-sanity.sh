#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Run "ansible-test sanity" on the checkout: run-sanity.sh VENV [ARGUMENT...]
#
# VENV is the virtual environment whose ansible-core supplies ansible-test. All tests run, for every Python version
# that is installed here. The run fails too when a test was left out because a program that it wants is missing.
#
# ansible-test insists on a path that ends in ansible_collections/NAMESPACE/NAME, on a git repository and on a home
# directory that it fills with virtual environments. All of that lies under .build/sanity.

set -eu

if [ $# -lt 1 ]; then
    echo "usage: run-sanity.sh VENV [ARGUMENT...]" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/../.." && pwd -P)
venv=$(cd "$1" && pwd -P)
shift
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

log=$work/sanity.log
cd "$tree"
status=0
# The braces keep ansible-test's own exit status, which a pipeline would lose.
{ env -u ANSIBLE_COLLECTIONS_PATH -u VIRTUAL_ENV HOME="$home" PATH="$search_path" \
    "$venv/bin/ansible-test" sanity --color no "$@" </dev/null 2>&1 9>&- || echo "ansible-test failed: $?"; } |
    tee "$log" | sed "s/^/[$core] /"
if grep -q '^ansible-test failed: ' "$log"; then
    status=1
fi

# A Python version that is not installed here is told apart from a program that is missing: nobody has them all.
if grep -E 'Required program|due to missing' "$log"; then
    echo "A sanity test did not run because something that it needs is missing, see above." >&2
    status=1
fi
exit $status
