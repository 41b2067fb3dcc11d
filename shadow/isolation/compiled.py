"""The compiled engine: ranks candidates by replaying them, each in a fork that is thrown away."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import queue
import struct
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Self

import numba
import numpy as np
import numpy.typing as npt

from ...policies.registry import modules
from ...sdk.errors import ConfigurationError, IsolationError
from ...sdk.invariant import Invariant
from ...sdk.isolation import frames
from ...sdk.isolation.layers import IsolationMode, Limits
from ...sdk.isolation.zygote import CandidateStopped, Fork, Zygote
from ...sdk.kind import Kind
from ..evaluation import Evaluation, Split, Status
from ..gates.watch import blocking
from ..simulators import plugged_in
from ..simulators.base import save_calibrations
from ..traces.trace import Trace
from .guard import InvariantGuard

_ENTRY = "gnomon.shadow.isolation.compiled_child"
_HEAD = struct.Struct("<idI")  # as in compiled_child
_BROKEN = -2  # as there
_DOUBLE = 8  # bytes
_LENGTH = struct.Struct("<I")
_MEMORY_MB = 1024  # a compiler's
_SCORE_S, _PROGRAM_S = 20.0, 3600.0
_MOST_ROWS = 4096  # of one request for scores: its answer is one message
_NEWS_S = 0.05  # a fork dies of its parent's death a moment before the parent counts as dead
_Job = tuple[dict[str, Any], "Future[Any]"]


@dataclass(frozen=True, slots=True)
class CompiledOptions:
    """How a compiled engine runs.

    Attributes:
        seed: of all replays, so that candidates meet the same randomness.
        workers: clean processes, each with one candidate at a time.
        isolation: ``strict`` or ``process``.
        deadline_s: seconds of wall time for one candidate on one split; None for 20, and for 3,600 of a
            kind of program form.
        segments: number of stretches of time in an evaluation.
        invariants: of the hook, besides the kind's; a candidate that passes is run again by the host
            on the first decisions, and one that breaks a decision invariant there is a violation.
        modules: imported inside, where kinds from outside this package register themselves; those
            of ``GNOMON_MODULES`` are anyway.
        paths: folders that those modules lie in, where they cannot be imported here.
    """

    seed: int = 0
    workers: int = 2
    isolation: IsolationMode = "strict"
    deadline_s: float | None = None
    segments: int = 20
    invariants: tuple[Invariant, ...] = ()
    modules: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def seconds(self, kind: Kind) -> float:
        """Return the wall time of one candidate on one split."""
        usual = _PROGRAM_S if kind.form == "program" else _SCORE_S
        return usual if self.deadline_s is None else self.deadline_s


class CompiledEngine:
    """An :class:`~gnomon.shadow.evaluation.Engine` whose workers can be killed.

    The score of an evaluation is the worst, over all calibrations, of the mean clipped outcome.

    Args:
        kind: what is decided; known to the registry under its name (see ``options.modules``).
        traces: by split; a split that is not given is refused, which is how a holdout stays closed.
        calibrations: drawn from the fit's uncertainty.
        options: how it runs.

    Raises:
        IsolationError: the isolation cannot be had, or a worker cannot prepare.
        ConfigurationError: nothing to replay.
    """

    def __init__(
        self,
        kind: Kind,
        traces: Mapping[Split, Trace],
        calibrations: Sequence[Any],
        options: CompiledOptions | None = None,
    ) -> None:
        if not traces or not calibrations or min(len(trace) for trace in traces.values()) == 0:
            raise ConfigurationError("a compiled engine needs traces and calibrations, got none")
        self._options = options or CompiledOptions()
        self._kind = kind
        self._splits = tuple(traces)
        self._folder = tempfile.TemporaryDirectory(prefix="gnomon-engine-")
        self._settings = self._store(kind, traces, calibrations)
        self._guard: InvariantGuard | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._workers: list[_Worker] = []
        try:
            self._guard = _guard(kind, next(iter(traces.values())), calibrations[0], self._options)
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def layers(self) -> tuple[str, ...]:
        """Isolation layers in force in every fork."""
        return self._workers[0].layers

    def submit(self, source: str, split: Split) -> Future[Evaluation]:
        """Evaluate a policy's source on a split; the future never raises for a candidate's fault.

        Raises:
            ConfigurationError: the split is not open here, or the engine is closed.
        """
        if split not in self._splits:
            raise ConfigurationError(
                f"split {split!r} is not open to this engine; it has {', '.join(self._splits)}"
            )
        return self._put({"source": source, "split": split})

    def scores(self, source: str, rows: npt.NDArray[np.float64]) -> Future[Any]:
        """Return the compiled scores of (n, F) rows, NaN for a fault; an Evaluation if there are none.

        Raises:
            ConfigurationError: more than 4,096 rows, or the engine is closed.
        """
        if len(rows) > _MOST_ROWS:
            raise ConfigurationError(f"{len(rows)} rows are too many; at most {_MOST_ROWS}")
        return self._put({"source": source, "rows": rows.tolist()})

    def close(self) -> None:
        """Kill what runs, cancel what waits, and free everything; safe to call twice."""
        self._closing.set()
        self._cancel_waiting()
        for worker in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.stop()
        if self._guard is not None:
            self._guard.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _put(self, job: dict[str, Any]) -> Future[Any]:
        if self._closing.is_set():
            raise ConfigurationError("the engine is closed; make a new one")
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future

    def _cancel_waiting(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job[1].cancel()

    def _start(self) -> None:
        # one after the other: the first fills the compiler's cache for the rest
        for _ in range(self._options.workers):
            self._workers.append(
                _Worker(self._kind, self._zygote, self._jobs, self._closing, self._guard)
            )

    def _store(
        self, kind: Kind, traces: Mapping[Split, Trace], calibrations: Sequence[Any]
    ) -> dict[str, Any]:
        folder = Path(self._folder.name)
        for split, trace in traces.items():
            trace.save(folder / f"{split}.trace")
        save_calibrations(folder / "calibrations.npz", tuple(calibrations))
        return {
            "kind": kind.name,
            "traces": {split: str(folder / f"{split}.trace") for split in traces},
            "calibrations": str(folder / "calibrations.npz"),
            "modules": list(dict.fromkeys((*modules(), *self._options.modules))),
            "seed": self._options.seed,
            "segments": self._options.segments,
        }

    def _zygote(self) -> Zygote:
        deadline = self._options.seconds(self._kind)
        cache = os.environ.get("NUMBA_CACHE_DIR")
        return Zygote(
            _ENTRY,
            self._settings,
            mode=self._options.isolation,
            limits=Limits(frame_s=deadline, total_s=deadline, memory_mb=_MEMORY_MB),
            paths=[
                *self._options.paths,
                *_module_paths(self._settings["modules"]),
                *_plugged_in_paths(self._settings["kind"]),
                *_library_paths(),
            ],
            environment={"NUMBA_CACHE_DIR": cache} if cache else {},
        )


class _Worker:
    """A thread with a clean process: takes jobs, one fork each; replaces a process that ended."""

    def __init__(
        self,
        kind: Kind,
        zygote: Callable[[], Zygote],
        jobs: queue.SimpleQueue[_Job | None],
        closing: threading.Event,
        guard: InvariantGuard | None,
    ) -> None:
        self._kind = kind
        self._guard = guard
        self._make = zygote
        self._jobs = jobs
        self._closing = closing
        self._lock = threading.Lock()
        self._fork: Fork | None = None
        self._zygote = zygote()
        self.layers = self._zygote.layers
        self._thread = threading.Thread(target=self._run, name="gnomon-engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Kill the present candidate and end the thread and its process."""
        with self._lock:
            if self._fork is not None:
                self._fork.kill()
        self._thread.join()
        self._zygote.close()

    def _run(self) -> None:
        while (taken := self._jobs.get()) is not None:
            job, future = taken
            if future.set_running_or_notify_cancel():
                future.set_result(self._evaluate(job))

    def _evaluate(self, job: dict[str, Any]) -> Any:
        try:
            return self._ask(job)
        except CandidateStopped as stopped:
            if stopped.status is Status.DIED and self._zygote.ended(_NEWS_S):
                self._replace()
                return self._own_fault("the worker ended")
            return Evaluation(stopped.status, detail=stopped.detail, layers=self.layers)
        except (IsolationError, OSError) as error:
            self._replace()
            return self._own_fault(str(error))

    def _ask(self, job: dict[str, Any]) -> Any:
        fork = self._zygote.fork()
        with self._lock:
            self._fork = fork
        try:
            if self._closing.is_set():
                return self._own_fault("the engine was closed")
            answer = self._converse(fork, job)
        finally:
            with self._lock:
                self._fork = None
                fork.kill()
        return self._guarded(job, answer)

    def _guarded(self, job: dict[str, Any], answer: Any) -> Any:
        """Return a good evaluation as a violation when the host, looking on, sees one."""
        good = isinstance(answer, Evaluation) and answer.status is Status.OK
        broken = self._guard.broken(job["source"]) if good and self._guard is not None else ""
        if not broken:
            return answer
        return Evaluation(Status.VIOLATION, detail=frames.plain(broken), layers=self.layers)

    def _converse(self, fork: Fork, job: dict[str, Any]) -> Any:
        """Send the job; until the candidate is checked, whatever goes wrong is our own fault."""
        body = json.dumps(job).encode()
        try:
            fork.send(_LENGTH.pack(len(body)) + body)
            code, answer = fork.message()
        except CandidateStopped as stopped:
            return self._own_fault(f"before the candidate ran: {stopped.detail}")
        if code is frames.Code.READY:
            code, answer = fork.message()
        if code is frames.Code.RESULT:
            return self._result(job, answer)
        text = frames.plain(answer.decode("ascii", "replace"))
        if code is frames.Code.REJECTED:
            return Evaluation(Status.REJECTED, detail=text, layers=self.layers)
        return self._own_fault(text)

    def _result(self, job: dict[str, Any], answer: bytes) -> Any:
        """Return what an answer says; its process is the candidate's, so it may say anything."""
        if "rows" in job:
            if len(answer) != _DOUBLE * len(job["rows"]):
                raise _nonsense()
            return np.frombuffer(answer, dtype="<f8")
        if len(answer) < _HEAD.size:
            raise _nonsense()
        fault, score, count = _HEAD.unpack_from(answer)
        if fault >= 0:
            text = f"a score faulted at decision {fault}"
            return Evaluation(Status.FAULT, detail=text, layers=self.layers)
        if fault <= _BROKEN:
            return self._violation(_BROKEN - fault)
        if len(answer) != _HEAD.size + _DOUBLE * count:
            raise _nonsense()
        if not math.isfinite(score):
            return self._own_fault("the replay has no finite score")
        segments = struct.unpack_from(f"<{count}d", answer, _HEAD.size)
        return Evaluation(Status.OK, score, segments, layers=self.layers)

    def _violation(self, index: int) -> Evaluation:
        if index >= len(self._kind.invariants):
            raise _nonsense()
        broken = self._kind.invariants[index]
        text = frames.plain(f"{broken.name}: {broken.description}")
        return Evaluation(Status.VIOLATION, detail=text, layers=self.layers)

    def _own_fault(self, detail: str) -> Evaluation:
        return Evaluation(Status.EVALUATOR_ERROR, detail=frames.plain(detail), layers=self.layers)

    def _replace(self) -> None:
        """Put a fresh process in the place of one that ended; the next job tries again if this fails."""
        self._zygote.close()
        if self._closing.is_set():
            return
        try:
            self._zygote = self._make()
        except IsolationError:
            return


