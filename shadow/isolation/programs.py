"""The engine for candidates of program form: the host steps the simulator, the candidate only answers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from ...sdk.errors import ConfigurationError, IsolationError
from ...sdk.isolation import frames
from ...sdk.isolation.program import ProgramProcess, program_zygote
from ...sdk.isolation.zygote import CandidateStopped, Zygote
from ...sdk.kind import Kind
from ..evaluation import Evaluation, Split, Status
from ..gates.watch import blocking
from ..programs import ProgramWatch, asking, drawn_questions, drive_program
from ..simulators import simulator_for
from ..simulators.base import Replay
from ..splits import segments
from ..traces.trace import Trace
from .compiled import CompiledOptions

#: Questions that the kind draws; the gates ask these and more.
_DRAWN = 100
_NEWS_S = 0.05  # a fork dies of its parent's death a moment before the parent counts as dead


class ProgramEngine:
    """An :class:`~gnomon.shadow.evaluation.Engine` for programs, each in a process that can be killed.

    The score of an evaluation is the worst, over all calibrations, of the mean clipped outcome. Every
    answer is held to the invariants, those to questions that the kind draws too: a policy that is only
    lawful on this trace is nothing to find.

    Args:
        kind: of program form.
        traces: by split; a split that is not given is refused, which is how a holdout stays closed.
        calibrations: drawn from the fit's uncertainty.
        options: as of the compiled engine; ``modules`` and ``paths`` mean nothing here.

    Raises:
        IsolationError: the isolation cannot be had.
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
            raise ConfigurationError("a program engine needs traces and calibrations, got none")
        self._options = options or CompiledOptions()
        self._kind = kind
        self._traces = dict(traces)
        self._calibrations = tuple(calibrations)
        self._simulator = simulator_for(kind)
        invariants = (*kind.invariants, *self._options.invariants)
        self._blocking = blocking(invariants)
        self._drawn = drawn_questions(kind, _DRAWN, self._options.seed)
        self._whole = [i for i in invariants if i.scope == "replay" and i.severity == "block"]
        self._lock = threading.Lock()
        self._running: set[ProgramProcess] = set()
        self._closed = False
        self._zygote = self._clean()
        self.layers = self._zygote.layers
        self._pool = ThreadPoolExecutor(self._options.workers, "gnomon-engine")

    def submit(self, source: str, split: Split) -> Future[Evaluation]:
        """Evaluate a policy's source on a split; the future never raises for a candidate's fault.

        Raises:
            ConfigurationError: the split is not open here, or the engine is closed.
        """
        if split not in self._traces:
            raise ConfigurationError(
                f"split {split!r} is not open to this engine; it has {', '.join(self._traces)}"
            )
        if self._closed:
            raise ConfigurationError("the engine is closed; make a new one")
        return self._pool.submit(self._evaluate, source, split)

    def close(self) -> None:
        """Kill what runs, cancel what waits, and free everything; safe to call twice."""
        self._closed = True
        with self._lock:
            for process in self._running:
                process.end()
        self._pool.shutdown(cancel_futures=True)
        self._zygote.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _clean(self) -> Zygote:
        total_s = self._options.seconds(self._kind)
        return program_zygote(self._kind, self._options.isolation, total_s=total_s)

    def _evaluate(self, source: str, split: Split) -> Evaluation:
        zygote = self._zygote
        try:
            return self._replayed(zygote, source, self._traces[split])
        except CandidateStopped as stopped:
            ours = self._closed or (
                stopped.status is Status.DIED and self._replaced(zygote, _NEWS_S)
            )
            status = Status.EVALUATOR_ERROR if ours else stopped.status
            return self._failed(status, stopped.detail)
        except (IsolationError, OSError) as error:
            self._replaced(zygote, 0.0)
            return self._failed(Status.EVALUATOR_ERROR, str(error))

    def _replayed(self, zygote: Zygote, source: str, trace: Trace) -> Evaluation:
        watch = ProgramWatch(self._kind, self._blocking)
        until = time.monotonic() + self._options.seconds(self._kind)
        replays: list[Replay] = []
        with ProgramProcess(zygote, source, self._kind) as process:
            self._hold(process)
            try:
                self._ask_drawn(process, watch)
                if watch.found:
                    return self._violated(watch)
                answer = asking(process, self._kind, watch, until)
                for index, calibration in enumerate(self._calibrations):
                    seed = self._options.seed + index
                    stream = self._simulator.stream(trace, calibration, seed)
                    replays.append(drive_program(stream, answer))
                    if watch.found:
                        return self._violated(watch)
            finally:
                self._let_go(process)
        return self._scored(replays)

    def _ask_drawn(self, process: ProgramProcess, watch: ProgramWatch) -> None:
        """Ask what the kind draws; on a fault the incumbent would answer, so that breaks nothing."""
        for question in self._drawn if self._blocking else ():
            answer = process.ask_terms(question.terms)
            if answer.ok:
                watch(question, answer.outputs)

    def _violated(self, watch: ProgramWatch) -> Evaluation:
        found = watch.found[0]
        return self._failed(Status.VIOLATION, f"{found.invariant}: {found.detail}")

    def _scored(self, replays: Sequence[Replay]) -> Evaluation:
        for replay in replays:
            if replay.fault >= 0:
                return self._failed(Status.FAULT, f"no answer fit at decision {replay.fault}")
            for invariant in self._whole:
                if not invariant.holds(replay.summary()):
                    said = f"{invariant.name}: {invariant.description}"
                    return self._failed(Status.VIOLATION, said)
        worst = max(replays, key=lambda replay: replay.mean)
        if not math.isfinite(worst.mean):
            return self._failed(Status.EVALUATOR_ERROR, "the replay has no finite score")
        parts = segments(worst, self._options.segments)
        return Evaluation(Status.OK, worst.mean, parts, layers=self.layers)

    def _failed(self, status: Status, detail: str) -> Evaluation:
        return Evaluation(status, detail=frames.plain(detail), layers=self.layers)

    def _hold(self, process: ProgramProcess) -> None:
        with self._lock:
            self._running.add(process)
            if self._closed:
                process.end()

    def _let_go(self, process: ProgramProcess) -> None:
        with self._lock:
            self._running.discard(process)

    def _replaced(self, zygote: Zygote, seconds: float) -> bool:
        """Put a fresh clean process in the place of one that ended; return whether it had."""
        if not zygote.ended(seconds):
            return False
        with self._lock:
            if self._zygote is zygote and not self._closed:
                zygote.close()
                self._zygote = self._clean()
        return True
