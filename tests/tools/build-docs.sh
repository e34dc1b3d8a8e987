#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Build the documentation site: build-docs.sh BIN DIRECTORY
#
# BIN holds antsibull-docs and sphinx-build. The pages of plugins and roles come from their documentation, the guides
# from docs/docsite/rst. A warning from Sphinx fails the build, except those about links into the documentation of
# Ansible and Python: these need a list of targets that is fetched over the network, and the build works without one.

set -eu

if [ $# -ne 2 ]; then
    echo "usage: build-docs.sh BIN DIRECTORY" >&2
    exit 2
fi
bin=$(cd "$1" && pwd)
mkdir -p "$2"
site=$(cd "$2" && pwd)
rm -rf "${site:?}"/*
PATH=$bin:$PATH
export PATH

antsibull-docs sphinx-init --use-current --squash-hierarchy --lenient --dest-dir "$site" \
    --project nixferry.deploy --title nixferry.deploy --copyright 'nixferry contributors' nixferry.deploy >"$site/log"
cd "$site"
# antsibull-docs refuses a directory that others may write to.
chmod -R og-w rst
antsibull-docs --config-file antsibull-docs.cfg collection --cleanup everything --use-current --squash-hierarchy \
    --fail-on-error --dest-dir rst nixferry.deploy >>log
sphinx-build -M html rst build -c . -q -w warnings.txt >>log 2>&1 || {
    cat warnings.txt >&2
    exit 1
}
if grep -E 'WARNING|ERROR' warnings.txt | grep -v 'failed to reach any of the inventories' |
    grep -vE "undefined label: '?[^']*" ||
    grep -E "undefined label: '?ansible_collections\.nixferry" warnings.txt; then
    echo "Sphinx warns about the documentation, see above." >&2
    exit 1
fi
echo "$site/build/html/index.html"
