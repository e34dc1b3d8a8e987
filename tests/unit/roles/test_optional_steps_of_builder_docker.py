# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role builder_docker builds, upgrades, re-keys, registers and deletes nothing that was not asked for."""

from __future__ import annotations

from collections.abc import Mapping

from stage import Stage, combinations, expect, flag


def test_role_builder_docker(stage: Stage) -> None:
    engine = {
        "_builder_docker_address": "unix:///run/docker.sock",
        "_builder_docker_engine": "docker",
        "_builder_docker_programs": {"docker": "/usr/bin/docker"},
        "builder_docker_systems": ["x86_64-linux"],
        "builder_docker_extra_platforms": ["x86_64-linux"],
    }
    there = {
        "docker_image_info": {"images": [{"Id": "sha256:1"}]},
        "docker_container_info": {"container": None},
        "docker_container_exec": {
            "stdout": "ssh-ed25519 AAAA x\nx86_64-linux",
            "stdout_lines": ["", "x86_64-linux"],
        },
        "docker_image_remove": {"msg": ""},
        "nix_builder": {"registered": True, "snippet": ""},
        "tempfile": {"path": "/nonesuch"},
    }
    lacking = {**there, "Look for the image": {"images": []}}
    settings = {
        "image": {
            "there": {"answers": there},
            "lacking": {"answers": lacking},
            "given": {"answers": there, "builder_docker_image": "mine:1"},
        },
        "upgrade": flag("builder_docker_upgrade"),
    }
    present = {
        **combinations("present", engine, **settings),
        **combinations(
            "registered",
            {**engine, "answers": there, "builder_docker_rotate_keys": True},
            register=flag("builder_docker_register"),
            verify=flag("builder_docker_verify"),
        ),
    }
    gone = {**engine, "builder_docker_state": "absent", "answers": there}
    absent = {
        **combinations(
            "absent",
            gone,
            purge=flag("builder_docker_purge"),
            image={"": {}, "given": {"builder_docker_image": "mine:1"}},
        ),
        "absent_alone": {
            **gone,
            "group": "absent",
            "builder_docker_register": False,
            "chosen": {"purge": "", "image": "", "register": ""},
        },
    }
    # Without the search for an engine, which has no switches.
    parts = [
        {
            "hosts": hosts,
            "tasks": [
                {
                    "ansible.builtin.include_role": {
                        "name": "nixferry.deploy.builder_docker",
                        "tasks_from": entry,
                    }
                }
            ],
        }
        for hosts, entry in (("present,registered", "present"), ("absent", "absent"))
    ]
    done = stage.run(parts, {**present, **absent})
    assert done.return_code == 0, done.output

    def builds(chosen: Mapping[str, str]) -> bool:
        image = chosen.get("image", "there")
        return image == "lacking" or (image == "there" and bool(chosen.get("upgrade")))

    expect(
        done,
        present,
        {
            "Build the image": builds,
            "Remove what it was only asked from": builds,
            "Fetch the given image": lambda chosen: chosen.get("image") == "given",
            "Replace the host key": lambda chosen: "register" in chosen,
            "Restart the container": lambda chosen: "register" in chosen,
            "Register the builder": lambda chosen: chosen.get("register", "on"),
            "Test the builder": lambda chosen: chosen.get("register", "on") and chosen.get("verify", "on"),
            "Remove the volumes": lambda _: False,
            "Remove the image": lambda _: False,
            "Remove the previous image": lambda _: False,
            "Remove the key": lambda _: False,
        },
    )
    expect(
        done,
        absent,
        {
            "Remove the container": lambda _: True,
            "Remove the key": lambda _: True,
            "Register the builder": lambda chosen: chosen.get("register", "on"),
            "Remove the volumes": lambda chosen: chosen["purge"],
            "Remove the image": lambda chosen: chosen["purge"] and not chosen["image"],
            "Make the key": lambda _: False,
            "Run the container": lambda _: False,
        },
    )
