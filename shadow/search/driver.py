"""The loop around a search: evaluations in flight, validation of the finalists, the result."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...sdk.errors import ConfigurationError
from ...sdk.kind import Kind
from ..evaluation import Engine
from .authors.writers import Authors, Desk, Inbox
from .core import WINDOW, Search
from .evaluating import racing
from .evaluating.pool import Bounds, Pool
from .log import RunLog
from .progress import Progress, Report
from .records import FREE, Assignment, Budget, Proposal
from .results.finalist import measured
from .results.finals import Finals
from .results.result import EvolveResult
from .space import SearchSpace, Space, Start
from .strategies import strategy

_POLL_S = 0.25


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        budget: hard limits.
        seed: of all random numbers.
        strategy: name of a strategy, see :mod:`.strategies`.
        start: ``library``, ``incumbent`` or ``weak``.
        incumbent: source of the policy in production, when the policy language can express it.
        incumbent_scores: of the policy in production on train and validation, where it is measured
            rather than expressed; only reported.
        incumbent_segments: its mean per stretch of validation, where it is measured.
        parallel: evaluations in flight; does not change the result.
        window: proposals that may be under way without knowing of each other; changes the result.
        finalists: how many evolved programs are scored on validation.
        writing: programs that writers are at, at once; changes the result no more than ``parallel``.
        wait: whether to wait for what others tell when there is nothing else to do.
        scales: usual size of an input by name, from the trace.
        subject: what is searched on (hook, digests of trace and calibration), for the log's header.
        racing: whether an evaluation may stop once the archive is certain to refuse the program.
        resume: continue the run in the folder.
    """

    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    strategy: str = "evolve"
    start: Start = "library"
    incumbent: str = ""
    incumbent_scores: tuple[float, float] | None = None
    incumbent_segments: tuple[float, ...] = ()
    parallel: int = 2
    window: int = WINDOW
    finalists: int = 16
    scales: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    subject: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    writing: int = 4
    wait: bool = False
    racing: bool = True
    resume: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.parallel <= self.window:
            raise ConfigurationError(
                f"parallel={self.parallel} is not within 1 and window={self.window}: "
                "lower it, or raise the window"
            )
        budget = self.budget
        spent = (budget.evaluations, budget.proposals, budget.seconds, budget.dollars)
        if not min(spent) >= 0 or any(map(math.isnan, spent)) or self.finalists < 1:
            raise ConfigurationError(
                f"evaluations={spent[0]}, proposals={spent[1]}, seconds={spent[2]}, "
                f"dollars={spent[3]}, finalists={self.finalists}: limits are not negative, and there "
                "is at least one finalist"
            )
        if self.writing < 1:
            raise ConfigurationError(
                f"writing={self.writing}: at least one program is written at once"
            )

    def header(self, space: SearchSpace) -> dict[str, Any]:
        """Return all that the log depends on, as JSON values."""
        budget = {k: v for k, v in asdict(self.budget).items() if k != "seconds"}
        if math.isinf(self.budget.dollars):
            budget["dollars"] = None
        return {
            **space.identity(),
            "budget": budget,
            "seed": self.seed,
            "strategy": self.strategy,
            "start": self.start,
            "incumbent": self.incumbent,
            "window": self.window,
            "finalists": self.finalists,
            "racing": self.racing,
            "scales": dict(self.scales),
            "subject": dict(self.subject),
        }


