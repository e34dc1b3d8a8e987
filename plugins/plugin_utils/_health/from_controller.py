# Copyright: (c) 2026, nixferry contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it can change at any time, without notice.
"""Health checks from the controller: ports and URLs."""

from __future__ import annotations

import functools
import queue
import socket
import threading
from collections.abc import Callable
from http.client import HTTPException
from urllib.error import HTTPError

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import open_url

from ansible_collections.nixferry.deploy.plugins.plugin_utils._core.said import clean_line

from .checks import HealthCheck, HealthResult

# A longer page is searched only up to this size.
URL_BODY_LIMIT_BYTES = 1024 * 1024


def _check_port(check: HealthCheck, address: str) -> str | None:
    try:
        with socket.create_connection((address, int(check.target)), timeout=check.timeout):
            return None
    except TimeoutError:
        raise
    except OSError as error:
        return f"{address} port {check.target}: {error}"


def _check_url(check: HealthCheck) -> str | None:
    settings = check.settings
    try:
        response = open_url(
            check.target,
            timeout=check.timeout,
            headers=dict(settings["headers"]),
            validate_certs=settings["validate_certs"],
            follow_redirects="safe",
            # A proxy would answer even if the host is down.
            use_proxy=False,
        )
        status, body = response.code, response.read(URL_BODY_LIMIT_BYTES).decode(errors="replace")
    except HTTPError as error:
        status, body = error.code, ""
    except (OSError, ValueError, HTTPException, UrlConnectionError) as error:
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
            raise TimeoutError from error
        return f"{check.target}: {getattr(error, 'reason', None) or error}"
    if status not in settings["status_codes"]:
        return f"{check.target} answered with status {status}"
    wanted = settings.get("contains")
    if wanted and wanted not in body:
        return f"{check.target} answered without the text {wanted!r}"
    return None


def _in_time(seconds: float, ask: Callable[[], str | None]) -> str | None:
    """Return what ``ask`` returns. Raises ``TimeoutError`` when that takes longer.

    The timeout of a socket begins anew with every byte, and that of a name server is not ours to set. The thread of a
    late answer ends with its next timeout.
    """
    answers: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def check_from_controller(check: HealthCheck, address: str, sleep: Callable[[float], None]) -> HealthResult:
    problem: str | None = None
    late = False
    attempt = 0
    address = str(check.settings.get("address") or address)
    ask = functools.partial(_check_port, check, address) if check.kind == "port" else None
    for attempt in range(1, check.retries + 2):
        try:
            problem = _in_time(check.timeout, ask or functools.partial(_check_url, check))
            late = False
        except TimeoutError:
            late = True
            target = f"{address} port {check.target}" if check.kind == "port" else check.target
            problem = f"{target} did not answer within its timeout of {check.timeout} s"
        if problem is None:
            return HealthResult(check, True, "", attempt)
        if attempt <= check.retries:
            sleep(check.delay)
    # The text of an error may quote what the host sent.
    return HealthResult(check, False, clean_line(problem or ""), attempt, timed_out=late)
