"""Models behind a server of OpenAI's wire format, asked with the standard library alone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from ..search.authors.edits import MOST_ANSWER
from .chat import (
    Answer,
    Failure,
    Request,
    prompt_of,
    read_body,
    refused,
    seconds_after,
)

#: Bytes of a body that are read; a character of an answer may take six.
_MOST_BODY = 6 * MOST_ANSWER + 100_000
_CHUNK = 65_536


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


class Compatible:
    """Asks ``/chat/completions``, or ``/completions`` for models without a chat form.

    Args:
        clock: seconds that never go back.
        now: seconds since the epoch, for dates in ``Retry-After``.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._now = now
        self._opener = urllib.request.build_opener(_NoRedirects())

    def answer(self, request: Request, seconds: float) -> Answer:
        """See :class:`.chat.ChatModel`."""
        end = self._clock() + seconds
        question, began = _question(request)
        try:
            with self._opener.open(_http(request, question), timeout=seconds) as response:
                raw = self._read(response, end)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except urllib.error.URLError as error:
            raise _unreached(error.reason, seconds) from None
        except (OSError, http.client.HTTPException) as error:
            raise _cut(error, seconds) from None
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Failure("an answer that is no JSON", again=True, charged=True) from None
        return read_body(body, began)

    def _read(self, response: Any, end: float) -> bytes:
        """Return the body; one that drips is given no more time than one that does not come."""
        parts, size = [], 0
        while chunk := response.read1(_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > _MOST_BODY:
                raise Failure(
                    f"an answer of more than {_MOST_BODY} bytes", again=False, charged=True
                )
            if self._clock() > end:
                raise TimeoutError
        # read1() takes a connection that was cut for the end
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return b"".join(parts)

    def _refused(self, error: urllib.error.HTTPError) -> Failure:
        with error:
            try:
                text = error.read(2_000).decode("utf-8", "replace")
            except (OSError, http.client.HTTPException):
                text = ""
        after = seconds_after(error.headers.get("Retry-After"), self._now())
        return refused(error.code, text or str(error.reason), after)


def _question(request: Request) -> tuple[dict[str, Any], str]:
    """Return the body to be sent, and how the answer begins."""
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.adapter == "compatible":
        messages = [{"role": role, "content": text} for role, text in request.messages]
        return body | {"messages": messages}, ""
    prompt, began = prompt_of(request.messages)
    return body | {"prompt": prompt, "stop": ["```"]}, began


def _http(request: Request, question: dict[str, Any]) -> urllib.request.Request:
    path = "/chat/completions" if request.adapter == "compatible" else "/completions"
    headers = {"Content-Type": "application/json", "User-Agent": "gnomon"}
    key = os.environ.get(request.key_env, "") if request.key_env else ""
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(question).encode()
    return urllib.request.Request(request.base.rstrip("/") + path, data, headers)


def _unreached(reason: Any, seconds: float) -> Failure:
    if isinstance(reason, TimeoutError | socket.timeout):
        return _cut(reason, seconds)
    certificate = "certificate" in str(reason).lower()
    return Failure(f"cannot be reached: {reason}", again=not certificate)


def _cut(error: BaseException, seconds: float) -> Failure:
    if isinstance(error, TimeoutError):
        return Failure(f"no answer within {seconds:.3g} s", again=True, charged=True)
    return Failure(f"cut off: {type(error).__name__}: {error}", again=True, charged=True)
