# Copyright: (c) 2026, nixferry contributors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Private to this collection: it can change at any time, without notice.
"""One remote builder as files: its entry in the machines file, ssh's settings for it, its host key; or as Nix code."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .machines import Machine

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_HOST = re.compile(r"^[A-Za-z0-9_.:%-]+$|^\[[0-9A-Fa-f:.%a-z]+\]$")
_WORD = re.compile(r"^[A-Za-z0-9_.+@{}-]+$")
_PATH = re.compile(r"^/[^\s#;,]*$")
_OPTION = re.compile(r"^[A-Za-z][A-Za-z0-9]*$")
_ANTIQUOTE = "''$"


class BuilderError(ValueError):
    """An option has a value that Nix or ssh would misunderstand."""


class Builder(NamedTuple):
    """The checked options of the module."""

    name: str
    host: str
    port: int
    user: str
    scheme: str
    systems: tuple[str, ...]
    max_jobs: int
    speed_factor: float
    supported_features: tuple[str, ...]
    mandatory_features: tuple[str, ...]
    ssh_key_file: str
    host_key: str
    connect_timeout: int
    remote_program: str
    compress: bool
    ssh_options: Mapping[str, str]

    @property
    def uri(self) -> str:
        """Return an address whose name only ssh's settings resolve: Nix before 2.31 does not support ports."""
        parameters = []
        if self.remote_program:
            parameters.append("remote-program=" + self.remote_program)
        if self.compress:
            parameters.append("compress=true")
        return "{}://{}{}".format(self.scheme, self.name, "?" + "&".join(parameters) if parameters else "")

    def line(self) -> str:
        """Return the entry of the machines file."""
        return Machine(
            uri=self.uri,
            systems=self.systems,
            ssh_key=self.ssh_key_file,
            max_jobs=self.max_jobs,
            speed_factor=self.speed_factor,
            supported_features=self.supported_features,
            mandatory_features=self.mandatory_features,
            host_key=self.host_key,
        ).line()

    def known_hosts(self) -> str:
        return f"{self.name} {self.host_key}\n"

    def ssh_config(self, known_hosts_file: str) -> str:
        """Return ssh's settings, for a file that ssh includes.

        HostKeyAlias makes ssh look up the key under the builder's name, whatever its address and port are: Nix passes
        the key of field 8 under that name.
        """
        options = {
            "HostName": self.host.strip("[]"),
            "Port": self.port,
            "User": self.user,
            "IdentityFile": self.ssh_key_file,
            "IdentitiesOnly": "yes",
            "HostKeyAlias": self.name,
            "StrictHostKeyChecking": "yes",
            **(
                {"GlobalKnownHostsFile": known_hosts_file, "UserKnownHostsFile": "/dev/null"}
                if known_hosts_file
                else {}
            ),
            "BatchMode": "yes",
            # Without it a dead builder delays every build for minutes.
            "ConnectTimeout": self.connect_timeout,
            "ServerAliveInterval": 30,
        }
        lower = {key.lower(): key for key in options}
        for key, value in self.ssh_options.items():
            options[lower.get(key.lower(), key)] = value
        return "Host {}\n{}".format(self.name, "".join("  {} {}\n".format(*item) for item in options.items()))

    def snippet(self, manager: str) -> str:
        """Return a module for the configuration of nix-darwin or NixOS with the same content."""
        config = self.ssh_config(known_hosts_file="")
        if manager == "nix-darwin":
            ssh = f'environment.etc."ssh/ssh_config.d/100-{self.name}.conf".text'
        else:
            ssh = "programs.ssh.extraConfig"
        machine = {
            "hostName": self.uri.partition("://")[2],
            "protocol": self.scheme,
            "systems": list(self.systems),
            "sshKey": self.ssh_key_file,
            "maxJobs": self.max_jobs,
            "speedFactor": max(1, round(self.speed_factor)),
            "supportedFeatures": list(dict.fromkeys([*self.supported_features, *self.mandatory_features])),
            "mandatoryFeatures": list(self.mandatory_features),
            "publicHostKey": base64.b64encode(self.host_key.encode()).decode(),
        }
        fields = "".join(f"      {name} = {nix_value(value)};\n" for name, value in machine.items())
        settings = "".join(f"    {line}\n" for line in _indented(config).splitlines())
        name, key = nix_value(self.name), nix_value(self.host_key)
        return f"""\
# The builder {self.name}. Written by nixferry.deploy.nix_builder: import it in the system's configuration.
{{
  nix.distributedBuilds = true;
  nix.buildMachines = [
    {{
{fields}    }}
  ];
  programs.ssh.knownHosts.{name} = {{
    hostNames = [ {name} ];
    publicKey = {key};
  }};
  {ssh} = ''
{settings}  '';
}}
"""


