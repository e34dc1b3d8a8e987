# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Read and write the objects of a bucket, ``s3://BUCKET/PREFIX``, with the addresses that Nix has for them.

The library boto3 signs the requests. It finds the login where AWS's own programs find it: the environment, a profile,
or the role of the machine. No argument and no address has a secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.errors import NixferryError, Step
from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line

from .web import REQUEST_SECONDS, Answer, refuse_password

HOW_TO_SIGN = (
    "Install the Python library boto3 for the Python that runs Ansible: the task writes to s3:// with it."
)
# Options of an address that say where the bucket is, or how Nix would send to it.
OPTIONS = frozenset(
    {"endpoint", "region", "scheme", "profile", "addressing-style", "storage-class", "versionId"}
    | {"multipart-upload", "multipart-chunk-size", "multipart-threshold", "buffer-size"}
)
CONNECT_SECONDS = 10.0
TRIES = 4
REGION = "us-east-1"
CONNECTIONS = 32
WORDS = 200
# As the web servers of caches name them; browsers and proxies look at it.
_TYPES = {".narinfo": "text/x-nix-narinfo", ".json": "application/json"}


def is_bucket(address: str) -> bool:
    """Return whether the address is one of a bucket."""
    return address.startswith("s3://")


def can_sign() -> bool:
    """Return whether the library for buckets is installed."""
    # Loading it takes longer than the rest of a task: only what writes to a bucket does.
    try:
        import boto3
    except ImportError:
        return False
    return bool(boto3)


class Bucket:
    """Objects below ``address``. Its options are those of Nix: endpoint, region, scheme, profile, addressing-style."""

    def __init__(self, address: str, *, step: Step = Step.READ_CACHE) -> None:
        parts = urlsplit(address)
        refuse_password(address, step=step)
        if "@" in parts.netloc or not parts.netloc:
            raise NixferryError(
                "an address that begins with s3:// has no valid name of a bucket",
                step=step,
                remedy="Give s3://BUCKET, and the login in the way of AWS's own programs, such as ?profile=NAME.",
            )
        if not can_sign():
            raise NixferryError(
                "the Python library boto3 is not installed, so s3:// cannot be read here",
                step=step,
                remedy=HOW_TO_SIGN,
            )
        self.address = urlsplit(address)._replace(query="").geturl().rstrip("/")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError

        try:
            self._client = _client(dict(parse_qsl(parts.query)))
        except (BotoCoreError, Boto3Error, ValueError) as error:
            raise NixferryError(
                f"the object store of {self.address} cannot be used: {error}",
                step=step,
                remedy="Correct the options in the address, and the configuration in ~/.aws.",
            ) from None

    def get(self, name: str, *, limit: int) -> Answer:
        """Read an object of at most ``limit`` bytes; a longer one is cut after one byte more."""

        def read() -> Answer:
            found = self._client.get_object(**self._at(name))
            with found["Body"] as body:
                return Answer(200, body.read(limit + 1), found["ContentLength"])

        return _asked(read)

    def head(self, name: str) -> Answer:
        """Ask for the size of an object."""
        return _asked(lambda: Answer(200, size=self._client.head_object(**self._at(name))["ContentLength"]))

    def put(self, name: str, content: bytes) -> Answer:
        """Replace a small object that changes now and then: what is in front of the bucket must not keep it."""

        def write() -> Answer:
            more = {"ContentType": _type_of(name), "CacheControl": "no-cache"}
            self._client.put_object(**self._at(name), Body=content, **more)
            return Answer(200)

        return _asked(write)

    def put_stream(self, name: str, opened: BinaryIO) -> Answer:
        """Write an open file, a long one in parts. Raises what reading it raises."""

        def write() -> Answer:
            from boto3.s3.transfer import TransferConfig

            # A thread of its own for each part would multiply with the files that are sent at the same time.
            config = TransferConfig(use_threads=False)
            more = {"ContentType": _type_of(name)}
            at = self._at(name)
            self._client.upload_fileobj(opened, at["Bucket"], at["Key"], ExtraArgs=more, Config=config)
            return Answer(200)

        return _asked(write)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}" if self._prefix else name}


def _client(options: dict[str, str]) -> Any:
    import boto3
    import botocore
    from botocore.config import Config

    session = boto3.session.Session(profile_name=options.get("profile") or None)
    endpoint = options.get("endpoint") or None
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme') or 'https'}://{endpoint}"
    # As Nix does: a host of its own for each bucket on AWS, a path elsewhere.
    style = options.get("addressing-style", "auto")
    if style == "auto" and endpoint:
        style = "path"
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": REQUEST_SECONDS,
        "retries": {"total_max_attempts": TRIES, "mode": "standard"},
        "max_pool_connections": CONNECTIONS,
        "s3": {"addressing_style": style},
    }
    # Checksums in a form that only AWS knows, unless an operation needs one. Older libraries have no such settings.
    for name in ("request_checksum_calculation", "response_checksum_validation"):
        if name in Config.OPTION_DEFAULTS:
            settings[name] = "when_required"
    if session.get_credentials() is None:
        settings["signature_version"] = botocore.UNSIGNED
    trusted = [os.environ.get(name) for name in ("AWS_CA_BUNDLE", "NIX_SSL_CERT_FILE", "SSL_CERT_FILE")]
    return session.client(
        "s3",
        region_name=options.get("region") or session.region_name or REGION,
        endpoint_url=endpoint,
        config=Config(**settings),
        verify=next(filter(None, trusted), None),
    )


def _asked(work: Callable[[], Answer]) -> Answer:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return work()
    except ClientError as error:
        told = error.response
        status = int(told.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        words = clean_line(str(told.get("Error", {}).get("Code") or ""), WORDS)
        return Answer(status, words="" if words == str(status) else words)
    except (BotoCoreError, Boto3Error) as error:
        return Answer(0, words=clean_line(str(error), WORDS))


def _type_of(name: str) -> str:
    return _TYPES.get(Path(name).suffix, "application/octet-stream")
