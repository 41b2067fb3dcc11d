"""The engine of a problem folder: every evaluation in a process of its own that can be killed."""

from __future__ import annotations

import errno
import math
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from ...sdk.errors import ConfigurationError, SearchError
from ...sdk.isolation import frames
from ..evaluation import Evaluation, Split, Status
from .answers import NOTHING, Answer
from .folder import Problem
from .process import Evaluation as Process
from .process import Limits, Ran

#: Characters of what a program's failure, or its artifacts, say to the next prompt.
FEEDBACK = 2000
_NOTE, _ARTIFACT, _DETAIL = 200, 600, 200
_ADDRESS = re.compile(r"0x[0-9a-f]{6,16}")
_ODD = re.compile(r"[^\n\t\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class ProblemOptions:
    """How a problem's programs are evaluated.

    Attributes:
        workers: evaluations at once.
        repeats: how often each program is evaluated; its score is the mean.
        seed: of Python's and numpy's own random numbers in the evaluator's process.
        memory_mb: private memory of each process.
        variables: names of environment variables that evaluators get besides the usual ones.
    """

    workers: int = 2
    repeats: int = 1
    seed: int = 0
    memory_mb: int = 8192
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.workers < 1 or self.repeats < 1 or self.memory_mb < 64:
            raise ConfigurationError(
                f"workers={self.workers}, repeats={self.repeats}, memory_mb={self.memory_mb}: there is at "
                "least one worker and one evaluation of a program, and 64 MB for it"
            )


class _Found(NamedTuple):
    evaluation: Evaluation
    stages: int  # that were run to their end
    of: int  # that the evaluator has
    reported: str = ""  # what the evaluator itself calls an error, beside its score


class ProblemEngine:
    """An :class:`~gnomon.shadow.evaluation.Engine` over a problem's evaluator.

    The initial program is evaluated first. Where that fails nobody but the evaluator is to blame; afterwards
    an exception is a fault of the program that was asked about. Scores of different stages cannot be compared,
    though OpenEvolve does: a program that ended at an earlier stage than the initial one did keeps a score that
    is worse than the initial one's, and is ``stopped``, without a score, where it would be better.

    The split ``train`` is what the search sees; ``validation`` evaluates with other random numbers.

    Args:
        problem: what to evaluate.
        options: how.
        clock: seconds; for the time that a stage may take.

    Attributes:
        layers: of isolation, in force around every evaluation.
        initial: the initial program's evaluation.
        short: a sentence where the initial program did not reach the last stage; else empty.

    Raises:
        ConfigurationError: the evaluator does not work on the initial program; tells what it said.
        SearchError: no process can be had.
    """

    def __init__(
        self,
        problem: Problem,
        options: ProblemOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._problem = problem
        self._clock = clock
        self._options = options or ProblemOptions()
        self._lock = threading.Lock()
        self._running: set[Process] = set()
        self._closed = False
        self._stages = 0
        self.short = ""
        self.layers: tuple[str, ...] = ()
        self._pool = ThreadPoolExecutor(self._options.workers, "gnomon-problem")
        try:
            self.initial = self._tried()
        except BaseException:
            self.close()
            raise

    def _tried(self) -> Evaluation:
        problem = self._problem
        found, self._stages, of, reported = self._evaluated(problem.program, "train")
        self.layers = found.layers
        if self._stages < of:
            self.short = (
                f"the initial program ends at stage {self._stages} of {of}: scores of that stage and of later "
                "ones are compared as they are, as OpenEvolve does; mind its thresholds"
            )
        if found.status is Status.EVALUATOR_ERROR and not found.feedback:
            raise SearchError(f"no evaluation could be started: {found.detail}; run again")
        if found.status is not Status.OK:
            said = " | ".join(line.strip() for line in found.feedback.splitlines() if line.strip())
            raise ConfigurationError(
                f"{problem.evaluator} does not work on its own initial_program.py ({found.status}: "
                f"{found.detail}); repair it first. It said: {said[-1000:] or 'nothing'}"
            )
        if reported and found.score >= 0:
            raise ConfigurationError(
                f"{problem.evaluator} scores its own initial_program.py {-found.score:g} and reports an error: "
                f"{reported}. Install what is missing, or repair it first"
            )
        return found

    def submit(self, source: str, split: Split, trial: object = None) -> Future[Evaluation]:
        """Evaluate a program; the future never raises for a program's fault.

        Args:
            trial: not used: an evaluator says for itself when it stops.

        Raises:
            ConfigurationError: the split is not open here, or the engine is closed.
        """
        if split not in ("train", "validation"):
            raise ConfigurationError(f"split {split!r} is not open to a problem; it has no holdout")
        if self._closed:
            raise ConfigurationError("the engine is closed; make a new one")
        if source == self._problem.program and split == "train":
            known: Future[Evaluation] = Future()
            known.set_result(self.initial)
            return known
        return self._pool.submit(lambda: self._evaluated(source, split).evaluation)

    def close(self) -> None:
        """Kill what runs, cancel what waits, and free everything; safe to call twice."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.cancel()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _evaluated(self, source: str, split: Split) -> _Found:
        """Return an evaluation, the mean of its repeats, with how many stages it had."""
        options = self._options
        first = options.seed + (0 if split == "train" else options.repeats)
        found: list[_Found] = []
        for number in range(options.repeats):
            found.append(self._once(source, first + number))
            if found[-1].evaluation.status is not Status.OK:
                return found[-1]
        return self._comparable(_mean(found))

    def _comparable(self, found: _Found) -> _Found:
        """Return a program without its score where that is one of an early stage and would win."""
        if found.stages >= self._stages or found.evaluation.score >= self.initial.score:
            return found
        detail = f"its score ended it at stage {found.stages} of {found.of}"
        stopped = replace(
            found.evaluation,
            status=Status.STOPPED,
            score=math.nan,
            detail=detail,
            feedback=f"{detail}\n{found.evaluation.feedback}"[:FEEDBACK],
        )
        return found._replace(evaluation=stopped)

    def _once(self, source: str, seed: int) -> _Found:
        problem, settings = self._problem, self._problem.settings
        told = {
            "evaluator": str(problem.evaluator),
            "cascade": settings.cascade,
            "thresholds": settings.thresholds,
            "features": settings.features,
            "arguments": dict(settings.arguments),
            "seed": seed,
        }
        limits = Limits(settings.timeout_s, self._options.memory_mb)
        try:
            process = Process(source, told, limits, self._options.variables, self._clock)
        except OSError as error:
            return _Found(_ours(str(error), self.layers), 0, 0)
        with self._lock:
            self._running.add(process)
            if self._closed:
                process.cancel()
        try:
            ran = process.run()
        finally:
            with self._lock:
                self._running.discard(process)
        if self._closed:
            return _Found(_ours("the engine was closed", self.layers), 0, 0)
        return _Found(
            judged(ran, problem), ran.answer.stages, ran.answer.of, _reported(ran, problem)
        )


def _reported(ran: Ran, problem: Problem) -> str:
    """Return what stands under ``error`` in an answer: many evaluators catch every exception and score it 0."""
    said = dict(ran.answer.notes).get("error", "")
    return "" if said in ("None", "") else _plain(_relative(said, ran, problem))


def _ours(detail: str, layers: tuple[str, ...]) -> Evaluation:
    return Evaluation(Status.EVALUATOR_ERROR, detail=_plain(detail), layers=layers)


def judged(ran: Ran, problem: Problem) -> Evaluation:
    """Return what a process's end means for its program.

    Args:
        ran: what became of the process.
        problem: whose program it was.
    """
    status, detail = _status(ran)
    return Evaluation(
        status,
        score=-ran.answer.fitness if status is Status.OK else math.nan,
        detail=_plain(_relative(detail, ran, problem)),
        layers=ran.layers,
        feedback=feedback(ran, problem, detail),
        metrics=() if ran.garbled else ran.answer.metrics,
    )


def _status(ran: Ran) -> tuple[Status, str]:
    """Return how an evaluation ended and, unless it has a score, why."""
    answer = ran.answer
    if ran.garbled:
        return Status.FAULT, "it wrote into the evaluator's answer"
    if ran.timed_out and ran.stage == 0:
        return Status.EVALUATOR_ERROR, "the evaluator took too long to load"
    if ran.timed_out:
        return Status.TIMEOUT, f"stage {ran.stage} took too long"
    if answer.event == "raised":
        return _fault(answer), answer.error
    if answer.event != "done":
        return (Status.DIED if ran.stage else Status.EVALUATOR_ERROR), _end(ran)
    if math.isnan(answer.fitness):
        return Status.FAULT, "its combined_score is no finite number"
    return Status.OK, ""


def _fault(answer: Answer) -> Status:
    """Return whose fault an exception is: the machine's and the evaluator's own are not the program's."""
    full = f"[Errno {errno.ENOSPC}]" in answer.error
    return Status.EVALUATOR_ERROR if answer.where == "evaluator" or full else Status.FAULT


def _end(ran: Ran) -> str:
    if ran.code is None:
        return "the process was killed with its watcher"
    if ran.code < 0:
        return f"the process was ended by signal {-ran.code}"
    return f"the process ended with code {ran.code} and without an answer"


def feedback(ran: Ran, problem: Problem, detail: str) -> str:
    """Return what the next prompt may say of an evaluation: at most :data:`FEEDBACK` characters.

    Metrics are not in it. What comes out of the evaluator's process is text of others: control characters, memory
    addresses and this machine's folders are taken out, so that a run that repeats says the same again.
    """
    answer = NOTHING if ran.garbled else ran.answer
    parts = [detail] if detail else []
    parts += [f"{name}: {value[:_NOTE]}" for name, value in answer.notes]
    parts += [f"{name}:\n{_short(value)}" for name, value in answer.artifacts]
    if answer.trace:
        parts.append(answer.trace[-FEEDBACK // 2 :])
    if detail and ran.output.strip():
        parts.append(f"printed:\n{ran.output.strip()[-FEEDBACK // 2 :]}")
    text = _relative("\n".join(parts), ran, problem)
    return text if len(text) <= FEEDBACK else text[: FEEDBACK - 4] + " ..."


def _short(value: str) -> str:
    """Return an artifact's beginning and end, so that one leaves room for the others."""
    half = _ARTIFACT // 2
    return value if len(value) <= _ARTIFACT else f"{value[:half]} ... {value[-half:]}"


def _relative(text: str, ran: Ran, problem: Problem) -> str:
    for folder in (ran.folder, str(problem.folder)):
        text = text.replace(f"{folder}/", "") if folder else text
    return _ODD.sub("?", _ADDRESS.sub("0x...", text))


def _plain(detail: str) -> str:
    return frames.plain(detail)[:_DETAIL]


def _mean(found: list[_Found]) -> _Found:
    """Return the mean of evaluations that all have a score."""
    if len(found) == 1:
        return found[0]
    by_name: dict[str, list[float]] = {}
    for each in found:
        for name, value in each.evaluation.metrics:
            by_name.setdefault(name, []).append(value)
    kept = replace(
        found[-1].evaluation,
        score=sum(each.evaluation.score for each in found) / len(found),
        metrics=tuple((name, sum(values) / len(values)) for name, values in by_name.items()),
    )
    return _Found(kept, min(each.stages for each in found), found[-1].of)
