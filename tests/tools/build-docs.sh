#!/bin/sh
# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Build the documentation site: build-docs.sh BIN DIRECTORY
#
# BIN holds antsibull-docs and sphinx-build. The pages of plugins and roles come from their documentation, the guides
# from docs/docsite/rst, whose page "start" is also the beginning of the first page. antsibull-docs copies no pictures. A warning from Sphinx fails the build, except those about links into the documentation of
# Ansible and Python: these need a list of targets that is fetched over the network, and the build works without one.

set -eu

if [ $# -ne 2 ]; then
    echo "usage: build-docs.sh BIN DIRECTORY" >&2
    exit 2
fi
bin=$(cd "$1" && pwd)
mkdir -p "$2"
site=$(cd "$2" && pwd)
pages=$(cd "$(dirname "$0")/../../docs/docsite/rst" && pwd)
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
cp -R "$pages/images" rst/images
cp -R "$pages/images" rst/docsite/images
# The author and the links of the collection come after what it is. Captions group the pages in the side bar; on the page
# itself each list has its heading already.
awk '
    /^Description$/ && !begun { print ".. include:: docsite/start.rst\n   :start-after: .. landing page\n"; begun = 1 }
    /^-+$/ { title = before }
    { print }
    /^\.\. toctree::$/ && title != "" { print "    :caption: " title }
    { before = $0 }
' rst/index.rst >rst/index.new
grep -q '^\.\. include:: docsite/start\.rst' rst/index.new
mv rst/index.new rst/index.rst
mkdir -p static
echo 'div.document .toctree-wrapper > .caption { display: none }' >static/pages.css
cat >>conf.py <<'EOF'
html_static_path = ['static']
html_css_files = ['pages.css']
EOF
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
