"""The models' process from outside: started when it is needed, killed when a call outlives its deadline."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from .calls import Result
from .chat import Answer, Request
from .worker import KEYS

_COMMAND = (sys.executable, "-m", "gnomon.shadow.models.worker")
#: Seconds that a call may outlive its deadline before nobody waits any more.
_GRACE_S = 2.0
#: Seconds that the process may take to begin: litellm alone takes three of a free core.
_START_S = 120.0
#: Bytes of one line; longer than any result that our own side sends.
_MOST_LINE = 8_000_000


@dataclass(slots=True)
class _Call:
    """One call under way."""

    seconds: float
    future: Future[Result]
    timer: threading.Timer | None = None


class ModelProcess:
    """Asks models in a process of its own.

    One call's deadline never ends another's: a process with a call that does not end is retired, finishes
    the others and is killed, while a fresh one takes what comes next.

    Args:
        environment: all variables of the process, see :func:`.keys.environment`.
        keys: names of those that hold keys.
        litellm: whether it imports litellm before the first call.
        command: of the process.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        keys: Sequence[str] = (),
        *,
        litellm: bool = False,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._environment = {**environment, KEYS: ",".join(keys), "PYTHONPATH": _paths()}
        self._command = [*command, *(["--litellm"] if litellm else [])]
        self._lock = threading.Lock()
        self._current: _Process | None = None
        self._all: list[_Process] = []
        self._closed = False
        self.started = 0

    def ask(self, request: Request, seconds: float) -> Future[Result]:
        """Begin a call; the future always ends with a result, soon after the deadline at the latest.

        Args:
            seconds: of the call, from when the process is ready.
        """
        while True:
            with self._lock:
                if self._closed:
                    return _ended("the models' process is closed")
                try:
                    process = self._usable()
                except OSError as error:
                    return _ended(f"the models' process cannot be started: {error.strerror}")
            future = process.ask(request, seconds)
            if future is not None:
                return future

    def _usable(self) -> _Process:
        if self._current is None or not self._current.usable:
            self._all = [process for process in self._all if process.alive]
            self._current = _Process(self._command, self._environment)
            self._all.append(self._current)
            self.started += 1
        return self._current

    def close(self) -> None:
        """Kill the process; calls under way end without an answer."""
        with self._lock:
            self._closed = True
            processes, self._all = self._all, []
        for process in processes:
            process.kill("closed")
            process.reader.join(_START_S)


class _Process:
    """One process, its pipes, and the thread that reads its results.

    Attributes:
        reader: that thread; it ends with the process.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._ids = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._ready = self._retired = False
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # an interrupt from the keyboard is the parent's alone
        )
        self._starting = self._timer(_START_S, lambda: self.kill("did not start in time"))
        self.reader = threading.Thread(target=self._read, daemon=True, name="models")
        self.reader.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    @property
    def usable(self) -> bool:
        """Whether it takes calls."""
        return not self._retired and self.alive

    def ask(self, request: Request, seconds: float) -> Future[Result] | None:
        """Begin a call; None where the process has just been retired."""
        future: Future[Result] = Future()
        call = _Call(seconds, future)
        with self._lock:
            if self._retired:
                return None
            number = next(self._ids)
            self._calls[number] = call
            if self._ready:
                self._watch(number, call)
        job = {"id": number, "seconds": seconds, "request": request.as_json()}
        try:
            assert self._popen.stdin is not None
            with self._writing:
                self._popen.stdin.write(json.dumps(job).encode() + b"\n")
                self._popen.stdin.flush()
        except (OSError, ValueError):  # ValueError: the pipe is closed
            self.kill("ended")
        return future

    def kill(self, why: str) -> None:
        """End the process at once, and every call of it without an answer."""
        self._starting.cancel()
        with contextlib.suppress(OSError):
            self._popen.kill()  # first: whoever holds the lock or waits to write goes on
        with self._lock:
            self._retired = True
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            _finish(call, f"the models' process {why}", self._ready)
        self._popen.wait()

    def _watch(self, number: int, call: _Call) -> None:
        call.timer = self._timer(call.seconds + _GRACE_S, lambda: self._overdue(number))

    def _overdue(self, number: int) -> None:
        """Give up on a call that outlived its deadline; the process ends with its last other call."""
        with self._lock:
            self._retired = True
            call = self._calls.pop(number, None)
            last = not self._calls
        if call is not None:
            _finish(call, f"no answer within {call.seconds:.3g} s")
        if last:
            self.kill("ended")

    def _read(self) -> None:
        assert self._popen.stdout is not None
        why = "ended"
        with self._popen.stdout as lines:
            while line := lines.readline(_MOST_LINE):
                try:
                    message = json.loads(line)
                    if not isinstance(message, dict):
                        raise TypeError
                    why = self._take(message) or why
                except (ValueError, KeyError, TypeError, RecursionError):
                    why = "said what is no result"
                    break
        self.kill(why)
        with contextlib.suppress(OSError):
            assert self._popen.stdin is not None
            self._popen.stdin.close()

    def _take(self, message: dict[str, Any]) -> str:
        """Take one message; return why the process is of no use, if it says so."""
        if "broken" in message:
            self._popen.kill()
            return f"is of no use: {message['broken']}"
        if "ready" in message:
            self._starting.cancel()
            with self._lock:
                self._ready = True
                for number, call in self._calls.items():
                    self._watch(number, call)
            return ""
        result = _result(message)
        with self._lock:
            done = self._calls.pop(message["id"], None)
            last = self._retired and not self._calls
        if done is not None:
            if done.timer is not None:
                done.timer.cancel()
            done.future.set_result(result)
        if last:
            self._popen.kill()
        return ""

    def _timer(self, seconds: float, act: Any) -> threading.Timer:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()
        return timer


def _finish(call: _Call, error: str, begun: bool = True) -> None:
    """End a call that nobody knows the cost of, unless it had not even begun."""
    if call.timer is not None:
        call.timer.cancel()
    call.future.set_result(Result(None, error, int(begun), int(begun)))


def _ended(error: str) -> Future[Result]:
    """Return a call that never began."""
    future: Future[Result] = Future()
    future.set_result(Result(None, error))
    return future


def _result(message: dict[str, Any]) -> Result:
    answer = message.get("answer")
    return Result(
        None if answer is None else Answer(**answer),
        str(message["error"]),
        int(message["attempts"]),
        int(message["doubtful"]),
    )


def _paths() -> str:
    """Return where this process finds its modules, so that the other finds the same."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
