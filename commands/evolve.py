"""``gnomon evolve``: search for a better policy on a recorded trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api import LEDGER
from . import _complete, _models, _problem, _trace
from ._common import Exit, emit, handled, shown
from ._progress import WAYS, stopping, watched
from ._search import STARTS, STRATEGIES, one_of, require_limits

if TYPE_CHECKING:
    from ..shadow.search.results.result import EvolveResult

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
    strategy: Annotated[
        str,
        typer.Option(
            help="evolve, map_elites, bandit or pareto; controls: independent, seeds, random, published.",
            autocompletion=_complete.words(*STRATEGIES),
        ),
    ] = "evolve",
    start: Annotated[
        str,
        typer.Option(
            help="library (published policies), incumbent or weak.",
            autocompletion=_complete.words(*STARTS),
        ),
    ] = "library",
    parallel: Annotated[int, typer.Option(help="Evaluations at once; same result.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; .gnomon/runs/HOOK.")] = None,
    racing: Annotated[
        bool, typer.Option(help="Stop an evaluation once its program cannot matter.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With nothing left to do, wait for gnomon tell.")
    ] = False,
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
    progress: Annotated[
        str,
        typer.Option(
            help="auto (a live view on a terminal, else lines), lines, json or none.",
            autocompletion=_complete.words(*WAYS),
        ),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Search for a better policy; the winner is then for `gnomon verify` to judge.

    With --problem: search a folder in OpenEvolve's form; its best program is for nobody but you to judge.

    Exit codes: 0 a winner, 1 nothing beats the incumbent, 2 bad input, 3 interrupted by SIGINT or
    SIGTERM: what is under way is finished and kept, --resume goes on; the second signal ends at once.
    """
    from .. import api
    from ..shadow.isolation.compiled import CompiledOptions
    from ..shadow.search.driver import Options
    from ..shadow.search.records import Budget

    require_limits(budget, seconds, parallel)
    models = _models.Given(
        *(model, max_cost, temperature, api_base, price, key_env),
        *(model_timeout, max_tokens, model_share, model_cache, prompts),
    ).options()
    options = Options(
        budget=Budget(budget, seconds=seconds, dollars=max_cost),
        seed=seed,
        strategy=one_of("strategy", strategy, STRATEGIES),
        start=one_of("start", start, STARTS),
        parallel=parallel,
        racing=racing,
        resume=resume,
        wait=wait,
    )
    if models is not None:
        _models.tell_estimate(models, max_cost, round(budget * models.share))
    writers: dict[str, Any] = {"models": models, "prompts": prompts}
    if problem is not None:
        _problem.require_alone(
            {
                "--traces": (traces, _trace.DEFAULT_TRACES),
                "--hook": (hook, None),
                "--incumbent": (incumbent, None),
                "--invariants": (invariants, None),
                "--start": (start, "library"),
                "--isolation": (isolation, "strict"),
            }
        )
        with stopping() as stop, watched(progress) as report:
            _problem.search(
                problem,
                out,
                options,
                report,
                stop,
                repeats=repeats,
                variables=env,
                as_json=as_json,
                writers=writers,
            )
    engine = CompiledOptions(
        seed=seed, workers=parallel, isolation=one_of("isolation", isolation, _ISOLATION)
    )
    with stopping() as stop, watched(progress) as report:
        result = api.evolve(
            traces,
            out,
            hook=hook,
            incumbent=incumbent,
            invariants=invariants,
            options=options,
            engine=engine,
            ledger=ledger,
            progress=report,
            stop=stop,
            **writers,
        )
    emit(result.as_json(), as_json, shown(result))
    raise typer.Exit(int(_exit(result)))


def _exit(result: EvolveResult) -> Exit:
    if result.stopped == "interrupted":
        return Exit.INCONCLUSIVE
    return Exit.OK if result.improved else Exit.NEGATIVE
