"""What a search of a problem folder found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..report.shown import Code, Part, Shown, Table, plain
from ..search.records import FREE, Outcome, Record
from ..search.results.account import Bill
from ..search.results.diagnosis import about_authors
from ..search.results.finalist import Finalist
from ..search.results.result import EvolveResult
from .folder import Problem
from .space import INITIAL

#: What an evaluator of this form cannot guarantee, whoever runs it.
WARNING = (
    "the program and its evaluator share a process: a program can forge its score, read what it is judged "
    "on, use the network, and read what you can read, keys in files and in other processes included. There are "
    "no invariants and there is no holdout, so what is found can be neither verified nor shipped: read "
    "best_program.py before you use it"
)
_NOISE = 1e-9
_FALLEN = 0.5


@dataclass(frozen=True, slots=True)
class Scored:
    """A program with its scores, as the evaluator counts: higher is better.

    Attributes:
        program: id of the source.
        source: all of it, marks included.
        score: that the search saw; NaN where there is none.
        again: of a second evaluation with other random numbers; NaN where there is none.
    """

    program: str
    source: str
    score: float
    again: float


@dataclass(frozen=True, slots=True, repr=False)
class ProblemResult(Shown):
    """The end of a search of a problem folder.

    Attributes:
        problem: name of the folder.
        best: the program with the best second score of those that beat the initial one in the search; the
            initial program when none does, None when nothing has a score.
        initial: the initial program.
        improved: whether ``best`` is not the initial program.
        metrics: of ``best``, as the search saw them.
        stopped: why it ended: ``evaluations``, ``proposals``, ``exhausted``, ``dollars``, ``time`` or
            ``interrupted``.
        counts: proposals by outcome.
        best_by_step: (step, score) whenever the best in the search improved.
        lineage: (program, operator) from ``best`` back to the initial program.
        bill: what models cost, and the tokens of their calls.
        diagnosis: what went wrong, one sentence each.
        warning: what such an evaluator cannot guarantee.
        ignored: names in ``config.yaml`` that nobody read.
        log_hash: of the log; the same for the same configuration, answers and evaluations.
        seconds: wall time.
        layers: of isolation that every evaluation ran under.
        folder: that holds ``log.jsonl``, ``result.json`` and ``best_program.py``.
    """

    problem: str
    best: Scored | None
    initial: Scored | None
    improved: bool
    metrics: Mapping[str, float]
    stopped: str
    counts: Mapping[str, int]
    best_by_step: tuple[tuple[int, float], ...]
    lineage: tuple[tuple[str, str], ...]
    bill: Bill
    diagnosis: tuple[str, ...]
    ignored: tuple[str, ...]
    log_hash: str
    seconds: float
    layers: tuple[str, ...]
    warning: str = WARNING
    folder: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values of ``result.json``; a number that is missing is null."""
        values: dict[str, Any] = plain(asdict(self))
        del values["folder"]
        return values

    def as_json(self) -> dict[str, Any]:
        """Return the whole result as JSON values, with its folder."""
        return self.to_json() | {"folder": plain(self.folder)}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: scores, metrics, what was proposed, what went wrong, and the best."""
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self.counts.items())
        return (
            _scores(self),
            *(_metrics(self) if self.metrics else ()),
            f"proposals: {counts}; stopped: {self.stopped}; log {self.log_hash[:16]}",
            *((f"spent: {self.bill.words()}",) if self.bill.any else ()),
            f"isolation: {', '.join(self.layers) or 'none'}",
            *(f"- {sentence}" for sentence in self.diagnosis),
            *_ending(self),
        )


def _scores(result: ProblemResult) -> Table:
    rows = [("initial program", result.initial)]
    if result.improved:
        rows.append(("best program", result.best))
    cells = tuple(
        (name, *(f"{v:.6g}" if math.isfinite(v) else "-" for v in (each.score, each.again)))
        for name, each in rows
        if each is not None
    )
    return Table(("program", "score", "again"), cells, f"{result.problem}: higher is better")


def _metrics(result: ProblemResult) -> tuple[Part, ...]:
    rows = tuple((name, f"{value:.6g}") for name, value in result.metrics.items())
    return (Table(("metric", "best program"), rows),)


def _ending(result: ProblemResult) -> tuple[Part, ...]:
    if result.stopped == "interrupted":
        how = "the same options and --resume (from Python, resume=True)"
        return (f"Interrupted. Continue with {how}; see {result.folder}",)
    if result.best is None or not result.improved:
        return ()
    place = f"; written to {result.folder / 'best_program.py'}" if result.folder else ""
    return (f"best program: {result.best.program}{place}", Code(result.best.source))


def result_of(
    found: EvolveResult, records: Sequence[Record], problem: Problem, short: str
) -> ProblemResult:
    """Return the result of a search of a problem folder.

    Args:
        found: what the search says; its scores are lower when better.
        records: of its log.
        problem: that was searched.
        short: a sentence on stages that the initial program did not reach, or an empty string.
    """
    winner = found.winner
    best = _scored(winner)
    initial = _scored(next((f for f in found.finalists if f.name == INITIAL), None))
    improved = winner is not None and winner.name == "evolved"
    record = next((r for r in records if winner is not None and r.program == winner.program), None)
    whole = found.stopped != "interrupted"
    return ProblemResult(
        problem=problem.name,
        best=best,
        initial=initial,
        improved=improved,
        metrics=dict(record.metrics) if record is not None else {},
        stopped=found.stopped,
        counts=found.counts,
        best_by_step=tuple((step, -score) for step, score in found.best_by_step),
        lineage=found.lineage,
        bill=found.bill,
        diagnosis=_diagnosis(found, records, improved, short) if whole else (),
        ignored=problem.settings.ignored,
        log_hash=found.log_hash,
        seconds=found.seconds,
        layers=found.layers,
    )


def _scored(of: Finalist | None) -> Scored | None:
    return None if of is None else Scored(of.program, of.source, -of.train, -of.validation)


def _diagnosis(
    found: EvolveResult, records: Sequence[Record], improved: bool, short: str
) -> tuple[str, ...]:
    nothing = "nothing won: no program scores higher than initial_program.py; keep it"
    sentences = (
        "" if improved else nothing,
        _noisy(found.finalists),
        _fallen(found.finalists),
        _wasted(records),
        *about_authors(records),
        short,
    )
    return tuple(sentence for sentence in sentences if sentence)


def _noisy(finalists: Sequence[Finalist]) -> str:
    """Return by how much two evaluations of one program differ, where they do."""
    sound = [f for f in finalists if f.sound]
    apart = [f for f in sound if abs(f.train - f.validation) > _NOISE * abs(f.train)]
    if not apart:
        return ""
    most = max(abs(f.train - f.validation) for f in apart)
    return (
        f"the evaluator draws or measures: two evaluations of one program differ by up to {most:.3g}; "
        "smaller gains mean nothing, --repeats evaluates each program several times"
    )


def _fallen(finalists: Sequence[Finalist]) -> str:
    """Return how the best of the search did when it was evaluated again, where that was much worse."""
    initial = next((f for f in finalists if f.name == INITIAL and f.sound), None)
    evolved = [f for f in finalists if f.name == "evolved" and math.isfinite(f.train)]
    if initial is None or not evolved:
        return ""
    best = min(evolved, key=lambda f: f.train)
    gained, again = initial.train - best.train, initial.validation - best.validation
    if gained <= 0 or again >= _FALLEN * gained:
        return ""
    there = "has no score" if math.isnan(again) else f"gains {again:.3g}"
    return f"luck: the best in the search gains {gained:.3g} there and {there} when evaluated again"


def _wasted(records: Sequence[Record]) -> str:
    lost = [r.outcome for r in records if r.outcome not in FREE and r.outcome is not Outcome.OK]
    tried = [r for r in records if r.outcome not in FREE]
    if 2 * len(lost) <= len(tried):
        return ""
    most = max(set(lost), key=lambda outcome: (lost.count(outcome), outcome))
    return f"{len(lost)} of {len(tried)} evaluated programs have no score, most of them {most}"
