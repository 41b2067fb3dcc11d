"""The loop around a search: evaluations in flight, validation of the finalists, the result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...sdk.errors import ConfigurationError, SearchError
from ...sdk.kind import Kind
from ..evaluation import Engine, Evaluation, Split, Status
from ..gates.evaluator import beyond
from .core import WINDOW, Search
from .finals import Finals
from .log import RunLog
from .records import Budget
from .result import EvolveResult
from .space import Space, Start, seeds
from .strategies import strategy

_ERRORS_IN_A_ROW = 5


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        budget: hard limits.
        seed: of all random numbers.
        strategy: ``evolve``, or the control arm ``independent``, ``seeds`` or ``random``.
        start: ``library``, ``incumbent`` or ``weak``.
        incumbent: source of the policy in production, when the policy language can express it.
        incumbent_scores: of the policy in production on train and validation, where it is measured
            rather than expressed; only reported.
        parallel: evaluations in flight; does not change the result.
        window: proposals that may be under way without knowing of each other; changes the result.
        finalists: how many evolved programs are scored on validation.
        scales: usual size of an input by name, from the trace.
        subject: what is searched on (hook, digests of trace and calibration), for the log's header.
        resume: continue the run in the folder.
    """

    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    strategy: str = "evolve"
    start: Start = "library"
    incumbent: str = ""
    incumbent_scores: tuple[float, float] | None = None
    parallel: int = 2
    window: int = WINDOW
    finalists: int = 8
    scales: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    subject: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    resume: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.parallel <= self.window:
            raise ConfigurationError(
                f"parallel={self.parallel} is not within 1 and window={self.window}: "
                "lower it, or raise the window"
            )
        spent = (self.budget.evaluations, self.budget.proposals, self.budget.seconds)
        if not min(spent) >= 0 or math.isnan(self.budget.seconds) or self.finalists < 1:
            raise ConfigurationError(
                f"evaluations={spent[0]}, proposals={spent[1]}, seconds={spent[2]}, "
                f"finalists={self.finalists}: limits are not negative, and there is at least one "
                "finalist"
            )

    def header(self, kind: Kind) -> dict[str, Any]:
        """Return all that the log depends on, as JSON values."""
        budget = {k: v for k, v in asdict(self.budget).items() if k != "seconds"}
        return {
            "kind": kind.name,
            "kind_version": kind.version,
            "budget": budget,
            "seed": self.seed,
            "strategy": self.strategy,
            "start": self.start,
            "incumbent": self.incumbent,
            "window": self.window,
            "finalists": self.finalists,
            "scales": dict(self.scales),
            "subject": dict(self.subject),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """A glance at a running search.

    Attributes:
        phase: ``search`` or ``validation``.
        search: the search; to be read only.
        done, total: evaluations of this phase.
        seconds: wall time so far.
    """

    phase: str
    search: Search
    done: int
    total: int
    seconds: float


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Bounds:
    """Holds scores to the proven limit of their window.

    Attributes:
        of: returns the limit of a window, ``-inf`` where none is proven; asked once for each.
        caught: is told source, window, score and limit of every score beyond it; the program counts as one
            that the evaluator failed on.
    """

    of: Callable[[Split], float] = lambda _: -math.inf
    caught: Callable[[str, Split, float, float], None] = lambda *_: None
    _known: dict[Split, float] = field(default_factory=dict)

    def held(self, source: str, split: Split, found: Evaluation) -> Evaluation:
        """Return an evaluation, or what the evaluator's own failure is where its score is beyond the limit."""
        if found.status is not Status.OK:
            return found
        if split not in self._known:
            self._known[split] = self.of(split)
        limit = self._known[split]
        if not beyond(found.score, limit):
            return found
        self.caught(source, split, found.score, limit)
        detail = f"a score of {found.score:.6g} beyond the proven bound of {limit:.6g}"
        return Evaluation(Status.EVALUATOR_ERROR, detail=detail, layers=found.layers)


def evolve(
    kind: Kind,
    engine: Engine,
    options: Options,
    out: Path,
    *,
    progress: Report = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    bounds: Bounds | None = None,
) -> EvolveResult:
    """Search for a better policy and score the finalists on validation.

    Args:
        engine: scores a source on a split; stays open.
        out: folder of the run; holds the log, under a lock.
        progress: called after every evaluation.
        clock: seconds; only for the budget and the report, never in the log.
        bounds: what no score can be better than, and who is told of one that is; None knows of none.

    Raises:
        ConfigurationError: a setting is wrong, or another run has the folder.
        SearchError: the evaluator failed many times in a row; the log is kept.
        TraceError: the log to be resumed was edited, or made by another version.
    """
    space = Space(kind, options.scales)
    chosen = strategy(options.strategy, seeds(space, options.start, options.incumbent))
    config = options.header(kind) | {"layers": list(engine.layers)}
    with RunLog(out, config, resume=options.resume) as log:
        search = Search(
            space, chosen, log, budget=options.budget, seed=options.seed, window=options.window
        )
        pool = Pool(engine, bounds)
        return _Run(pool, options, search, log, progress, clock).result()


class _Run:
    """One call of :func:`evolve`."""

    def __init__(
        self,
        pool: Pool,
        options: Options,
        search: Search,
        log: RunLog,
        progress: Report,
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._search = search
        self._log = log
        self._progress = progress
        self._clock = clock
        self._began = clock()
        self._pool = pool
        self._told = 0

    def result(self) -> EvolveResult:
        """Search, validate, and return the result."""
        stopped = self._searched()
        self._search.finish()
        finals = Finals(self._search, self._options.incumbent, self._options.finalists)
        if self._log.final is not None:
            finals.restore(self._log.final)
        elif stopped != "interrupted":
            stopped = self._validated(finals, stopped)
            if stopped not in {"interrupted", "time"}:
                self._log.finish(finals.summary(stopped))
        seconds = self._clock() - self._began
        scores = self._options.incumbent_scores
        result = finals.result(stopped, self._log.hash, seconds, scores)
        return replace(result, layers=self._pool.layers)

    def _searched(self) -> str:
        try:
            while True:
                self._fill()
                if not self._pool.flying:
                    return self._search.spent or "time"
                for proposal, evaluation in self._pool.finished():
                    self._search.tell(proposal, evaluation)
                    self._told += 1
                    self._glance("search", self._told, self._options.budget.evaluations)
        except KeyboardInterrupt:
            return "interrupted"

    def _fill(self) -> None:
        while len(self._pool.flying) < self._options.parallel and not self._late():
            proposal = self._search.ask()
            if proposal is None:
                return
            self._pool.submit(proposal, proposal.draft.source, "train")

    def _late(self) -> bool:
        """Return whether the time left is needed for the finalists, judged by the pace so far."""
        spent = self._clock() - self._began
        reserve = self._options.finalists + len(self._search.space.baselines())
        pace = spent / self._told if self._told else 0.0
        return spent + pace * reserve >= self._options.budget.seconds

    def _validated(self, finals: Finals, stopped: str) -> str:
        wanted = list(finals.wanted())
        total, done = len(wanted), 0
        try:
            while wanted or self._pool.flying:
                while wanted and len(self._pool.flying) < self._options.parallel:
                    source, split = wanted.pop(0)
                    self._pool.submit((source, split), source, split)
                for (source, split), evaluation in self._pool.finished():
                    finals.scored(source, split, evaluation)
                    done += 1
                    self._glance("validation", done, total)
        except KeyboardInterrupt:
            return "interrupted"
        return stopped

    def _glance(self, phase: str, done: int, total: int) -> None:
        seconds = self._clock() - self._began
        self._progress(Progress(phase, self._search, done, total, seconds))


class Pool:
    """Evaluations in flight, each submitted once more when the evaluator itself failed.

    Attributes:
        layers: of isolation, that every evaluation must have run under.
        flying: by future.
    """

    def __init__(self, engine: Engine, bounds: Bounds | None = None) -> None:
        self._engine = engine
        self._bounds = bounds or Bounds()
        self.layers = engine.layers
        self.flying: dict[Future[Evaluation], _Flight] = {}
        self._errors = 0

    def submit(self, ticket: Any, source: str, split: Split) -> None:
        """Start an evaluation."""
        self._start(_Flight(ticket, source, split))

    def _start(self, flight: _Flight) -> None:
        self.flying[self._engine.submit(flight.source, flight.split)] = flight

    def finished(self) -> list[tuple[Any, Evaluation]]:
        """Wait for at least one evaluation; return tickets with results, oldest first.

        Raises:
            SearchError: the evaluator has failed too many times in a row.
        """
        done = wait(self.flying, return_when=FIRST_COMPLETED).done
        ended = [future for future in self.flying if future in done]
        results = []
        for future in ended:
            flight = self.flying.pop(future)
            believed = _believed(_evaluation(future), self.layers)
            evaluation = self._bounds.held(flight.source, flight.split, believed)
            if evaluation.status is Status.EVALUATOR_ERROR and not flight.again:
                self._start(replace(flight, again=True))
            else:
                self._watch(evaluation)
                results.append((flight.ticket, evaluation))
        return results

    def _watch(self, evaluation: Evaluation) -> None:
        failed = evaluation.status is Status.EVALUATOR_ERROR
        self._errors = self._errors + 1 if failed else 0
        if self._errors >= _ERRORS_IN_A_ROW:
            raise SearchError(
                f"the evaluator failed {self._errors} times in a row ({evaluation.detail or 'no detail'}); "
                "what was found is in the log: repair it and continue with --resume"
            )


@dataclass(frozen=True, slots=True)
class _Flight:
    ticket: Any
    source: str
    split: Split
    again: bool = False


def _evaluation(future: Future[Evaluation]) -> Evaluation:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - an engine's own failure must not end the search
        return Evaluation(Status.EVALUATOR_ERROR, detail=f"{type(error).__name__}: {error}"[:200])


def _believed(evaluation: Evaluation, layers: tuple[str, ...]) -> Evaluation:
    """Return an evaluation, or an error in the place of one that was less isolated than the run's header says."""
    lost = [layer for layer in layers if layer not in evaluation.layers]
    if not lost or evaluation.status is Status.EVALUATOR_ERROR:
        return evaluation
    detail = f"it ran without {', '.join(lost)}, which the run began with"
    return Evaluation(Status.EVALUATOR_ERROR, detail=detail, layers=evaluation.layers)
