"""When to send again: ``google.rpc.RetryInfo`` as OTLP uses it, and exponential backoff with jitter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration

from . import wire

#: Trailing metadata that carries a serialised ``google.rpc.Status``.
STATUS_DETAILS = "grpc-status-details-bin"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def retry_status(code: int, message: str, delay_s: float) -> bytes:
    """Return a ``google.rpc.Status`` that tells the client to come back after ``delay_s``."""
    whole = math.floor(delay_s)
    delay = Duration(seconds=whole, nanos=int((delay_s - whole) * 1e9))
    info = wire.field(1, delay.SerializeToString())
    detail = AnyMessage(type_url=_RETRY_INFO, value=info).SerializeToString()
    status = wire.tag(1, wire.VARINT) + wire.varint(code)
    return status + wire.field(2, wire.text(message)) + wire.field(3, detail)


def retry_delay(metadata: Iterable[Any] | None) -> float | None:
    """Return the seconds that a server's trailing metadata asks to wait, or None when it does not."""
    for key, value in metadata or ():
        if key == STATUS_DETAILS and isinstance(value, bytes):
            try:
                return _delay_of(value)
            except ValueError:
                return None
    return None


def _delay_of(status: bytes) -> float | None:
    for number, detail in wire.fields(status):
        if number != 3 or not isinstance(detail, bytes):
            continue
        # Any{type_url = 1, value = 2}, RetryInfo{retry_delay = 1}, Duration{seconds = 1, nanos = 2}
        parts = dict(wire.fields(detail))
        if parts.get(1) == _RETRY_INFO.encode():
            delay = dict(
                wire.fields(_message(dict(wire.fields(_message(parts.get(2, b"")))).get(1)))
            )
            seconds, nanos = wire.signed(delay.get(1, 0)), wire.signed(delay.get(2, 0))
            return max(0.0, seconds + nanos / 1e9)
    return None


def _message(value: int | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""


class Backoff:
    """Exponential backoff with full jitter.

    Args:
        rng: owned by the caller.
        first_s, most_s: upper limits of the first delay and of any.
    """

    def __init__(self, rng: Random, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._rng = rng
        self._limit = first_s
        self._most = most_s

    def next(self) -> float:
        """Return the seconds to wait before the next attempt."""
        delay = self._rng.uniform(0.0, self._limit)
        self._limit = min(self._most, 2.0 * self._limit)
        return delay
