# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.built import (
    built_revision,
    built_toplevel,
)
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import (
    CONTROLLER,
    NixferryError,
    Step,
)

TOPLEVEL = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-system"
GOOD = {"failed": False, "toplevel": TOPLEVEL}
BAD = {
    **NixferryError("it broke", step="build", remedy="Mend it.", output=["a", "b"]).result("web1"),
    "toplevel": None,
}


@pytest.mark.parametrize("build", [GOOD, {"hosts": {"web1": GOOD, "web2": BAD}}])
def test_the_toplevel_of_the_host(build: dict[str, Any]) -> None:
    assert built_toplevel("web1", build) == TOPLEVEL


@pytest.mark.parametrize("build", [BAD, {"hosts": {"web1": BAD, "web2": GOOD}}])
def test_a_failed_build_fails_with_its_own_message(build: dict[str, Any]) -> None:
    with pytest.raises(NixferryError) as caught:
        built_toplevel("web1", build)
    assert caught.value.result("web1") == {key: value for key, value in BAD.items() if key != "toplevel"}


@pytest.mark.parametrize("build", [{"hosts": {"web2": GOOD}}, {}, {"failed": False, "toplevel": None}])
def test_what_holds_no_build_of_the_host(build: dict[str, Any]) -> None:
    with pytest.raises(NixferryError) as caught:
        built_toplevel("web1", build)
    assert caught.value.remedy


@given(
    cause=st.text(),
    step=st.sampled_from(Step),
    remedy=st.text(),
    where=st.sampled_from(["", CONTROLLER, "big"]),
)
def test_an_error_survives_the_way_through_a_result(cause: str, step: Step, remedy: str, where: str) -> None:
    result = NixferryError(cause, step=step, remedy=remedy, where=where).result("web1")
    assert NixferryError.of_result(result).result("web1") == result


def test_the_revision_of_a_build() -> None:
    own = {"toplevel": "/nix/store/x", "revision": "abc", "repository": "/home/ann/fleet"}
    assert built_revision("web1", own) == ("abc", "/home/ann/fleet")
    assert built_revision("web1", {"hosts": {"web1": own, "web2": {}}}) == ("abc", "/home/ann/fleet")
    assert built_revision("web2", {"hosts": {"web1": own, "web2": {}}}) == ("", "")
    assert built_revision("web3", {"hosts": {"web1": own}}) == ("", "")