def evolve(
    subject: Kind | SearchSpace,
    engine: Engine,
    options: Options,
    out: Path,
    *,
    progress: Report = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    bounds: Bounds | None = None,
    authors: Authors | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> EvolveResult:
    """Search for a better policy and score the finalists on validation.

    Args:
        subject: a kind, or the programs to search where there is none.
        engine: scores a source on a split; stays open.
        out: folder of the run; holds the log, under a lock.
        authors: who proposes; None for the keyless proposers alone.
        progress: called after every evaluation, and about four times a second while one is awaited.
        clock: seconds; only for the budget and the report, never in the log.
        bounds: what no score can be better than, and who is told of one that is; None knows of none.
        stop: asked again and again; once it says yes nothing new begins, the evaluations under way are
            waited for and kept, and the run ends as interrupted.

    Raises:
        ConfigurationError: a setting is wrong, or another run has the folder.
        SearchError: the evaluator failed many times in a row; the log is kept.
        TraceError: the log to be resumed was edited, or made by another version.
    """
    space = Space(subject, options.scales) if isinstance(subject, Kind) else subject
    who = authors or Authors()
    starts = space.starts(options.start, options.incumbent)
    chosen = strategy(options.strategy, starts, who.makers)
    config = options.header(space) | {"layers": list(engine.layers), "authors": dict(who.settings)}
    with RunLog(out, config, resume=options.resume) as log:
        search = Search(
            space,
            chosen,
            log,
            budget=options.budget,
            seed=options.seed,
            window=options.window,
            trials=racing.trial if options.racing and chosen.races else lambda _: None,
        )
        desk = Desk(who.writer, options.writing)
        pool = Pool(engine, bounds)
        run = _Run(pool, desk, who.inbox, options, search, log, progress, clock, stop)
        return run.result()


class _Run:
    """One call of :func:`evolve`."""

    def __init__(
        self,
        pool: Pool,
        desk: Desk,
        inbox: Inbox | None,
        options: Options,
        search: Search,
        log: RunLog,
        progress: Report,
        clock: Callable[[], float],
        stop: Callable[[], bool],
    ) -> None:
        self._options = options
        self._stop = stop
        self._search = search
        self._log = log
        self._progress = progress
        self._clock = clock
        self._began = clock()
        self._validating = 0.0  # since when
        self._evaluating = 0.0  # seconds in which something was evaluated
        self._taken = self._began  # when
        self._pool = pool
        self._desk = desk
        self._inbox = inbox
        self._waiting: deque[Proposal] = deque()  # for room among the evaluations
        self._told = self._kept = 0

    def result(self) -> EvolveResult:
        """Search, validate, and return the result."""
        stopped = self._searched()
        self._search.finish()
        options = self._options
        known = options.incumbent_scores
        production = measured(*known, options.incumbent_segments) if known else None
        finals = Finals(self._search, options.incumbent, options.finalists, production)
        if self._log.final is not None:
            finals.restore(self._log.final)
        elif stopped != "interrupted":
            stopped = self._validated(finals, stopped)
            if stopped not in {"interrupted", "time"}:
                self._log.finish(finals.summary(stopped))
        seconds = self._clock() - self._began
        return finals.result(stopped, self._log.hash, seconds, self._pool.layers)

    def _searched(self) -> str:
        try:
            while True:
                if self._stop():
                    return self._drained()
                self._hear()
                self._fill()
                idle = not (self._pool.flying or self._desk.flying)
                if idle and not self._waits():
                    return (not self._waiting and self._search.spent) or "time"
                self._take()
        except KeyboardInterrupt:
            return "interrupted"

    def _drained(self) -> str:
        """Take the results of what is under way; what is being written would not be evaluated any more."""
        while self._pool.flying:
            self._glance("search", stopping=True)
            wait(self._pool.flying, _POLL_S, return_when=FIRST_COMPLETED)
            self._tell()
        return "interrupted"

    def _waits(self) -> bool:
        """Return whether there is nothing to do but to wait for what others tell."""
        return self._options.wait and self._search.spent == "exhausted" and not self._late()

    def _hear(self) -> None:
        if self._inbox is None:
            return
        for record in self._search.records[self._kept :]:
            self._inbox.kept(record)
        self._kept = len(self._search.records)
        for said in self._inbox.new():
            self._search.hint(said) if isinstance(said, str) else self._search.offer(said)

    def _fill(self) -> None:
        """Ask for what may be under way by now, and begin with as much of it as there is room for."""
        while not self._late() and (self._search.ready or not self._desk.full):
            asked = self._search.ask()
            if asked is None:
                break
            if isinstance(asked, Assignment):
                self._desk.submit(asked)
            else:
                self._waiting.append(asked)
        while (
            self._waiting and len(self._pool.flying) < self._options.parallel and not self._late()
        ):
            proposal = self._waiting.popleft()
            self._pool.submit(proposal, proposal.draft.source, "train", proposal.draft.trial)

    def _take(self) -> None:
        """Wait for something to end, or for a while, as something may be told; and take it."""
        evaluating = bool(self._pool.flying)
        flying: list[Future[Any]] = [*self._pool.flying, *self._desk.flying]
        if flying:
            wait(flying, _POLL_S, return_when=FIRST_COMPLETED)
        else:
            time.sleep(_POLL_S)
        for assignment, reply in self._desk.finished():
            self._search.answer(assignment, reply)
        before, self._taken = self._taken, self._clock()
        self._evaluating += (self._taken - before) * evaluating
        self._tell()

    def _tell(self) -> None:
        ended = self._pool.finished()
        for proposal, evaluation in ended:
            self._search.tell(proposal, evaluation)
            self._told += 1
            self._glance("search")
        if not ended:
            self._glance("search")

    def _late(self) -> bool:
        """Return whether the time left is needed for the finalists, judged by the pace of evaluations so far.

        What was spent on waiting, for answers of models or for what others tell, says nothing of them.
        """
        spent = self._clock() - self._began
        reserve = self._options.finalists + len(self._search.space.baselines())
        pace = self._evaluating / self._told if self._told else 0.0
        return spent + pace * reserve >= self._options.budget.seconds

    def _validated(self, finals: Finals, stopped: str) -> str:
        wanted = list(finals.wanted())
        total, done, self._validating = len(wanted), 0, self._clock()
        try:
            while wanted or self._pool.flying:
                while wanted and len(self._pool.flying) < self._options.parallel:
                    source, split = wanted.pop(0)
                    self._pool.submit((source, split), source, split)
                wait(self._pool.flying, _POLL_S, return_when=FIRST_COMPLETED)
                for (source, split), evaluation in self._pool.finished():
                    finals.scored(source, split, evaluation)
                    done += 1
                self._glance("validation", (done, total))
                if self._stop():
                    return "interrupted"
        except KeyboardInterrupt:
            return "interrupted"
        return stopped

    def _glance(
        self, phase: str, finals: tuple[int, int] | None = None, stopping: bool = False
    ) -> None:
        search = self._search
        evaluated = sum(n for outcome, n in search.counts.items() if outcome not in FREE)
        done, total = finals or (evaluated, self._options.budget.evaluations)
        self._progress(
            Progress(
                phase=phase,
                search=search,
                incumbent=(self._options.incumbent_scores or (math.nan,))[0],
                done=done,
                total=total,
                fresh=done if finals else self._told,
                seconds=self._clock() - self._began,
                phase_seconds=self._clock() - (self._validating or self._began),
                flying=len(self._pool.flying),
                writing=len(self._desk.flying),
                stopping=stopping,
            )
        )
