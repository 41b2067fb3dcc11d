"""The host's side of one evaluation: start its process, read its answers, and end all that came of it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import child
from .answers import NOTHING, Answer, answer

#: Variables of this process that an evaluator's process gets, where they are set.
PASSED = (
    "PATH",
    "LANG",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "TZ",
    "CUDA_VISIBLE_DEVICES",
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_MOST_ANSWERS = 4 << 20
_HEAD, _TAIL, _CHUNK = 4096, 8192, 1 << 16
_START_S = 60.0  # at least, for Python to start and the evaluator to load
_END_S = 10.0  # for the watcher to end what is left
_STAGES = range(1, 4)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one evaluation may use.

    Attributes:
        stage_s: seconds of wall time for one stage.
        memory_mb: private memory of each of its processes.
        file_mb: largest file that it writes.
        processes: and threads that it may start, roughly; does not hold for root.
    """

    stage_s: float = 300.0
    memory_mb: int = 8192
    file_mb: int = 1024
    processes: int = 2048

    @property
    def cpu_s(self) -> int:
        """Whole seconds of processor time of one process; a backstop, all of its threads count."""
        return int(3 * self.stage_s * (os.cpu_count() or 1)) + 60


@dataclass(slots=True)
class Ran:
    """What became of a process.

    Attributes:
        layers: of isolation that held.
        stage: that was begun last, from 1; 0 when none was.
        answer: what was said of the program last.
        timed_out: whether a stage took too long.
        garbled: whether it answered with what is no answer, or too much of it.
        code: exit code, negative for a signal; None where nobody told.
        output: what it printed, the middle left out.
        folder: that it ran in, another every time; gone.
    """

    layers: tuple[str, ...] = ()
    stage: int = 0
    answer: Answer = NOTHING
    timed_out: bool = False
    garbled: bool = False
    code: int | None = None
    output: str = ""
    folder: str = ""


