# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that let in who has a key: nginx that wants certificates, sshd with a git repository, and keys of OpenPGP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import containers
from cache_machines import machine, write
from lab import LabHost, run
from pulling import Pulling
from repositories import give

INSTALL_DEADLINE = 600  # seconds
INSTALL = """
set -e
if command -v nginx && command -v gpg && command -v curl; then exit; fi >/dev/null
apt-get update -qq
apt-get install -qq --no-install-recommends nginx curl gpg gpg-agent >/dev/null 2>&1
rm -f /etc/nginx/sites-enabled/default
"""
# A certificate of the server, one of a client, and one that another authority has signed.
CERTIFICATES = """
set -e
mkdir -p /srv/tls && cd /srv/tls
make() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 "$@" 2>/dev/null; }
make -subj /CN=server -addext subjectAltName=IP:%(address)s -keyout server.key -out server.pem
for name in client foreign; do
    make -subj "/CN=authority of $name" -keyout $name-ca.key -out $name-ca.pem
    make -subj "/CN=$name" -CA $name-ca.pem -CAkey $name-ca.key -keyout $name.key -out $name.pem
done
"""
NGINX = """
server {
    listen %(address)s:%(port)d ssl;
    ssl_certificate /srv/tls/server.pem;
    ssl_certificate_key /srv/tls/server.key;
    ssl_client_certificate /srv/tls/client-ca.pem;
    ssl_verify_client on;
    location / { proxy_pass %(behind)s; }
}
"""
SSHD_CONFIGURATION = """
HostKey /srv/ssh/host
AuthorizedKeysFile /srv/ssh/authorized_keys
PasswordAuthentication no
StrictModes no
"""
SSHD = """
set -e
mkdir -p /run/sshd
useradd --create-home --shell /usr/bin/git-shell git 2>/dev/null || true
usermod --password '*' git
ssh-keygen -q -t ed25519 -N '' -f /srv/ssh/host
/usr/sbin/sshd -f /srv/ssh/config -o ListenAddress=%(address)s -p %(port)d
"""
GPG = """\
#!/bin/sh
exec docker exec --interactive --env GNUPGHOME=/srv/gnupg %s gpg "$@"
"""
KEYS = """
set -e
mkdir -m 700 /srv/gnupg
export GNUPGHOME=/srv/gnupg
for name in trusted other; do
    gpg --batch --quiet --passphrase '' --quick-generate-key "$name <$name@example.org>" ed25519 sign never
done
"""


@dataclass
class PrivateServers:
    """A machine with these servers, at an address that hosts of the lab reach."""

    container: str
    address: str

    def ask(self, script: str) -> str:
        return containers.ask(self.container, script)

    def nginx(self, behind: str, port: int) -> str:
        """Let nginx pass on requests of clients with a certificate; returns its address."""
        values = {"address": self.address, "port": port, "behind": behind}
        self.ask(CERTIFICATES % values)
        write(self.container, "/etc/nginx/sites-enabled/private", NGINX % values)
        self.ask("nginx")
        return f"https://{self.address}:{port}"

    def give_certificates(self, host: LabHost) -> None:
        """Let a host trust the server, and give it both certificates of clients."""
        authority = self.ask("cat /srv/tls/server.pem")
        host.execute(f"cat >>/etc/ssl/certs/ca-certificates.crt <<'EOF'\n{authority}\nEOF")
        for name in ("client", "foreign"):
            for kind, mode in (("pem", "644"), ("key", "600")):
                path, text = f"/etc/nix/{name}.{kind}", self.ask(f"cat /srv/tls/{name}.{kind}")
                host.execute(f"(umask 077; cat >{path} <<'EOF'\n{text}\nEOF\n); chmod {mode} {path}")

    def sshd(self, repository: Path, public_key: str, port: int) -> tuple[str, str]:
        """Serve a bare repository by ssh to one key; returns its address and the line of the server's host key."""
        self.ask("mkdir -p /srv/ssh")
        write(self.container, "/srv/ssh/config", SSHD_CONFIGURATION)
        write(self.container, "/srv/ssh/authorized_keys", f"restrict {public_key}\n")
        self.ask(SSHD % {"address": self.address, "port": port})
        self.serve(repository)
        host_key = " ".join(self.ask("cat /srv/ssh/host.pub").split()[:2])
        return f"ssh://git@{self.address}:{port}/srv/systems.git", f"[{self.address}]:{port} {host_key}"

    def serve(self, repository: Path) -> None:
        """Serve a repository as it is now."""
        self.ask("rm -rf /srv/systems.git")
        run(["docker", "cp", "--quiet", str(repository), f"{self.container}:/srv/systems.git"])
        self.ask("chown -R git: /srv/systems.git")

    def openpgp(self, directory: Path) -> Path:
        """Make the keys `trusted` and `other`; returns a program that is gpg with these."""
        self.ask(KEYS)
        program = directory / "gpg"
        program.write_text(GPG % self.container)
        program.chmod(0o755)
        return program

    def public_openpgp(self, name: str) -> tuple[str, str]:
        """A public key, as text, and its fingerprint."""
        gpg = "GNUPGHOME=/srv/gnupg gpg --batch"
        text = self.ask(f"{gpg} --armor --export {name}@example.org")
        listed = self.ask(f"{gpg} --with-colons --list-keys {name}@example.org").splitlines()
        return text, next(line for line in listed if line.startswith("fpr:")).split(":")[9]


@contextlib.contextmanager
def private_servers(puller: Pulling) -> Iterator[PrivateServers]:
    """The machine, and the programs on the host that are needed with it."""
    with machine("private") as container:
        containers.execute(container, INSTALL, timeout=INSTALL_DEADLINE)
        # What systemd mounts for a unit reaches other name spaces on a machine. In the lab's containers it does not.
        puller.host.execute("mount --make-rshared /run")
        give(puller.host, container, "curl gpg", ("/usr/bin/curl", "/usr/bin/gpg"))
        yield PrivateServers(container, puller.server.address)
