"""The host's side of the clean process: start it, and fork candidates from it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from ..errors import IsolationError
from . import frames, lockdown, zygote_main
from .fork import CandidateStopped, Fork
from .layers import IsolationMode, Limits, from_bits

__all__ = ["CandidateStopped", "Fork", "Zygote"]

_LENGTH = struct.Struct("<I")
_START_S = 120.0  # a compiled tier may have to compile its skeletons first
_FORK_S = 30.0  # for a fork to be there and locked in, on a machine with far too much to do
_UNTOLD = 0xFF  # in place of an error's number
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

    Attributes:
        mode: of isolation.
        limits: of every fork.
        layers: that held in a trial; a fork that holds fewer is never handed out.

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
        self.layers: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._empty, self._control, self._process = _executed(dict(environment or {}))
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
        try:
            connection, theirs = socket.socketpair()
        except OSError as error:
            _cannot_fork(error.strerror or "", error)
        try:
            with theirs, self._lock:
                handle = self._request(theirs.fileno())
        except BaseException:
            connection.close()
            raise
        fork = Fork(connection, handle, self.limits, self._plead, self._hung_up)
        try:
            fork.start(self._locked(fork))
        except BaseException:
            fork.kill()
            raise
        return fork

    def ended(self, seconds: float = 0.0) -> bool:
        """Return whether the clean process has ended, waiting a moment for news of it."""
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End the clean process; its forks die with it."""
        self._control.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(PermissionError):  # it was started as root, and ends by itself
                self._process.kill()
                self._process.wait()
        with contextlib.suppress(PermissionError):
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
            self._refuse(f"{', '.join(lacking)} missing")
        return fork.layers

    def _request(self, descriptor: int) -> int:
        """Ask for a fork, and return a handle on it.

        A clean process whose answer was not waited for is killed: else its late answer would be taken for that
        to another request.
        """
        try:
            self._control.settimeout(_FORK_S)
            socket.send_fds(self._control, [b"f"], [descriptor])
            answer, handles, _, _ = socket.recv_fds(self._control, 1, 1)
        except TimeoutError:
            self._process.kill()
            raise IsolationError(
                f"the isolation process did not fork within {_FORK_S:g} s and was killed; try again"
            ) from None
        except OSError as error:
            raise IsolationError("the isolation process has ended") from error
        except BaseException:  # a signal's handler ended the wait
            self._process.kill()
            raise
        if not answer:
            raise IsolationError("the isolation process has ended")
        if answer[0] or not handles:
            _cannot_fork("" if answer[0] in (0, _UNTOLD) else os.strerror(answer[0]))
        os.set_inheritable(handles[0], False)  # recv_fds() takes flags for that and ignores them
        return handles[0]

    def _refuse(self, problem: str) -> NoReturn:
        if self.mode == "strict":
            raise IsolationError(
                f"strict isolation cannot be had here ({problem}); use --isolation process, which is weaker"
            )
        raise IsolationError(f"isolation cannot be had here ({problem}); no mode does without it")

    def _hung_up(self) -> bool:
        """Return whether the clean process has ended, without waiting.

        A process that ends closes its files before its forks are killed, and before it counts as ended.
        """
        number = self._control.fileno()
        if number < 0:
            return True
        looked = select.poll()
        looked.register(number, 0)  # a hangup is always told, and nothing else is asked
        return bool(looked.poll(0))

    def _plead(self, handle: int) -> None:
        """Have the clean process kill a fork; it says nothing to that, so nobody waits."""
        with contextlib.suppress(OSError):  # where it has ended its forks have, too
            socket.send_fds(self._control, [b"k"], [handle])

    def _locked(self, fork: Fork) -> tuple[str, ...]:
        try:
            code, body = fork.message(seconds=_FORK_S)
        except CandidateStopped as error:
            raise IsolationError(f"a fork did not lock itself in: {error.detail}") from None
        if code is not frames.Code.LOCKED:
            self._refuse(frames.plain(body.decode("ascii", "replace")))
        held = from_bits(_LENGTH.unpack(body)[0])
        if lost := [layer for layer in self.layers if layer not in held]:
            raise IsolationError(
                f"a fork did not lock itself in: {', '.join(lost)} held before; the machine is short of "
                "something, run again"
            )
        return held


def _cannot_fork(reason: str, cause: OSError | None = None) -> NoReturn:
    raise IsolationError(
        f"the isolation process cannot fork ({reason or 'no more files'}); free files, memory or processes"
    ) from cause


def _need_handles() -> None:
    """Refuse a machine on which a process can only be named by a number that may become another's."""
    try:
        handle = os.pidfd_open(os.getpid())
    except AttributeError:
        raise IsolationError(
            f"isolation needs Linux 5.4 or later; this is {sys.platform}"
        ) from None
    except OSError as error:
        _no_handles("pidfd_open", error)
    try:
        signal.pidfd_send_signal(handle, 0)  # 0 asks whether it may
    except OSError as error:
        _no_handles("pidfd_send_signal", error)
    finally:
        os.close(handle)


def _no_handles(call: str, error: OSError) -> NoReturn:
    raise IsolationError(
        f"isolation needs {call}, which this kernel or container refuses ({error.strerror}); use Linux 5.4 "
        "or later and a container that allows it"
    ) from error


def _package_root() -> str:
    """Return the folder that is the package ``gnomon``, wherever it is installed."""
    return str(Path(__file__).resolve().parents[2])


def _executed(
    environment: dict[str, str],
) -> tuple[tempfile.TemporaryDirectory[str], socket.socket, subprocess.Popen[bytes]]:
    """Return an empty folder, a connection and the clean process; raises IsolationError."""
    try:
        empty = tempfile.TemporaryDirectory(prefix="gnomon-empty-")
        try:
            return empty, *_execute(environment)
        except BaseException:
            empty.cleanup()
            raise
    except OSError as error:
        raise IsolationError(
            f"no isolation process can be executed from {sys.executable!r} ({error.strerror}); free "
            "files, memory or processes, or run under an ordinary python"
        ) from error


def _execute(environment: dict[str, str]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Execute the clean process; it inherits one descriptor and an environment of its own."""
    fixed = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", **dict.fromkeys(_ONE_THREAD, "1")}
    ours, theirs = socket.socketpair()
    # not -I: it would ignore the hash seed, and the environment is ours anyway
    flags = ("-s", "-S", "-P", "-B")
    command = [sys.executable, *flags, zygote_main.__file__, str(theirs.fileno())]
    try:
        with theirs:
            process = subprocess.Popen(
                command,
                env=fixed | environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what a terminal tells the service is not told to it
            )
    except BaseException:
        ours.close()
        raise
    return ours, process


def _wait_all(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            break
        data += more
    return data
