"""Which strategy of search is worth its name on a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..shadow.opening import opened
from .places import LEDGER, RUNS, TRACES, acting

if TYPE_CHECKING:
    from ..shadow.isolation.compiled import CompiledOptions
    from ..shadow.search.driver import Options
    from ..shadow.search.results.compare import Standing
    from ..shadow.search.results.comparison import Comparison

STRATEGIES = ("evolve", "map_elites", "bandit", "pareto", "independent", "seeds")


def compare(
    traces: str | Path = TRACES,
    out: str | Path | None = None,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    strategies: Iterable[str] = STRATEGIES,
    seeds: Iterable[int] = range(5),
    options: Options | None = None,
    engine: CompiledOptions | None = None,
    at_once: int = 1,
    ledger: str | Path = LEDGER,
    progress: Callable[[Standing], None] = lambda _standing: None,
    stop: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Search with several strategies under one budget and the same seeds; return them beside each other.

    Args:
        traces, hook, incumbent, invariants: as for :func:`opened`; a policy in production in the policy language
            is one of the seeds.
        out: folder that gets one folder per search, and ``comparison.json``; ``.gnomon/runs/HOOK.compare``
            when None.
        strategies: names, control arms among them.
        seeds: of the searches; with fewer than five nothing is claimed.
        options: of every search, but for strategy and seed; ``resume`` goes on with what ``out`` holds.
        engine: workers and isolation of the evaluations, and the seed of all replays; the searches share
            them, so that a program is replayed once.
        at_once: searches at a time; the result is the same.
        ledger: as for :func:`evolve`.
        progress: called after every evaluation, and when a search ends.
        stop: once it says yes, all searches end as interrupted.

    Raises:
        ConfigurationError: nothing to compare, an unknown strategy, or a folder that holds another run.
        TraceError, LanguageError: as :func:`opened`.
        IsolationError, SearchError, TrustError: as :func:`evolve`.
    """
    from ..shadow.isolation.compiled import CompiledOptions
    from ..shadow.policy import ScorePolicy
    from ..shadow.program_policy import ProgramPolicy
    from ..shadow.search.driver import Options
    from ..shadow.search.results.compare import Plan
    from ..shadow.search.results.compare import compare as compared
    from ..shadow.search.wiring import arena_for

    trace, target = opened(traces, hook, incumbent, invariants)
    chosen, base = options or Options(), target.incumbent
    if isinstance(base, ScorePolicy | ProgramPolicy):
        chosen = replace(chosen, incumbent=base.source)
    plan = Plan(tuple(strategies), tuple(seeds), chosen, at_once)
    runs = engine or CompiledOptions(workers=chosen.parallel)
    folder = Path(out) if out is not None else RUNS / f"{trace.hook}.compare"
    return compared(
        arena_for(target, trace, runs),
        plan,
        folder,
        ledger=Path(ledger),
        actor=acting(),
        progress=progress,
        stop=stop,
    )
