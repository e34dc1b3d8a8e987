# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An object store with the interface of S3 that takes signed requests only: moto's server, with one user."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from cache_machines import free_port
from processes import wait_until

START_DEADLINE = 60  # seconds
END_DEADLINE = 10
REGION = "eu-central-1"
BUCKET = "nix"
MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@dataclass
class ObjectStore:
    """The server. ``credentials`` is a file with the login of its user, as the profile ``ci``, and a wrong one."""

    port: int
    log: Path
    credentials: Path
    secret: str
    client: Any

    def address(self, prefix: str, *, profile: str = "ci") -> str:
        """The address for Nix of what is below ``prefix``."""
        options = f"endpoint=127.0.0.1:{self.port}&scheme=http&region={REGION}&profile={profile}"
        return f"s3://{BUCKET}/{prefix}?{options}"

    def requests(self, method: str) -> list[str]:
        """The paths of the requests of a method so far."""
        lines = [line.partition('"')[2].split() for line in self.log.read_text().splitlines()]
        return [words[1] for words in lines if len(words) > 1 and words[0].endswith(method)]

    def objects(self, prefix: str) -> dict[str, bytes]:
        """All that is below ``prefix``, by name."""
        found = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        keys = [each["Key"] for page in found for each in page.get("Contents", ())]
        return {
            key.removeprefix(f"{prefix}/"): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }


@contextlib.contextmanager
def object_store(directory: Path) -> Iterator[ObjectStore]:
    """Start the server, and end it after the block. Its log and its login are in ``directory``."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = directory / "object-store.log"
    argv = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output, subprocess.Popen(argv, stdout=output, stderr=output) as server:
        try:
            wait_until(lambda: _answers(url), deadline=START_DEADLINE, what="the object store")
            # Until it is told otherwise it lets everyone in.
            anyone = {"aws_access_key_id": "anyone", "aws_secret_access_key": "anyone"}
            iam = boto3.client("iam", endpoint_url=url, region_name=REGION, **anyone)
            iam.create_user(UserName="ci")
            iam.put_user_policy(UserName="ci", PolicyName="all", PolicyDocument=json.dumps(MAY_ALL))
            made = iam.create_access_key(UserName="ci")["AccessKey"]
            login = {
                "aws_access_key_id": made["AccessKeyId"],
                "aws_secret_access_key": made["SecretAccessKey"],
            }
            client = boto3.client("s3", endpoint_url=url, region_name=REGION, **login)
            client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            close = urllib.request.Request(  # noqa: S310
                f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
            )
            with urllib.request.urlopen(close, timeout=START_DEADLINE) as answer:  # noqa: S310
                assert answer.status == 200
            credentials = directory / "credentials"
            credentials.touch(0o600)
            lines = [f"{name} = {value}" for name, value in login.items()]
            wrong = [lines[0], "aws_secret_access_key = canary-wrong"]
            credentials.write_text("\n".join(["[ci]", *lines, "[wrong]", *wrong, ""]))
            yield ObjectStore(port, log, credentials, login["aws_secret_access_key"], client)
        finally:
            server.terminate()
            try:
                server.wait(END_DEADLINE)
            except subprocess.TimeoutExpired:
                server.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/", timeout=END_DEADLINE):  # noqa: S310
            return True
    except OSError:
        return False