def _nonsense() -> CandidateStopped:
    return CandidateStopped(Status.DIED, "its process answered what no evaluation can")


def _guard(
    kind: Kind, trace: Trace, calibration: Any, options: CompiledOptions
) -> InvariantGuard | None:
    """Return what looks for violations, or None when no invariant could be broken."""
    invariants = blocking((*kind.invariants, *options.invariants))
    if not invariants:
        return None
    return InvariantGuard(kind, invariants, trace, calibration, options.isolation)


def _module_paths(names: Sequence[str]) -> list[str]:
    """Return the folders from which modules from outside are imported in this process."""
    found = (importlib.util.find_spec(name.partition(".")[0]) for name in names)
    places = [place for spec in found if spec is not None for place in _places(spec)]
    return list(dict.fromkeys(places))


def _plugged_in_paths(kind: str) -> list[str]:
    """Return the folders of the installed packages that give a kind, and of what says that they do."""
    points = plugged_in(kind)
    saying = [str(point.dist.locate_file("")) for point in points if point.dist is not None]
    return [*_module_paths([point.module for point in points]), *dict.fromkeys(saying)]


def _places(spec: ModuleSpec) -> list[str]:
    if spec.submodule_search_locations:
        return [str(Path(place).parent) for place in spec.submodule_search_locations]
    return [str(Path(spec.origin).parent)] if spec.has_location and spec.origin else []


def _library_paths() -> list[str]:
    """Return the folders of the libraries that the simulators need."""
    return list(dict.fromkeys(str(Path(m.__file__ or "").parents[1]) for m in (np, numba)))
