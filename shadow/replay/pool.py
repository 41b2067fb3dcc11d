"""Cells measured by several processes, which are replaced after some: a compiler's memory never comes back."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from typing import Self

from ...sdk import errors
from ...sdk.errors import ConfigurationError
from .bench import Job, Result

#: Cells that a process measures before another takes its place.
RECYCLED_AFTER = 40
_COMMAND = (sys.executable, "-m", "gnomon.shadow.replay.worker")


class Pool:
    """Some processes with one cell each; a process that dies is replaced, and its cell tried once more.

    Args:
        workers: how many.
        recycled_after: cells per process.
        command: that starts a process.
    """

    def __init__(
        self,
        workers: int,
        recycled_after: int = RECYCLED_AFTER,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="gnomon-replay")
        self._slot = threading.local()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._closed = False
        self._recycled_after, self._command = recycled_after, command

    def measured(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield the index and the result of every job, in the order in which they end.

        Raises:
            GnomonError: what the first job that failed raised.
            ConfigurationError: a process died twice under the same job.
        """
        index: dict[Future[Result], int] = {
            self._threads.submit(self._measure, job): at for at, job in enumerate(jobs)
        }
        waiting = set(index)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield index[future], future.result()

    def close(self) -> None:
        """Kill what runs and end all threads; what waits is never begun."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _measure(self, job: Job) -> Result:
        for last in (False, True):
            worker = self._own()
            try:
                return worker.measure(job)
            except _Died as died:
                if last and not self._closed:
                    raise ConfigurationError(
                        f"a process died ({died}) while it replayed {job.entrant.name!r}; "
                        "use fewer --workers, or give them more memory"
                    ) from died
        raise CancelledError

    def _own(self) -> _Worker:
        """Return this thread's process, in the place of one that has ended or done enough."""
        worker: _Worker | None = getattr(self._slot, "worker", None)
        if worker is not None and worker.usable:
            return worker
        with self._lock:
            if self._closed:
                raise CancelledError
            if worker is not None:
                self._workers.remove(worker)
            self._slot.worker = _Worker(self._recycled_after, self._command)
            self._workers.append(self._slot.worker)
        if worker is not None:
            worker.kill()
        made: _Worker = self._slot.worker
        return made


class _Died(Exception):
    """The process ended without an answer; says how."""


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, cells: int, command: Sequence[str]) -> None:
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._left = cells
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # an interrupt from the keyboard is the parent's alone
        )

    @property
    def usable(self) -> bool:
        """Whether it lives and has cells left."""
        return self._left > 0 and self._process.poll() is None

    def measure(self, job: Job) -> Result:
        """Return a cell's result; raises what the cell raised, or _Died."""
        self._left -= 1
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps(job.as_json()) + "\n")
            stdin.flush()
            line = stdout.readline()
        except (OSError, ValueError) as error:
            raise _Died(str(error)) from error
        if not line.endswith("\n"):
            raise _Died(f"exit code {self._process.wait()}")
        return _result(json.loads(line))

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):  # text that nobody will read
                    pipe.close()


def _result(answer: dict[str, object]) -> Result:
    if "error" not in answer:
        result = answer["result"]
        assert isinstance(result, dict)
        return Result.of_json(result)
    text, line = str(answer["text"]), answer["line"]
    if answer["error"] == "LanguageError":
        raise errors.LanguageError(text, int(str(line)))
    kind: type[errors.GnomonError] = getattr(errors, str(answer["error"]))
    raise kind(text)