def _indented(text: str) -> str:
    """Escape text for a string in two single quotes, in which these and ``${`` are special."""
    return text.replace("''", "'''").replace("${", _ANTIQUOTE + "{")


def nix_value(value: Any) -> str:
    """Return a Python value as a Nix expression."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[ {} ]".format(" ".join(nix_value(item) for item in value)) if value else "[ ]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${").replace("\n", "\\n")
    return f'"{text}"'


def overridden_ssh(own: str, answer: str) -> list[str]:
    """Return the settings for destination and trust that ``ssh -G`` has different from our file."""
    found = dict(line.partition(" ")[::2] for line in answer.splitlines())
    wrong = []
    for line in own.splitlines():
        key, _space, value = line.strip().partition(" ")
        if key.lower() in ("hostkeyalias", "hostname", "port", "user"):
            now = found.get(key.lower(), "nothing")
            # ssh prints host names in lower case.
            if now != (value if key == "User" else value.lower()) and now != value:
                wrong.append(f"{key} is {now} and not {value}")
    return wrong


def checked_name(name: str) -> str:
    """Return a name that is valid in an address, in ssh's settings and in a file's name."""
    if not _NAME.match(name):
        raise BuilderError(
            f"the name {name!r} has characters other than letters, digits, dot, dash and underscore"
        )
    if name == "localhost":
        raise BuilderError("the name 'localhost' makes Nix build on this machine and wait for its own lock")
    return name


def checked_path(path: str, what: str) -> str:
    """Return a path that is valid in a file whose fields are separated by white space."""
    _check(_PATH, path, what)
    return path


def checked_host_key(text: str) -> str:
    """Return ``TYPE KEY`` of a host key in the form of a ``.pub`` file, without its comment."""
    words = text.split()
    if len(words) < 2 or len(text.strip().splitlines()) != 1:
        raise BuilderError("the host key is not given as 'TYPE KEY', such as 'ssh-ed25519 AAAAC3...'")
    kind, key = words[0], words[1]
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BuilderError(f"the host key of type {kind!r} is not base64") from error
    # The key repeats its type: a length of four bytes, then the name.
    if blob[4 : 4 + int.from_bytes(blob[:4], "big")] != kind.encode() or not kind:
        raise BuilderError(f"the host key is not one of the type {kind!r} that it names")
    return f"{kind} {key}"


def builder_of(options: Mapping[str, Any]) -> Builder:
    """Return the builder that the module's options describe. Raises ``BuilderError``."""
    name = checked_name(options["name"])
    _check(_HOST, options["host"], "host")
    _check(_WORD, options["user"], "user")
    for what in ("systems", "supported_features", "mandatory_features"):
        for word in options[what] or ():
            _check(_WORD, word, what)
    if not options["systems"]:
        raise BuilderError(
            "systems is empty: without it Nix would ask the builder for this machine's own system"
        )
    if options["max_jobs"] < 1:
        raise BuilderError(f"max_jobs is {options['max_jobs']}: with fewer than 1, builds wait forever")
    if not 0 < options["speed_factor"] < float("inf"):
        raise BuilderError("speed_factor is {}; it must be more than 0".format(options["speed_factor"]))
    if not 0 < options["port"] < 65536:
        raise BuilderError(f"port is {options['port']}")
    key_file = checked_path(options["ssh_key_file"] or f"/etc/nix/{name}_ed25519", "ssh_key_file")
    if options["remote_program"]:
        _check(re.compile(r"^[^\s#;&?]+$"), options["remote_program"], "remote_program")
    ssh_options = {}
    for key, value in (options["ssh_options"] or {}).items():
        _check(_OPTION, key, "ssh_options")
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        if "\n" in text or not text.strip():
            raise BuilderError(f"ssh_options: the value of {key} is empty or has more than one line")
        if key.lower() in ("host", "match", "include", "stricthostkeychecking", "hostkeyalias"):
            raise BuilderError(f"ssh_options may not have {key}: the builder's identity depends on it")
        ssh_options[key] = text
    return Builder(
        name=name,
        host=options["host"],
        port=options["port"],
        user=options["user"],
        scheme=options["protocol"],
        systems=tuple(dict.fromkeys(options["systems"])),
        max_jobs=options["max_jobs"],
        speed_factor=options["speed_factor"],
        supported_features=tuple(options["supported_features"] or ()),
        mandatory_features=tuple(options["mandatory_features"] or ()),
        ssh_key_file=key_file,
        host_key=checked_host_key(options["host_public_key"] or ""),
        connect_timeout=options["connect_timeout"],
        remote_program=options["remote_program"] or "",
        compress=options["compress"],
        ssh_options=ssh_options,
    )


def _check(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.match(value):
        raise BuilderError(f"{what}: {value!r} has invalid characters")
