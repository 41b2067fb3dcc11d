"""``gnomon evolve``: search for a better policy on a recorded trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api import LEDGER
from . import _models, _problem, _search, _trace
from ._common import Exit, emit, handled, shown
from ._progress import stopping, watched
from ._search import one_of, require_limits

if TYPE_CHECKING:
    from ..shadow.problems.result import ProblemResult
    from ..shadow.search.driver import Options
    from ..shadow.search.results.result import EvolveResult

    Searched = EvolveResult | ProblemResult

_ISOLATION = ("strict", "process")


def register(app: typer.Typer) -> None:
    """Add ``evolve`` to the command line."""
    app.command("evolve")(handled(evolve))


def evolve(
    traces: _trace.Traces = _trace.DEFAULT_TRACES,
    hook: _trace.HookName = None,
    incumbent: _trace.Incumbent = None,
    invariants: _trace.Invariants = None,
    problem: _problem.Folder = None,
    repeats: _problem.Repeats = 1,
    env: _problem.Variables = None,
    budget: Annotated[int, typer.Option(help="Most programs evaluated.")] = 300,
    seconds: Annotated[float, typer.Option(help="Most seconds, finalists included.")] = math.inf,
    seed: _trace.Seed = 0,
    strategy: _search.Strategy = "evolve",
    start: _search.Start = "library",
    parallel: Annotated[int, typer.Option(help="Evaluations at once; same result.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; .gnomon/runs/HOOK.")] = None,
    racing: _search.Racing = True,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    wait: _search.Wait = False,
    model: _models.Models = None,
    max_cost: _models.MaxCost = math.inf,
    temperature: _models.Temperature = None,
    api_base: _models.ApiBase = None,
    price: _models.PriceOf = None,
    key_env: _models.KeyEnv = None,
    model_timeout: _models.ModelTimeout = None,
    max_tokens: _models.MaxTokens = None,
    model_share: _models.ModelShare = None,
    model_cache: _models.ModelCache = None,
    prompts: _models.Templates = None,
    isolation: _trace.Isolation = "strict",
    ledger: Annotated[Path, typer.Option(help="Ledger that knows of quarantines.")] = LEDGER,
    progress: _search.Progress = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Search for a better policy; the winner is then for `gnomon verify` to judge.

    With --problem: search a folder in OpenEvolve's form; its best program is for nobody but you to judge.

    Exit codes: 0 a winner, 1 nothing beats the incumbent, 2 bad input, 3 interrupted by SIGINT or
    SIGTERM: what is under way is finished and kept, --resume goes on; the second signal ends at once.
    """
    require_limits(budget, seconds, parallel)
    models = _models.Given(
        *(model, max_cost, temperature, api_base, price, key_env),
        *(model_timeout, max_tokens, model_share, model_cache, prompts),
    ).options()
    options = _search.Given(
        *(budget, seconds, max_cost, seed, strategy, start, parallel, racing, resume, wait)
    ).options()
    if models is not None:
        _models.tell_estimate(models, max_cost, round(budget * models.share))
    search: Callable[..., Searched]
    if problem is not None:
        _problem.require_alone(traces, hook, incumbent, invariants, start, isolation)
        search = partial(_problem.search, problem, out, repeats=repeats, variables=env)
    else:
        found = (traces, out, hook, incumbent, invariants)
        search = partial(_on_trace, *found, isolation=isolation, ledger=ledger)
    with stopping() as stop, watched(progress) as report:
        how: dict[str, Any] = {"models": models, "prompts": prompts}
        result = search(options=options, progress=report, stop=stop, **how)
    emit(result.as_json(), as_json, shown(result))
    raise typer.Exit(int(_exit(result)))


def _on_trace(
    traces: str,
    out: Path | None,
    hook: str | None,
    incumbent: str | None,
    invariants: Path | None,
    *,
    isolation: str,
    ledger: Path,
    options: Options,
    **how: Any,
) -> EvolveResult:
    """Search on a recorded trace."""
    from .. import api
    from ..shadow.isolation.compiled import CompiledOptions

    engine = CompiledOptions(
        seed=options.seed,
        workers=options.parallel,
        isolation=one_of("isolation", isolation, _ISOLATION),
    )
    named: dict[str, Any] = {"hook": hook, "incumbent": incumbent, "invariants": invariants}
    return api.evolve(traces, out, **named, options=options, engine=engine, ledger=ledger, **how)


def _exit(result: Searched) -> Exit:
    if result.stopped == "interrupted":
        return Exit.INCONCLUSIVE
    return Exit.OK if result.improved else Exit.NEGATIVE
