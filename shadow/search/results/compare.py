"""Several strategies on one trace, with one budget and the same seeds, each evaluation paid for once."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from ....sdk.errors import ConfigurationError
from ..driver import Options
from ..evaluating.cached import CachedEngine
from ..progress import Progress
from ..records import FREE
from ..strategies import STRATEGIES
from ..wiring import Arena, keep, search, write
from .comparison import Comparison, Run, compared
from .result import EvolveResult


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        strategies: names, each once.
        seeds: of the searches, each once.
        options: of every search but for strategy and seed.
        at_once: searches that run at a time; the result is the same.

    Raises:
        ConfigurationError: nothing to compare, a name that does not exist, or one twice.
    """

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    options: Options = field(default_factory=Options)
    at_once: int = 1

    def __post_init__(self) -> None:
        if not self.strategies or not self.seeds:
            raise ConfigurationError("nothing to compare: give at least one strategy and one seed")
        for what, given in (("strategy", self.strategies), ("seed", self.seeds)):
            twice = next((each for each in given if given.count(each) > 1), None)
            if twice is not None:
                raise ConfigurationError(f"{what} {twice!r} is named twice; name it once")
        unknown = next((name for name in self.strategies if name not in STRATEGIES), None)
        if unknown is not None:
            raise ConfigurationError(
                f"unknown strategy {unknown!r}; known strategies: {', '.join(STRATEGIES)}"
            )
        if self.at_once < 1:
            raise ConfigurationError(f"at_once={self.at_once}: at least one search runs at a time")

    def runs(self) -> Iterator[Options]:
        """Yield the options of every search, seed by seed, so that half a comparison is a fair one."""
        for seed in self.seeds:
            for name in self.strategies:
                yield replace(self.options, strategy=name, seed=seed)


@dataclass(frozen=True, slots=True)
class Standing:
    """A glance at a comparison that runs.

    Attributes:
        strategy, seed: of the search that something happened in.
        done, total: searches.
        glance: at that search; None when it has just ended.
    """

    strategy: str
    seed: int
    done: int
    total: int
    glance: Progress | None


Report = Callable[[Standing], None]


def compare(
    arena: Arena,
    plan: Plan,
    out: Path,
    *,
    ledger: Path | None = None,
    actor: str = "compare",
    progress: Report = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Search with every strategy and seed of a plan, each in a folder of its own under ``out``.

    The searches share an engine that remembers: a program is replayed once, and counts against every budget
    as if it were replayed again. An interrupted comparison is resumed run by run.

    Args:
        arena: what to score on; the same replays for all searches, whatever their seeds.
        ledger, actor: as for :func:`.wiring.search`.
        progress: called after every evaluation of any search, by one thread at a time.
        stop: once it says yes, all searches end as interrupted.

    Raises:
        As :func:`.wiring.search`.
    """
    desk = _Desk(progress, len(plan.strategies) * len(plan.seeds), stop)
    with arena.open() as engine:
        shared = CachedEngine(engine)

        def one(options: Options) -> EvolveResult:
            folder = out / options.strategy / f"seed-{options.seed}"
            again = options.resume and (folder / "log.jsonl").is_file()
            return search(
                arena,
                replace(options, resume=again),
                folder,
                progress=lambda glance: desk.glance(options, glance),
                ledger=ledger,
                actor=actor,
                engine=shared,
                stop=desk.ends,
                written=desk.written,
            )

        runs = _all(plan, one, desk)
        told = compared(
            runs,
            budget=plan.options.budget.evaluations,
            shared=shared.shared,
            stopped="done" if len(runs) == desk.total else "interrupted",
            folder=out,
        )
    keep(out / "comparison.json", json.dumps(told.as_json(), indent=2, sort_keys=True) + "\n")
    return told


class _Desk:
    """Where the threads of a comparison report, and hear that it ends."""

    def __init__(self, progress: Report, total: int, stop: Callable[[], bool]) -> None:
        self.total = total
        self.over = threading.Event()
        self._progress = progress
        self._stop = stop
        self._done = 0
        self._lock = threading.Lock()

    def ends(self) -> bool:
        return self.over.is_set() or self._stop()

    def written(self, result: EvolveResult, out: Path) -> None:
        with self._lock:  # plots are drawn by one thread at a time
            write(result, out)

    def glance(self, options: Options, glance: Progress | None) -> None:
        with self._lock:
            self._done += glance is None
            seen = Standing(options.strategy, options.seed, self._done, self.total, glance)
            self._progress(seen)


def _all(plan: Plan, one: Callable[[Options], EvolveResult], desk: _Desk) -> list[Run]:
    """Return the runs that came to their end, in the order of the plan."""

    def run(options: Options) -> Run | None:
        result = one(options) if not desk.ends() else None
        if result is None or result.stopped == "interrupted":
            return None
        desk.glance(options, None)
        return _run(options, result)

    with ThreadPoolExecutor(plan.at_once, "gnomon-compare") as pool:
        flying = [pool.submit(run, options) for options in plan.runs()]
        try:
            wait(flying, return_when=FIRST_EXCEPTION)
        except KeyboardInterrupt:
            pass  # what ended is a comparison, too
        finally:
            desk.over.set()
        ended = [future.result() for future in flying]
    return [each for each in ended if each is not None]


def _run(options: Options, result: EvolveResult) -> Run:
    winner = result.winner
    return Run(
        strategy=options.strategy,
        seed=options.seed,
        winner=winner.name if winner else "",
        program=winner.program if winner else "",
        train=winner.train if winner else math.nan,
        validation=winner.validation if winner else math.nan,
        gain=result.search_added,
        evaluations=sum(n for what, n in result.counts.items() if what not in FREE),
        stopped=result.stopped,
    )
