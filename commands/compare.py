"""``gnomon compare``: several strategies on one trace, under one budget and the same seeds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import LEDGER
from ..sdk.errors import ConfigurationError
from . import _complete, _trace
from ._common import Exit, emit, handled, shown
from ._progress import stopping
from ._search import STARTS, STRATEGIES, Start, one_of, require_limits

if TYPE_CHECKING:
    from ..shadow.search.results.compare import Standing

_USUAL = "evolve,map_elites,bandit,pareto,independent,seeds"


_Strategies = Annotated[
    str,
    typer.Option(
        help="Names with commas between them; as for `gnomon evolve --strategy`.",
        autocompletion=_complete.words(*STRATEGIES),
    ),
]
_Seeds = Annotated[int, typer.Option(help="Searches per strategy; 5 for an answer.")]
_Budget = Annotated[int, typer.Option(help="Most programs evaluated, per search.")]
_Seed = Annotated[int, typer.Option(help="The first one, and that of all replays.")]
_Parallel = Annotated[int, typer.Option(help="Evaluations at once; same result.")]
_AtOnce = Annotated[int, typer.Option(help="Searches at once; same result.")]
_Out = Annotated[Path | None, typer.Option(help="Folder; .gnomon/runs/HOOK.compare.")]
_Resume = Annotated[bool, typer.Option("--resume", help="Continue what --out holds.")]
_Ledger = Annotated[Path, typer.Option(help="Ledger that knows of quarantines.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add ``compare`` to the command line."""
    app.command("compare")(handled(compare))


def compare(
    traces: _trace.Traces = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    incumbent: _trace.Incumbent = None,
    invariants: _trace.Invariants = None,
    strategies: _Strategies = _USUAL,
    seeds: _Seeds = 5,
    budget: _Budget = 100,
    seed: _Seed = 0,
    start: Start = "library",
    parallel: _Parallel = 2,
    at_once: _AtOnce = 2,
    out: _Out = None,
    resume: _Resume = False,
    isolation: _trace.Isolation = "strict",
    ledger: _Ledger = LEDGER,
    as_json: _Json = False,
) -> None:
    """Compare strategies of search on a recorded trace, by what they find for one budget.

    Exit codes: 0 a strategy is better than the control arms, 1 none is, or there are too few seeds to tell,
    2 bad input, 3 interrupted by SIGINT or SIGTERM: --resume goes on.
    """
    from .. import api
    from ..shadow.isolation.compiled import CompiledOptions
    from ..shadow.search.driver import Options
    from ..shadow.search.records import Budget

    require_limits(budget, float("inf"), parallel)
    for name, count in (("seeds", seeds), ("at-once", at_once)):
        if count < 1:
            raise ConfigurationError(f"--{name} {count}: choose a number from 1 on")
    options = Options(
        budget=Budget(budget),
        start=one_of("start", start, STARTS),
        parallel=parallel,
        resume=resume,
    )
    engine = CompiledOptions(
        seed=seed, workers=parallel, isolation=one_of("isolation", isolation, ("strict", "process"))
    )
    with stopping() as stop:
        result = api.compare(
            traces,
            out,
            hook=hook,
            incumbent=incumbent,
            invariants=invariants,
            strategies=[name.strip() for name in strategies.split(",") if name.strip()],
            seeds=range(seed, seed + seeds),
            options=options,
            engine=engine,
            at_once=at_once,
            ledger=ledger,
            progress=_lines(),
            stop=stop,
        )
    emit(result.as_json(), as_json, shown(result))
    ended = Exit.OK if result.better else Exit.NEGATIVE
    raise typer.Exit(int(Exit.INCONCLUSIVE if result.stopped == "interrupted" else ended))


def _lines() -> Callable[[Standing], None]:
    """Return what prints a line on standard error when a search ends."""

    def told(standing: Standing) -> None:
        if standing.glance is None:
            line = f"{standing.done}/{standing.total} {standing.strategy}, seed {standing.seed}"
            print(line, file=sys.stderr, flush=True)

    return told
