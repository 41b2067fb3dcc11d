"""What engines share: one clean process, a fork per candidate that can be killed, and whose fault a failure is."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from ...sdk.errors import ConfigurationError, IsolationError
from ...sdk.invariant import Invariant
from ...sdk.isolation import frames
from ...sdk.isolation.layers import IsolationMode
from ...sdk.isolation.zygote import CandidateStopped, Zygote
from ...sdk.kind import Kind
from ..evaluation import Evaluation, Split, Status, Trial
from ..traces.trace import Trace
from . import feedback

_SCORE_S, _PROGRAM_S = 20.0, 3600.0
_NEWS_S = 0.05  # a fork dies of its parent's death a moment before the parent counts as dead


@dataclass(frozen=True, slots=True)
class CompiledOptions:
    """How an engine runs.

    Attributes:
        seed: of all replays, so that candidates meet the same randomness.
        workers: candidates that run at once.
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


class Endable(Protocol):
    """A process that another thread can end."""

    def end(self) -> None:
        """Kill it; whoever waits for its answer hears of its end."""
        ...


class ForkEngine(ABC):
    """An :class:`~gnomon.shadow.evaluation.Engine` whose candidates are forks of one clean process.

    A subclass prepares what it needs and calls :meth:`_open`, and :meth:`close` when that fails.

    Args:
        kind: what is decided.
        traces: by split; a split that is not given is refused, which is how a holdout stays closed.
        calibrations: drawn from the fit's uncertainty.
        options: how it runs.

    Attributes:
        layers: of isolation, in force around every candidate.

    Raises:
        ConfigurationError: nothing to replay.
    """

    def __init__(
        self,
        kind: Kind,
        traces: Mapping[Split, Trace],
        calibrations: Sequence[Any],
        options: CompiledOptions | None,
    ) -> None:
        if not traces or not calibrations or min(len(trace) for trace in traces.values()) == 0:
            raise ConfigurationError("an engine needs traces and calibrations, got none")
        self.layers: tuple[str, ...] = ()
        self._kind = kind
        self._options = options or CompiledOptions()
        self._splits = tuple(traces)
        self._lock = threading.Lock()
        self._running: set[Endable] = set()
        self._closed = False
        self._zygote: Zygote | None = None
        self._pool = ThreadPoolExecutor(self._options.workers, "gnomon-engine")

    @abstractmethod
    def _clean(self) -> Zygote:
        """Return a new clean process; raises IsolationError."""

    @abstractmethod
    def _evaluated(self, zygote: Zygote, source: str, split: Split, trial: Trial | None) -> Any:
        """Evaluate in a fork; raises CandidateStopped, IsolationError or OSError."""

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        """Evaluate a policy's source on a split; the future never raises for a candidate's fault.

        Raises:
            ConfigurationError: the split is not open here, or the engine is closed.
        """
        if split not in self._splits:
            raise ConfigurationError(
                f"split {split!r} is not open to this engine; it has {', '.join(self._splits)}"
            )
        return self._put(lambda zygote: self._evaluated(zygote, source, split, trial))

    def close(self) -> None:
        """Kill what runs, cancel what waits, and free everything; safe to call twice."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.end()
        self._pool.shutdown(cancel_futures=True)
        if self._zygote is not None:
            self._zygote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> None:
        """Start the clean process."""
        self._zygote = self._clean()
        self.layers = self._zygote.layers

    def _put(self, work: Callable[[Zygote], Any]) -> Future[Any]:
        if self._closed:
            raise ConfigurationError("the engine is closed; make a new one")
        return self._pool.submit(self._named, work)

    def _named(self, work: Callable[[Zygote], Any]) -> Any:
        """Do some work; what goes wrong becomes an evaluation that says whose fault it is."""
        zygote = self._zygote
        assert zygote is not None, "a subclass opens the engine"
        try:
            return work(zygote)
        except CandidateStopped as stopped:
            ours = stopped.status is Status.EVALUATOR_ERROR
            if ours:
                self._replaced(zygote)  # unless it was another clean process, which ended
            if ours or self._closed:
                return self._failed(Status.EVALUATOR_ERROR, self._own("the worker ended"))
            return self._failed(stopped.status, stopped.detail)
        except (IsolationError, OSError) as error:
            self._replaced(zygote)
            return self._failed(Status.EVALUATOR_ERROR, self._own(str(error)))

    def _own(self, detail: str) -> str:
        return "the engine was closed" if self._closed else detail

    def _failed(self, status: Status, detail: str, said: str = "") -> Evaluation:
        return Evaluation(status, detail=frames.plain(detail), layers=self.layers, feedback=said)

    def _broke(
        self, invariant: Invariant, detail: str = "", counterexample: str = ""
    ) -> Evaluation:
        said = feedback.broken(invariant, counterexample or detail)
        words = f"{invariant.name}: {detail or invariant.description}"
        return self._failed(Status.VIOLATION, words, said)

    def _scored(self, score: float, segments: tuple[float, ...], left: int = 0) -> Evaluation:
        """Return a score, or what is certain of it when so many replays were left."""
        if not left:
            said = feedback.scored(self._kind, score, segments)
            return Evaluation(Status.OK, score, segments, layers=self.layers, feedback=said)
        return Evaluation(
            Status.STOPPED,
            detail=f"stopped with {left} replays left: certainly above what was asked for",
            layers=self.layers,
            feedback=feedback.stopped(self._kind, score, segments),
            metrics=(("at_least", score), ("replays_left", float(left))),
        )

    @contextmanager
    def _held(self, process: Endable) -> Iterator[None]:
        """Let :meth:`close` end a process for the length of a block."""
        with self._lock:
            self._running.add(process)
            if self._closed:
                process.end()
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def _replaced(self, zygote: Zygote) -> bool:
        """Put a fresh clean process in the place of one that ended; return whether it had.

        Where none can be had at present, or only one with fewer layers than the first, the next job
        tries again.
        """
        if not zygote.ended(_NEWS_S):
            return False
        with self._lock:
            if self._zygote is not zygote or self._closed:
                return True
            zygote.close()
            try:
                fresh = self._clean()
            except IsolationError:
                return True
            if set(self.layers) <= set(fresh.layers):
                self._zygote = fresh
            else:
                fresh.close()
        return True
