"""One batch over gRPC: sent, sent again while that may help, and settled exactly once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import grpc

from ..forking import claim_grpc
from . import wire
from .retry import Backoff, retry_delay
from .settings import Settings

METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_NO_CONNECTION = (
    "failed to connect to all addresses",
    "errors resolving",
    "DNS resolution failed",
)

#: Worth another attempt, by the OTLP specification; RESOURCE_EXHAUSTED only with a RetryInfo.
_RETRYABLE = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
#: After these the receiver may have the batch all the same; every other code is its refusal.
_AMBIGUOUS = _RETRYABLE | {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
#: gRPC's own words on our side when an answer is too large; it was an answer, so the batch arrived.
_ANSWER_TOO_LARGE = "CLIENT: Received message larger than max"


@dataclass(frozen=True, slots=True)
class Batch:
    """A request ready to be sent.

    Attributes:
        payload: serialised ``ExportLogsServiceRequest``; the same bytes at every attempt.
        logs: log records in it.
        each: events that each of them stands for.
    """

    payload: bytes
    logs: int
    each: int = 1

    @property
    def count(self) -> int:
        """Records in it, as an account counts them."""
        return self.logs * self.each


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a batch: the three numbers add up to its count."""

    acknowledged: int = 0
    unknown: int = 0
    dropped: int = 0
    why: str = ""


class Courier:
    """Delivers batches over one channel; safe to use from several threads.

    Args:
        settings: where to.
        stopping: set, before closing, to give up waiting.
        clock: monotonic seconds.
        rng: for the backoff's jitter.
    """

    def __init__(
        self, settings: Settings, stopping: threading.Event, clock: Callable[[], float], rng: Random
    ) -> None:
        self._settings = settings
        self._stopping = stopping
        self._clock = clock
        self._rng = rng
        self._channel = open_channel(settings)
        self._export = self._channel.unary_unary(METHOD)

    def close(self) -> None:
        """Stop waiting for answers and release the connection; what was sent stays unknown."""
        self._channel.close()

    def deliver(self, batch: Batch, within_s: float = math.inf) -> Fate:
        """Return the batch's fate, at the latest at the deadline in the settings or after ``within_s``."""
        deadline = self._clock() + min(within_s, self._settings.timeout_s)
        backoff = Backoff(self._rng)
        ambiguous = False
        why = "closed"
        while not self._stopping.is_set():
            try:
                fate = self._attempt(batch, deadline - self._clock())
            except grpc.RpcError as error:
                ambiguous |= _ambiguous(error)
                why = "unreachable" if _unsent(error) else f"refused:{error.code().name}"
                delay = _pause(error, backoff)
            except ValueError:
                if not self._stopping.is_set():
                    raise
                break  # the channel was closed before the call began
            else:
                return fate if not ambiguous else _doubtful(fate)
            if delay is None or self._clock() + delay >= deadline or self._stopping.wait(delay):
                break
        if ambiguous:
            return Fate(unknown=batch.count)
        return Fate(dropped=batch.count, why=why)

    def _attempt(self, batch: Batch, timeout_s: float) -> Fate:
        # The blocking form: a future would need a thread of gRPC's, which cannot start at exit.
        gzip = grpc.Compression.Gzip if self._settings.gzip else grpc.Compression.NoCompression
        response = self._export(
            batch.payload,
            timeout=max(timeout_s, 0.001),
            metadata=self._settings.headers,
            compression=gzip,
        )
        return _answered(batch, response)


def open_channel(settings: Settings) -> grpc.Channel:
    claim_grpc()
    options = (("grpc.max_send_message_length", -1), ("grpc.max_reconnect_backoff_ms", 2000))
    if not settings.secure:
        return grpc.insecure_channel(settings.target, options)
    credentials = grpc.ssl_channel_credentials(
        settings.certificate, settings.client_key, settings.client_certificate
    )
    return grpc.secure_channel(settings.target, credentials, options)


def _unsent(error: grpc.RpcError) -> bool:
    """Return whether a call certainly never left this process, because there was no connection.

    gRPC has no code for it, only words; should they change, such batches count as unknown.
    """
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(
        _NO_CONNECTION
    )


def _ambiguous(error: grpc.RpcError) -> bool:
    if _ANSWER_TOO_LARGE in (error.details() or ""):
        return True
    return error.code() in _AMBIGUOUS and not _unsent(error)


def _pause(error: grpc.RpcError, backoff: Backoff) -> float | None:
    """Return how long to wait before the next attempt, or None when it is pointless."""
    asked = retry_delay(error.trailing_metadata())
    if error.code() in _RETRYABLE:
        return backoff.next() if asked is None else asked
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return asked
    return None


def _answered(batch: Batch, response: bytes) -> Fate:
    """Return the fate after a reply: ``partial_success`` names how many log records were rejected.

    A reply that is no ``ExportLogsServiceResponse`` says nothing.
    """
    try:
        rejected = _rejected(response)
    except (TypeError, ValueError):
        return Fate(unknown=batch.count)
    rejected = min(batch.logs, max(0, rejected)) * batch.each
    return Fate(acknowledged=batch.count - rejected, dropped=rejected, why="rejected")


def _doubtful(fate: Fate) -> Fate:
    """Return a fate after an earlier attempt that may have arrived: what is rejected now may be there."""
    return Fate(acknowledged=fate.acknowledged, unknown=fate.unknown + fate.dropped)


def _rejected(response: bytes) -> int:
    # ExportLogsServiceResponse{partial_success = 1}, {rejected_log_records = 1, error_message = 2}
    partial = dict(wire.fields(response)).get(1, b"")
    if not isinstance(partial, bytes):
        raise TypeError("partial_success is no message")
    return wire.signed(dict(wire.fields(partial)).get(1, 0))
