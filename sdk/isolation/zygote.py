"""The host's side of the clean process: start it, fork candidates from it, kill them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ..errors import CandidateError, IsolationError
from . import frames, lockdown, zygote_main
from .layers import IsolationMode, Limits, from_bits
from .status import Status

_LENGTH = struct.Struct("<I")
_START_S = 120.0  # a compiled tier may have to compile its skeletons first
#: Packages that the clean process finds by path, so that no ``__init__`` pulls in more than needed.
_PACKAGES = (
    "gnomon",
    "gnomon.sdk",
    "gnomon.sdk.isolation",
    "gnomon.shadow",
    "gnomon.shadow.isolation",
)
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class CandidateStopped(CandidateError):
    """A candidate's process can no longer answer.

    Attributes:
        status: why: ``rejected``, ``timeout``, ``died`` or ``fault``.
    """

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


class Fork:
    """One fork of the clean process, and the only handle on it."""

    def __init__(self, connection: socket.socket, handle: int, limits: Limits) -> None:
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
        try:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self._handle)
        self._handle = -1
        self._connection.close()

    def end(self) -> None:
        """Kill the fork and keep the handles: another thread may be reading, and sees its end."""
        handle = self._handle
        if handle >= 0:
            with contextlib.suppress(OSError):  # that thread has just closed the handle
                signal.pidfd_send_signal(handle, signal.SIGKILL)

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
        self.kill()
        words = {
            Status.TIMEOUT: "no answer within the deadline",
            Status.DIED: "its process ended",
        }
        return CandidateStopped(status, words[status])


class Zygote:
    """A clean process that forks one locked-in fork per candidate.

    Args:
        entry: module that runs inside, with ``prepare(settings)`` and ``serve(descriptor, state, cell)``.
        settings: what ``prepare`` is given; JSON values.
        mode: ``strict`` or ``process``.
        limits: of every fork.
        paths: folders that the clean process may import from, besides the standard library and
            gnomon itself.
        environment: variables it is given; by default none but those that fix threads and hashes.

    Raises:
        IsolationError: it does not start, or a layer that ``strict`` needs is missing.
    """

    def __init__(
        self,
        entry: str,
        settings: Mapping[str, Any],
        *,
        mode: IsolationMode = "strict",
        limits: Limits | None = None,
        paths: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        _need_handles()
        self.mode: IsolationMode = mode
        self.limits = limits or Limits()
        self._empty = tempfile.TemporaryDirectory(prefix="gnomon-empty-")
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = _execute(theirs.fileno(), dict(environment or {}))
        try:
            self._configure(entry, settings, list(paths))
            self.layers = self._trial()
        except BaseException:
            self.close()
            raise

    def fork(self) -> Fork:
        """Return a fork that has locked itself in and waits for its first message.

        Raises:
            IsolationError: the clean process has ended, or the fork could not lock itself in.
        """
        connection, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                handle = self._request(theirs.fileno())
        except BaseException:
            connection.close()
            raise
        fork = Fork(connection, handle, self.limits)
        fork.start(self._locked(fork))
        return fork

    def ended(self, seconds: float = 0.0) -> bool:
        """Return whether the clean process has ended, waiting a moment for news of it."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End the clean process; its forks die with it in mode ``strict``."""
        self._control.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._empty.cleanup()

    def abandon(self) -> None:
        """Close the handles on a process that is another's, as in a forked child, and do no more."""
        self._control.close()
        self._process.returncode = 0  # it is no child of this process, so nobody waits for it
        self._empty._finalizer.detach()  # type: ignore[attr-defined]  # the folder is the parent's too

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the clean process."""
        return self._process.pid

    def _configure(self, entry: str, settings: Mapping[str, Any], paths: list[str]) -> None:
        config = {
            "entry": entry,
            "settings": dict(settings),
            "mode": self.mode,
            "limits": {name: getattr(self.limits, name) for name in Limits.__slots__},
            "paths": paths,
            "root": _package_root(),
            "packages": _PACKAGES,
            "empty": self._empty.name,
        }
        body = json.dumps(config).encode()
        self._control.settimeout(_START_S)
        try:
            self._control.sendall(_LENGTH.pack(len(body)) + body)
            (length,) = _LENGTH.unpack(_wait_all(self._control, _LENGTH.size))
            problem = _wait_all(self._control, length)
        except (OSError, struct.error) as error:
            raise IsolationError("the isolation process ended before it was ready") from error
        if problem:
            text = frames.plain(problem.decode("ascii", "replace"))
            raise IsolationError(f"the isolation process could not prepare: {text}")

    def _trial(self) -> tuple[str, ...]:
        """Fork once for nothing, so that a missing layer is found before the first candidate."""
        fork = self.fork()
        fork.kill()
        lacking = lockdown.missing(fork.layers, self.mode)
        if lacking:
            raise IsolationError(_remedy(", ".join(lacking) + " missing"))
        return fork.layers

    def _request(self, descriptor: int) -> int:
        try:
            socket.send_fds(self._control, [b"f"], [descriptor])
            answer, handles, _, _ = socket.recv_fds(self._control, 1, 1)
        except OSError as error:
            raise IsolationError("the isolation process has ended") from error
        if answer != b"+" or not handles:
            raise IsolationError("the isolation process cannot fork")
        return handles[0]

    def _locked(self, fork: Fork) -> tuple[str, ...]:
        try:
            code, body = fork.message(seconds=10.0)
        except CandidateStopped as error:
            raise IsolationError(f"a fork did not lock itself in: {error.detail}") from None
        if code is not frames.Code.LOCKED:
            fork.kill()
            raise IsolationError(_remedy(frames.plain(body.decode("ascii", "replace"))))
        return from_bits(_LENGTH.unpack(body)[0])


def _remedy(problem: str) -> str:
    return (
        f"strict isolation cannot be had here ({problem}); use --isolation process, which is weaker"
    )


def _need_handles() -> None:
    if not hasattr(os, "pidfd_open"):
        raise IsolationError(f"isolation needs Linux 5.4 or later; this is {sys.platform}")


def _package_root() -> str:
    """Return the folder that is the package ``gnomon``, wherever it is installed."""
    return str(Path(__file__).resolve().parents[2])


def _execute(descriptor: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Execute the clean process; it inherits one descriptor and an environment of its own."""
    fixed = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", **dict.fromkeys(_ONE_THREAD, "1")}
    # not -I: it would ignore the hash seed, and the environment is ours anyway
    command = [sys.executable, "-s", "-S", "-P", "-B", zygote_main.__file__, str(descriptor)]
    return subprocess.Popen(
        command,
        env=fixed | environment,
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_all(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            break
        data += more
    return data
