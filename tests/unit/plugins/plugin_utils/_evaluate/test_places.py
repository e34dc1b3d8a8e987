# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.nixferry.deploy.plugins.plugin_utils._evaluate.places import own_places

# As Nix 2.8 prints it with --show-trace: the error first, then from the inside out.
OLD = """error: infinite recursion encountered

       at /srv/nixpkgs/lib/modules.nix:137:30:

          136|       unmatched = head result.unmatched;

       … while evaluating 'host'

       at /srv/network.nix:3:29:

            2|   web1 = {

       … from call site

       at /srv/network.nix:3:9:
"""
# As Nix 2.34 does: from the outside in, the error last.
NEW = """error:
       … while evaluating the attribute 'web1'
         at /srv/network.nix:3:9:
            2|
       … while calling
         at /srv/nixpkgs/nixos/lib/eval-config.nix:12:3:
       … while evaluating the option
         at /srv/network.nix:3:29:

       error: infinite recursion encountered
       at /srv/nixpkgs/lib/modules.nix:137:30:
"""


def test_the_users_own_places_come_nearest_first() -> None:
    for trace in (OLD, NEW):
        assert own_places(trace) == ["/srv/network.nix:3:29", "/srv/network.nix:3:9"]


def test_places_in_libraries_and_in_texts_belong_to_no_host() -> None:
    assert (
        own_places("error: x\n at «string»:1:2:\n at /n/lib/types.nix:1:2:\n at /n/nixos/modules/a.nix:3:4:")
        == []
    )
