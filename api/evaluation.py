"""What other policies would have done, the search for a better one, and its gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..policies.found import FOUND, found_at
from ..sdk.errors import ConfigurationError
from ..shadow.opening import opened, rivals
from .places import LEDGER, REGRESSIONS, RUNS, TRACES, VERDICTS, acting, names_file, writable
from .writing import of_arena, of_problem, writing

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..shadow.evaluation import Engine
    from ..shadow.gates.case import VerifyOptions
    from ..shadow.gates.verdict import GateResult, Verdict
    from ..shadow.isolation.compiled import CompiledOptions
    from ..shadow.models.options import ModelOptions
    from ..shadow.offpolicy.table import OffPolicyOptions, OffPolicyTable
    from ..shadow.problems.engine import ProblemOptions
    from ..shadow.problems.result import ProblemResult
    from ..shadow.replay.compare import ReplayTable
    from ..shadow.search.authors.writers import Authors
    from ..shadow.search.driver import Options
    from ..shadow.search.progress import Report
    from ..shadow.search.results.result import EvolveResult


def replay(
    traces: str | Path | Sequence[str | Path] = TRACES,
    policies: Iterable[str] = (),
    *,
    hook: str | Sequence[str] | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    replicas: int = 20,
    seed: int = 0,
    isolation: str = "strict",
    sizes: Iterable[float] = (),
    slo: str | float | Iterable[str] = (),
    workers: int = 1,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[str], None] = lambda _line: None,
) -> ReplayTable:
    """Replay traces under their incumbents and other policies: fidelity first, then the comparison.

    Args:
        traces: as for :func:`opened`; several of one kind are compared one by one and over all.
        policies: files or ``found:NAME`` (run isolated), or ``baseline:NAME``; all baselines when empty.
        hook: as for :func:`opened`; one for all traces, one for each, or several of one store.
        incumbent, invariants: as for :func:`opened`, of every trace.
        replicas: replays per policy, at least 2.
        seed: of all draws.
        isolation: of the files: ``strict`` or ``process``.
        sizes: shares of what the workload touches (0.01 for 1 %) that a cache is brought to in turn.
        slo: limit of the objective, or ``METRIC=LIMIT``, one or several: how many decisions meet all.
        workers: processes that replay; the result is the same.
        out: folder that keeps what is finished, ``table.json`` and ``report.html``.
        resume: go on with what ``out`` holds.
        progress: is told what happens, a line at a time.

    Returns:
        The table of the first trace at the first size, with the others in ``further`` and what is said
        over all of them in ``overall``.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`, and for ``policies``.
        IsolationError: the isolation cannot be had.
    """
    from ..shadow.replay.compare import ReplayOptions, compare, planned

    options = ReplayOptions(
        replicas=replicas,
        seed=seed,
        isolation=isolation,
        sizes=tuple(sizes),
        slo=(str(slo),) if isinstance(slo, str | int | float) else tuple(map(str, slo)),
        invariants=Path(invariants) if invariants is not None else None,
        workers=workers,
        out=Path(out) if out is not None else None,
        resume=resume,
    )
    named = [traces] if isinstance(traces, str | Path) else traces
    hooks = [hook] if isinstance(hook, str) else hook or ()
    plan = planned([*map(str, named)], tuple(policies), hooks, incumbent, options)
    return compare(plan, progress)


def off_policy(
    traces: str | Path = TRACES,
    policies: Iterable[str] = (),
    *,
    hook: str | None = None,
    options: OffPolicyOptions | None = None,
) -> OffPolicyTable:
    """Estimate what policies would have got from recorded decisions alone, without a simulator.

    It takes decisions that were partly drawn (``explore=``); where a policy takes actions that had no chance
    to be recorded, the answer is ``no overlap`` and no number.

    Args:
        traces, hook: as for :func:`opened`.
        policies: files or ``found:NAME`` (run isolated), or ``baseline:NAME`` in score form; all such baselines when empty.
        options: largest weight, least effective sample, isolation and seed.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`, and for ``policies``.
        IsolationError: the isolation cannot be had.
    """
    from ..shadow.offpolicy.table import OffPolicyOptions
    from ..shadow.offpolicy.table import off_policy as estimated
    from ..shadow.opening import asked, sources_named

    found = asked(traces, hook)
    sources = sources_named(tuple(policies), found.kind)
    return estimated(found.trace, found.kind, sources, options or OffPolicyOptions())


def evolve(
    traces: str | Path = TRACES,
    out: str | Path | None = None,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    options: Options | None = None,
    engine: CompiledOptions | Executor | Engine | None = None,
    ledger: str | Path = LEDGER,
    progress: Report = lambda _glance: None,
    authors: Authors | None = None,
    models: ModelOptions | None = None,
    prompts: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> EvolveResult:
    """Search for a better policy on a trace; return what was found, with the folder of the run.

    Args:
        traces, hook, incumbent, invariants: as for :func:`opened`.
        out: folder of the run; ``.gnomon/runs/HOOK`` when None.
        options: budget, seed and strategy.
        engine: workers and isolation of the evaluations; None takes seed and workers from
            ``options``. The hook's own invariants are added to its. An executor as of
            ``concurrent.futures`` evaluates on its own workers, which must be able to read ``traces``; any
            other engine is taken as it is, and stays open.
        ledger: says which evaluators are in quarantine, and takes it when this one is caught.
        authors: who proposes besides those who tell it (:func:`tell`); None for the keyless proposers.
        models: language models that take some of the turns; None for none.
        prompts: folder of templates that take the place of the shipped ones, for models.
        progress: called after every evaluation, and about four times a second while one is awaited.
        stop: once it says yes, what is under way is finished and kept, and the run ends as interrupted.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`; or the folder holds
            another run.
        IsolationError: the isolation cannot be had.
        SearchError: the evaluator does not work.
        TrustError: the evaluator is in quarantine, or was put there by this search.
    """
    from concurrent.futures import Executor

    from ..shadow.isolation.compiled import CompiledOptions
    from ..shadow.policy import ScorePolicy
    from ..shadow.program_policy import ProgramPolicy
    from ..shadow.search.driver import Options
    from ..shadow.search.evaluating.executor import ExecutorEngine
    from ..shadow.search.wiring import arena_for, recipe, search

    trace, target = opened(traces, hook, incumbent, invariants)
    folder = Path(out) if out is not None else RUNS / trace.hook
    chosen, base = options or Options(), target.incumbent
    usual = CompiledOptions(seed=chosen.seed, workers=chosen.parallel)
    arena = arena_for(target, trace, engine if isinstance(engine, CompiledOptions) else usual)
    running = None if engine is None or isinstance(engine, CompiledOptions) else engine
    if isinstance(running, Executor):
        named = recipe(_anywhere(traces), hook, _anywhere(incumbent), _anywhere(invariants), usual)
        running = ExecutorEngine(running, named, arena.subject())
    written = isinstance(base, ScorePolicy | ProgramPolicy)
    measured = None if written else base
    if isinstance(base, ScorePolicy | ProgramPolicy):
        chosen = replace(chosen, incumbent=base.source)
    heard, about = _heard(authors, folder), of_arena(arena, target, folder)
    with writing(models, prompts, about, heard, chosen.budget.dollars) as everybody:
        found = search(
            arena,
            chosen,
            folder,
            incumbent=measured,
            progress=progress,
            ledger=Path(ledger),
            actor=acting(),
            authors=everybody,
            stop=stop,
            engine=running,
        )
    return replace(found, folder=folder)


def evolve_problem(
    problem: str | Path,
    out: str | Path | None = None,
    *,
    options: Options | None = None,
    engine: ProblemOptions | None = None,
    progress: Report = lambda _glance: None,
    authors: Authors | None = None,
    models: ModelOptions | None = None,
    prompts: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> ProblemResult:
    """Search a problem folder in OpenEvolve's form; what is found can be neither verified nor shipped.

    Args:
        problem: folder with ``initial_program.py``, ``evaluator.py`` and, if there is one, ``config.yaml``.
        out: folder of the run; ``.gnomon/runs/NAME`` when None.
        options: budget, seed and strategy.
        engine: how programs are evaluated; None takes workers and seed from ``options``.
        progress, authors, models, prompts, stop: as for :func:`evolve`.

    Raises:
        ConfigurationError: the folder is no problem, or its evaluator does not work on its own program; or
            ``out`` holds another run.
        SearchError: the evaluator stopped working.
    """
    from ..shadow.problems.folder import Problem
    from ..shadow.problems.run import search
    from ..shadow.search.driver import Options

    found = Problem.read(problem)
    folder = Path(out) if out is not None else RUNS / found.name
    chosen, heard = options or Options(), _heard(authors, folder)
    with writing(models, prompts, of_problem(found), heard, chosen.budget.dollars) as everybody:
        return search(
            found,
            chosen,
            folder,
            engine=engine,
            progress=progress,
            authors=everybody,
            stop=stop,
        )


def _heard(authors: Authors | None, folder: Path) -> Authors:
    """Return authors of whom those are some who tell the run's folder something."""
    from ..shadow.search.authors.inbox import FolderInbox
    from ..shadow.search.authors.writers import Authors

    known = authors or Authors()
    return known if known.inbox is not None else replace(known, inbox=FolderInbox(folder))


def _anywhere(place: str | Path | None) -> Any:
    """Return a path as a worker with another current folder finds it; what is none as it is."""
    return str(Path(place).resolve()) if place is not None and Path(place).exists() else place


def verify(
    policy: str | Path,
    traces: str | Path = TRACES,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    against: Mapping[str, str] | Sequence[str | Path] = (),
    ledger: str | Path = LEDGER,
    out: str | Path | None = None,
    options: VerifyOptions | None = None,
    regressions: str | Path | None = REGRESSIONS,
    progress: Callable[[GateResult], None] | None = None,
) -> Verdict:
    """Put a candidate through the gates; return the verdict, with the file it was written to.

    Args:
        policy: a file, as for :func:`replay` and :func:`ship`: a ``Path``, or a text of one line that
            ends in ``.py`` or names a file; or ``found:NAME``; any other text is the candidate's source.
        traces, hook, incumbent, invariants: as for :func:`opened`.
        against: further policies to predict the effect against: files, as for :func:`rivals`, or
            sources by the name that the prediction shall have.
        ledger: takes the verdict, and counts openings of the holdout.
        out: verdict file; ``.gnomon/verdicts/DIGEST.json`` when None.
        options: isolation, seed and limits, and who asks; see :func:`acting` when it names nobody.
        regressions: folder of decisions that earlier candidates got wrong, which are asked first, and to
            which what is found now is added; None asks and keeps none.
        progress: called with every gate's answer.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`, and for ``against``; what
            is wrong with the candidate is a verdict. ConfigurationError: its file cannot be read.
        IsolationError: the isolation cannot be had.
        TrustError: the ledger does not hold.
    """
    from ..policies.rollout.ledger import Ledger
    from ..recorder.store import TraceStore
    from ..shadow.gates.case import VerifyOptions
    from ..shadow.gates.regressions import Regressions
    from ..shadow.gates.verify import verify as judge
    from ..shadow.policy import source_of
    from ..shadow.traces.files import is_saved

    found = str(policy).startswith(FOUND)  # of the kind that the trace says; all else is read first
    source = "" if found else source_of(Path(policy)) if names_file(policy) else _text(str(policy))
    trace, target = opened(traces, hook, incumbent, invariants)
    source = source_of(found_at(str(policy), target.kind)) if found else source
    others = against if isinstance(against, Mapping) else rivals(against, target)
    path = writable(Path(out)) if out else None
    chosen = options or VerifyOptions()
    with closing(Ledger(Path(ledger))) as book:
        verdict = judge(
            trace,
            source,
            target,
            ledger=book,
            against=others,
            options=replace(chosen, actor=chosen.actor or acting()),
            regressions=Regressions(regressions) if regressions is not None else None,
            progress=progress,
            store=TraceStore(traces) if not is_saved(str(traces)) else None,
        )
    return verdict.save(path or VERDICTS / f"{verdict.digest[:16]}.json")


def _text(source: str) -> str:
    """Return a source that has bytes, and so a digest."""
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"the policy's source is no Unicode text ({error.reason}); give it as printable ASCII"
        ) from error
    return source
