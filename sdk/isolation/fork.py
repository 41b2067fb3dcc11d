"""The only handle on a fork of the clean process: ask it within deadlines, and kill it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Callable

from ..errors import CandidateError
from . import frames
from .layers import Limits
from .status import Status


class CandidateStopped(CandidateError):
    """A candidate's process can no longer answer.

    Attributes:
        status: why: ``rejected``, ``timeout``, ``died`` or ``fault``; ``evaluator_error`` where the clean
            process ended, which its forks do not outlive: that says nothing of the candidate.
    """

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


class Fork:
    """One fork of the clean process, and the only handle on it.

    Args:
        connection: to it.
        handle: on its process.
        limits: that it is held to.
        plead: has the clean process kill it by its handle; for a host that has lost the right to.
        orphaned: says whether the clean process has ended.
    """

    def __init__(
        self,
        connection: socket.socket,
        handle: int,
        limits: Limits,
        plead: Callable[[int], None] = lambda _handle: None,
        orphaned: Callable[[], bool] = lambda: False,
    ) -> None:
        self._plead = plead
        self._orphaned = orphaned
        self._connection = connection
        self._handle = handle
        self._limits = limits
        self._ends = math.inf
        self.layers: tuple[str, ...] = ()

    def start(self, layers: tuple[str, ...]) -> None:
        """Note the layers in force; from now on the candidate's time counts."""
        self.layers = layers
        self._ends = time.monotonic() + self._limits.total_s

    @property
    def aged(self) -> bool:
        """Whether more than half of its time is over."""
        return self._ends - time.monotonic() < 0.5 * self._limits.total_s

    def send(self, data: bytes) -> None:
        """Send bytes within the deadline of one frame.

        Raises:
            CandidateStopped: the fork died, or does not read.
        """
        patience = self._patience()
        try:
            self._connection.settimeout(patience)
            self._connection.sendall(data)
        except TimeoutError:
            raise self._stopped(Status.TIMEOUT) from None
        except OSError:
            raise self._stopped(Status.DIED) from None

    def receive(self, count: int, seconds: float | None = None) -> bytes:
        """Return exactly ``count`` bytes, waiting at most one frame's deadline (or ``seconds``).

        Raises:
            CandidateStopped: the fork died, or does not answer in time.
        """
        data = bytearray()
        until = time.monotonic() + self._patience(seconds)
        try:
            while len(data) < count:
                left = until - time.monotonic()
                if left <= 0.0:
                    raise TimeoutError
                self._connection.settimeout(left)
                more = self._connection.recv(count - len(data))
                if not more:
                    raise self._stopped(Status.DIED)
                data += more
        except TimeoutError:
            raise self._stopped(Status.TIMEOUT) from None
        except OSError:
            raise self._stopped(Status.DIED) from None
        return bytes(data)

    def message(self, seconds: float | None = None) -> tuple[frames.Code, bytes]:
        """Return the next message's code and body.

        Raises:
            CandidateStopped: as :meth:`receive`, or the bytes are no message.
        """
        try:
            code, length = frames.unpack_head(self.receive(frames.HEAD_SIZE, seconds))
        except ValueError:
            raise self._stopped(Status.DIED) from None
        return code, self.receive(length, seconds)

    def kill(self) -> None:
        """Kill the fork and free its handles; safe to call twice."""
        if self._handle < 0:
            return
        self._signal(self._handle)
        os.close(self._handle)
        self._handle = -1
        self._connection.close()

    def end(self) -> None:
        """Kill the fork and keep the handles: another thread may be reading, and sees its end."""
        handle = self._handle
        if handle >= 0:
            with contextlib.suppress(OSError):  # that thread has just closed the handle
                self._signal(handle)

    def _signal(self, handle: int) -> None:
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except PermissionError:  # a service that was root when the clean process started
            self._plead(handle)

    def abandon(self) -> None:
        """Close the handles on a fork that is another process's, as in a forked child, and do no more."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self._connection.close()

    def _patience(self, seconds: float | None = None) -> float:
        frame = self._limits.frame_s if seconds is None else seconds
        left = self._ends - time.monotonic()
        if left <= 0.0:  # a socket waits a whole millisecond at least, and answers can be faster
            raise self._stopped(Status.TIMEOUT)
        return min(frame, left)

    def _stopped(self, status: Status) -> CandidateStopped:
        if status is Status.DIED and self._orphaned():
            status = Status.EVALUATOR_ERROR
        self.kill()
        words = {
            Status.TIMEOUT: "no answer within the deadline",
            Status.DIED: "its process ended",
            Status.EVALUATOR_ERROR: "the isolation process ended",
        }
        return CandidateStopped(status, words[status])
