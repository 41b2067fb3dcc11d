"""From a trace to a finished search: the one place where search meets simulators and isolation."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...policies.rollout.ledger import Ledger
from ...sdk.errors import ConfigurationError, SearchError
from ...sdk.kind import Kind
from ..evaluation import Engine, Split
from ..gates.evaluator import Beyond, Evaluator, quarantine, require_trusted
from ..isolation.compiled import CompiledEngine, CompiledOptions
from ..isolation.programs import ProgramEngine
from ..policy import Policy
from ..simulators import simulator_for
from ..splits import segments, split
from ..traces.trace import Trace
from .authors.writers import Authors
from .driver import Options, evolve
from .evaluating.executor import Recipe
from .evaluating.pool import Bounds
from .progress import Report
from .results.result import EvolveResult

if TYPE_CHECKING:
    from ..gates.case import Target

#: Calibrations drawn from the fit's uncertainty; candidates are ranked by the worst.
DRAWS = 8


@dataclass(frozen=True)
class Arena:
    """What candidates are scored on: windows of one trace, and a simulator's calibrations.

    Attributes:
        kind: what is decided.
        trace: all of it; the holdout is never replayed here.
        windows: train and validation.
        draws: calibrations drawn from the fit to both; the holdout has no part in it.
        engine: how candidates run; its seed is that of every replay.
    """

    kind: Kind
    trace: Trace
    windows: dict[Split, Trace]
    draws: tuple[Any, ...]
    engine: CompiledOptions = field(default_factory=CompiledOptions)

    @classmethod
    def of(cls, kind: Kind, trace: Trace, engine: CompiledOptions | None = None) -> Arena:
        """Split a trace and calibrate; raises TraceError when it is too little for that."""
        chosen = engine or CompiledOptions()
        splits = split(trace)
        windows: dict[Split, Trace] = {"train": splits.train, "validation": splits.validation}
        known = trace.rows(slice(0, len(splits.train) + len(splits.validation)))
        draws = tuple(simulator_for(kind).draws(known, DRAWS, chosen.seed))
        return cls(kind, trace, windows, draws, chosen)

    def open(self) -> CompiledEngine | ProgramEngine:
        """Return an engine for the windows; raises IsolationError when it cannot be had."""
        if self.kind.form == "program":
            return ProgramEngine(self.kind, self.windows, self.draws, self.engine)
        return CompiledEngine(self.kind, self.windows, self.draws, self.engine)

    def score(self, incumbent: Policy, window: Split) -> float:
        """Return the score that an engine would give a policy in production: the worst of the means."""
        return self.measured(incumbent, window)[0]

    def measured(self, incumbent: Policy, window: Split) -> tuple[float, tuple[float, ...]]:
        """Return score and stretches that an engine would give a policy in production."""
        simulator, trace = simulator_for(self.kind), self.windows[window]
        seed = self.engine.seed
        replays = (
            incumbent.replay(simulator, trace, draw, seed + index)
            for index, draw in enumerate(self.draws)
        )
        worst = max(replays, key=lambda replay: replay.mean)
        return worst.mean, segments(worst, self.engine.segments)

    def scales(self) -> dict[str, float]:
        """Return the usual size of every input on train: the median of those that are not zero.

        A program's arguments have none.
        """
        if self.kind.form == "program":
            return {}
        features = simulator_for(self.kind).observed(self.windows["train"])
        sizes = np.abs(features.reshape(-1, features.shape[2]))
        return {
            name: float(f"{np.median(column[column > 0]):.3g}")
            for name, column in zip(self.kind.input_names, sizes.T, strict=True)
            if (column > 0).any()
        }

    def bound(self, window: Split) -> float:
        """Return a score on a window that no policy beats; ``-inf`` where none is proven.

        A score is the worst of the means under all calibrations, so the bound under any of them holds.
        """
        if not self.kind.has_bound:
            return -math.inf
        simulator, trace = simulator_for(self.kind), self.windows[window]
        found = float(simulator.bound(trace, self.draws[0], self.engine.seed))
        return found if math.isfinite(found) else -math.inf

    @property
    def evaluator(self) -> Evaluator:
        """What scores here."""
        return Evaluator.of(self.trace.hook, self.kind, simulator_for(self.kind))

    def subject(self) -> dict[str, str]:
        """Return what a search here is about, for its log."""
        calibrations = ",".join(draw.digest[:16] for draw in self.draws)
        return {"hook": self.trace.hook, "trace": self.trace.digest, "calibrations": calibrations}


def arena_for(target: Target, trace: Trace, runs: CompiledOptions) -> Arena:
    """Return where candidates for a target are scored; the hook's own invariants are added to the options'."""
    own = tuple(each for each in target.invariants if each not in target.kind.invariants)
    return Arena.of(target.kind, trace, replace(runs, invariants=(*runs.invariants, *own)))


def recipe(
    traces: str,
    hook: str | None,
    incumbent: str | None,
    invariants: str | None,
    runs: CompiledOptions,
) -> Recipe:
    """Return how a worker elsewhere makes an engine for the same search; the first four as for ``opened``.

    Raises:
        ConfigurationError: the options hold invariants of their own, which are code and cannot travel.
    """
    if runs.invariants:
        raise ConfigurationError(
            "invariants given to an engine cannot travel to an executor's workers; declare them at the hook, or "
            "confirm them in a file"
        )
    # a worker evaluates one program at a time: how many there are is the executor's matter
    values = asdict(replace(runs, workers=1))
    named = {"traces": traces, "hook": hook, "incumbent": incumbent, "invariants": invariants}
    return Recipe(f"{__name__}:made_of", named | {"runs": values})


def made_of(settings: Mapping[str, Any]) -> tuple[Engine, dict[str, str]]:
    """Return, in a worker, the engine that a recipe describes, and what it is about."""
    from ..opening import opened

    said = dict(settings)
    values: dict[str, Any] = dict(said.pop("runs"))
    for name in ("invariants", "modules", "paths"):
        values[name] = tuple(values[name])
    runs = CompiledOptions(**values)
    trace, target = opened(**said)
    arena = arena_for(target, trace, runs)
    return arena.open(), arena.subject()


def write(result: EvolveResult, out: Path) -> None:
    """Write ``result.json``, ``report.html`` and, if there is a winner, ``best.py``; each whole or not at all."""
    keep(out / "result.json", json.dumps(result.to_json(), indent=2, sort_keys=True) + "\n")
    if result.winner is not None:
        keep(out / "best.py", result.winner.source)
    from ..report.searches import write_report  # plots are slow to import
    from .results.runs import load

    write_report(load(out), result)


def keep(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def search(
    arena: Arena,
    options: Options,
    out: Path,
    *,
    incumbent: Policy | None = None,
    progress: Report = lambda _: None,
    ledger: Path | None = None,
    actor: str = "evolve",
    authors: Authors | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: Engine | None = None,
    written: Callable[[EvolveResult, Path], None] = write,
) -> EvolveResult:
    """Search on a trace and leave ``log.jsonl``, ``result.json``, ``report.html`` and ``best.py``.

    Args:
        arena: what to score on.
        options: how to search; scales and subject are filled in from the arena.
        out: folder of the run.
        incumbent: the policy in production, for the comparison.
        progress, stop: as for :func:`.driver.evolve`.
        ledger: file that says which evaluators are in quarantine, if it is there, and takes it when this one
            gives a score beyond a proven bound; None looks at none.
        actor: who searches, for the ledger.
        authors: who proposes; None for the keyless proposers alone.
        engine: evaluates on the arena's windows and stays open; None opens the arena's own.
        written: leaves all files but the log.

    Raises:
        IsolationError: the isolation cannot be had.
        TrustError: the evaluator is in quarantine, or was put there by this search: nothing it says counts.
        ConfigurationError, SearchError, TraceError: as :func:`.driver.evolve`.
    """
    _require_trusted(arena, ledger)
    measured: tuple[float, float] | None = None
    stretches: tuple[float, ...] = ()
    if incumbent is not None:
        validation, stretches = arena.measured(incumbent, "validation")
        measured = (arena.score(incumbent, "train"), validation)
    options = replace(
        options,
        incumbent_scores=measured,
        incumbent_segments=stretches,
        scales=arena.scales(),
        subject=arena.subject(),
    )

    def caught(source: str, window: Split, score: float, limit: float) -> None:
        where = (arena.trace.digest, arena.windows[window].digest, arena.kind.objective.unit)
        if ledger is not None:
            _quarantine(arena, ledger, actor, Beyond(score, limit, source, *where))

    bounds = Bounds(arena.bound, caught)
    with arena.open() if engine is None else nullcontext(engine) as running:
        try:
            result = evolve(
                arena.kind,
                running,
                options,
                out,
                progress=progress,
                bounds=bounds,
                authors=authors,
                stop=stop,
            )
        except SearchError:  # the quarantine says more than that the evaluator failed
            _require_trusted(arena, ledger)
            raise
    _require_trusted(arena, ledger)
    written(result, out)
    return result


def _require_trusted(arena: Arena, path: Path | None) -> None:
    if path is not None and path.is_file():
        with closing(Ledger(path)) as ledger:
            require_trusted(ledger, arena.evaluator.digest, "this search")


def _quarantine(arena: Arena, path: Path, actor: str, at: Beyond) -> None:
    with closing(Ledger(path)) as ledger:
        quarantine(ledger, arena.evaluator, at, actor)