def environment(home: Path, passed: Sequence[str], source: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an evaluator's process: none of the user's but those named.

    Args:
        home: folder that takes what belongs to a user.
        passed: further names that are handed on.
        source: variables of this process.
    """
    fixed = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUSERBASE": site.getuserbase(),
        **{name: source.get(name, "1") for name in _THREADS},
    }
    return fixed | {name: source[name] for name in (*PASSED, *passed) if name in source}


class Evaluation:
    """One process that evaluates one program; :meth:`run` once.

    Args:
        program: source.
        settings: for the script: evaluator, stages, seed.
        limits: of time, memory and files.
        passed: names of further variables that it gets.
        clock: seconds.

    Raises:
        OSError: the process cannot be had.
    """

    def __init__(
        self,
        program: str,
        settings: Mapping[str, Any],
        limits: Limits,
        passed: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._cancelled = False
        self._ran = Ran()
        self._output = _Output()
        self._folder = Path(tempfile.mkdtemp(prefix="gnomon-problem-"))
        try:
            self._read, self._process = self._started(program, settings, passed)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _started(
        self, program: str, settings: Mapping[str, Any], passed: Sequence[str]
    ) -> tuple[int, subprocess.Popen[bytes]]:
        path, work = self._folder / "program.py", self._folder / "work"
        path.write_bytes(program.encode())
        work.mkdir()
        limits = self._limits
        told = {
            **settings,
            "program": str(path),
            "memory_mb": limits.memory_mb,
            "file_mb": limits.file_mb,
            "cpu_s": limits.cpu_s,
            "processes": _running() + limits.processes,
        }
        read, write = os.pipe()
        flags = ["-P", *(["-s"] if sys.flags.no_user_site else [])]
        command = [sys.executable, *flags, child.__file__, str(write), json.dumps(told)]
        try:
            process = subprocess.Popen(
                command,
                env=environment(work, passed, os.environ),
                cwd=work,
                pass_fds=[write],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what a terminal tells us is not told to it
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        return read, process

    def cancel(self) -> None:
        """Have :meth:`run`, on another thread, end the process soon."""
        self._cancelled = True

    def run(self) -> Ran:
        """Wait for the answer, end everything, and return what became of it."""
        try:
            self._follow()
        finally:
            self._end()
        self._ran.output = self._output.text()
        self._ran.folder = str(self._folder)
        return self._ran

    def _follow(self) -> None:
        assert self._process.stdout is not None, "a pipe"
        waiting = selectors.DefaultSelector()
        waiting.register(self._read, selectors.EVENT_READ, self._answers)
        waiting.register(self._process.stdout, selectors.EVENT_READ, self._output.take)
        self._line, self._deadline = (
            bytearray(),
            self._clock() + max(_START_S, self._limits.stage_s),
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        with waiting:
            while not (self._ran.answer.final or self._ran.garbled or self._cancelled):
                left = self._deadline - self._clock()
                if left <= 0:
                    self._ran.timed_out = True
                    return
                for key, _ in waiting.select(min(left, 0.2)):
                    data = os.read(key.fd, _CHUNK)
                    if not data and key.fd == self._read:
                        return
                    if not data:
                        waiting.unregister(key.fileobj)
                    key.data(data)
        with contextlib.suppress(BlockingIOError):  # what was printed before the answer came
            while data := os.read(self._process.stdout.fileno(), _CHUNK):
                self._output.take(data)

    def _answers(self, data: bytes) -> None:
        self._line += data
        if len(self._line) > _MOST_ANSWERS:
            self._ran.garbled = True
            return
        *whole, rest = bytes(self._line).split(b"\n")
        self._line = bytearray(rest)
        for line in whole:
            try:
                self._heard(json.loads(line))
            except (ValueError, TypeError, LookupError, RecursionError):
                self._ran.garbled = True

    def _heard(self, told: Any) -> None:
        ran, event = self._ran, told["event"]
        if event == "ready" and not ran.layers:  # nothing of the evaluator's ran before it
            ran.layers = tuple(map(str, told["layers"]))
        elif event == "stage" and told["stage"] in _STAGES and told["stage"] == ran.stage + 1:
            ran.stage += 1
            self._deadline = self._clock() + self._limits.stage_s
        elif event == "ended" and type(told["code"]) is int:
            ran.code = told["code"]
        elif event in ("ready", "stage", "ended"):
            raise ValueError(event)
        elif not ran.answer.final:
            ran.answer = answer(told)

    def _end(self) -> None:
        """End the watcher and, through it, all that came of the evaluator."""
        process = self._process
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a program may have stopped it
        os.close(self._read)
        try:
            process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode:  # a program killed its watcher, or outran it
            _kill_those_of(self._folder)
        if process.stdout is not None:
            process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _kill_those_of(folder: Path) -> None:
    """Kill every process whose variables name an evaluation's folder, until there is none."""
    home = f"HOME={folder}/".encode()
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        found = [pid for pid in _processes() if home in _variables(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _running() -> int:
    """Return how many threads there are, of all users; a limit on processes counts all of its user's."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])
    except (OSError, ValueError, IndexError):  # not Linux
        return 1 << 16


def _processes() -> list[int]:
    with contextlib.suppress(OSError):  # no /proc
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def _variables(pid: int) -> bytes:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


class _Output:
    """The beginning and the end of what a process prints; the middle is only counted."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._dropped = 0

    def take(self, data: bytes) -> None:
        """Take what was printed next."""
        room = _HEAD - len(self._head)
        self._head += data[:room]
        rest = data[room:]
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail and self._tail_size - len(self._tail[0]) >= _TAIL:
            gone = self._tail.popleft()
            self._tail_size -= len(gone)
            self._dropped += len(gone)

    def text(self) -> str:
        """Return what is kept, as text."""
        tail = b"".join(self._tail)
        dropped = self._dropped + max(0, len(tail) - _TAIL)
        gap = b"\n... %d bytes ...\n" % dropped if dropped else b""
        return bytes(self._head + gap + tail[-_TAIL:]).decode("utf-8", "replace")
