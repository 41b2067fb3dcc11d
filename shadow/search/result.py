"""What a search found, and what kind of failure it showed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..report.shown import Code, Part, Shown, Table, plain
from .records import Outcome, Record

#: Scores within this fraction count as equal, and the shorter program wins.
EQUAL = 0.005
_EARLY = 0.25
_ENOUGH = 40


@dataclass(frozen=True, slots=True)
class Finalist:
    """A program that was scored again on validation.

    Attributes:
        name: of the published policy, ``incumbent``, or ``evolved``.
        program: id of the source.
        source: of the policy.
        operator: that made it; ``published`` when it was not proposed in this run.
        nodes: size of the syntax tree.
        train, validation: scores, lower is better; NaN where there is none.
    """

    name: str
    program: str
    source: str
    operator: str
    nodes: int
    train: float
    validation: float

    @property
    def sound(self) -> bool:
        """Whether it has a score on both windows."""
        return math.isfinite(self.train) and math.isfinite(self.validation)


@dataclass(frozen=True, slots=True, repr=False)
class EvolveResult(Shown):
    """The end of a search.

    Attributes:
        winner: the finalist to verify; None when no program could be scored.
        baseline: best published policy on validation, or None.
        incumbent: scores of the policy in production, or None when they are not known.
        finalists: all of them, best on validation first.
        search_added: relative gain of the winner over ``baseline`` on validation; 0 when the winner
            is a published policy, NaN without a baseline.
        origin: ``evolved``, ``incumbent`` or ``published baseline NAME, search added 0 %``.
        stopped: why it ended: ``evaluations``, ``proposals``, ``exhausted``, ``time`` or
            ``interrupted``.
        counts: proposals by outcome.
        best_by_step: (step, train score) whenever the best on train improved.
        lineage: (program, operator) from the winner back to a seed.
        diagnosis: what went wrong, one sentence each; empty when nothing did, or when the run was
            interrupted.
        log_hash: of the log; the same for the same configuration and results.
        seconds: wall time.
        layers: of isolation that every evaluation ran under.
        replays_saved: by evaluations that stopped because the rest could not have mattered.
        folder: that holds ``log.jsonl``, ``result.json`` and, when there is a winner, ``best.py``.
    """

    winner: Finalist | None
    baseline: Finalist | None
    incumbent: Finalist | None
    finalists: tuple[Finalist, ...]
    search_added: float
    origin: str
    stopped: str
    counts: Mapping[str, int]
    best_by_step: tuple[tuple[int, float], ...]
    lineage: tuple[tuple[str, str], ...]
    diagnosis: tuple[str, ...]
    log_hash: str
    seconds: float
    layers: tuple[str, ...] = ()
    replays_saved: int = 0
    folder: Path | None = None

    @property
    def improved(self) -> bool:
        """Whether the winner is better than the policy in production, where that one has a score."""
        return not _nothing_won(self.winner, self.incumbent)

    def to_json(self) -> dict[str, Any]:
        """Return the values of ``result.json``; a number that is missing is null."""
        values: dict[str, Any] = plain(asdict(self))
        del values["folder"]
        return values

    def as_json(self) -> dict[str, Any]:
        """Return the whole result as JSON values, with its folder."""
        return self.to_json() | {"folder": plain(self.folder)}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: scores, what was proposed, what went wrong, and the winner."""
        counts = ", ".join(f"{n} {outcome}" for outcome, n in self.counts.items())
        told = f"proposals: {counts}; replays left out: {self.replays_saved}"
        return (
            _scores(self),
            f"{told}; stopped: {self.stopped}; log {self.log_hash[:16]}",
            f"isolation: {', '.join(self.layers) or 'none'}",
            *(f"- {sentence}" for sentence in self.diagnosis),
            *_ending(self),
        )


def _scores(result: EvolveResult) -> Table:
    published = result.baseline.name if result.baseline else "none"
    evolved = next((each for each in result.finalists if each.name == "evolved"), None)
    rows = [("incumbent", result.incumbent), (f"best published: {published}", result.baseline)]
    if result.winner is not None and result.winner.name == "evolved":
        rows.append(("evolved (winner)", result.winner))
    else:
        rows.append(("best evolved", evolved))
    return Table(
        ("policy", "train", "validation", "nodes"),
        tuple((name, *_cells(finalist)) for name, finalist in rows if finalist is not None),
        "Mean outcome, lower is better",
    )


def _cells(of: Finalist) -> tuple[str, str, str]:
    train, validation = (
        f"{score:.6g}" if math.isfinite(score) else "-" for score in (of.train, of.validation)
    )
    return train, validation, str(of.nodes) if of.nodes else "-"


def _ending(result: EvolveResult) -> tuple[Part, ...]:
    if result.stopped == "interrupted":
        how = "the same options and --resume (from Python, resume=True)"
        return (f"Interrupted. Continue with {how}; see {result.folder}",)
    if result.winner is None:
        return ()
    added = f", search added {result.search_added:.1%}" if result.origin == "evolved" else ""
    place = f"; written to {result.folder / 'best.py'}" if result.folder else ""
    return (f"winner: {result.origin}{added}{place}", Code(result.winner.source))


def winner_of(finalists: Sequence[Finalist]) -> Finalist | None:
    """Return the shortest of the programs that are as good as the best on validation.

    Who failed on train or on validation takes no part: the one may show what the other is too short for. An
    evolved program takes part only if it beats every published one on train as well: the best of many on
    validation alone is often only lucky there.
    """
    whole = [f for f in finalists if f.sound]
    given = min((f.train for f in whole if f.name != "evolved"), default=math.inf)
    scored = [f for f in whole if f.name != "evolved" or f.train < given]
    if not scored:
        return None
    lowest = min(finalist.validation for finalist in scored)
    equal = [f for f in scored if f.validation <= lowest + EQUAL * abs(lowest)]
    return min(equal, key=lambda f: (f.nodes, f.name == "evolved", f.validation, f.program))


def gain(base: float, score: float) -> float:
    """Return by which fraction of ``base`` a score is lower; NaN when that means nothing."""
    return (base - score) / abs(base) if base and math.isfinite(base) else math.nan


def lineage(records: Sequence[Record], program: str) -> tuple[tuple[str, str], ...]:
    """Return (program, operator) from a program back to the seed it came from, by first parents."""
    made = {record.program: record for record in reversed(records)}
    line: list[tuple[str, str]] = []
    while program in made and all(program != known for known, _ in line):
        record = made[program]
        line.append((program, record.operator))
        program = record.parents[0] if record.parents else ""
    return tuple(line)


def improvements(records: Sequence[Record]) -> tuple[tuple[int, float], ...]:
    """Return (step, score) of every record that was better than all before it."""
    found: list[tuple[int, float]] = []
    for record in records:
        if record.outcome is Outcome.OK and (not found or record.score < found[-1][1]):
            found.append((record.step, record.score))
    return tuple(found)


def diagnosis(
    records: Sequence[Record],
    winner: Finalist | None,
    baseline: Finalist | None,
    incumbent: Finalist | None,
    finalists: Sequence[Finalist],
) -> tuple[str, ...]:
    """Return what kind of failure a run showed, one sentence each."""
    found = (
        _nothing_won(winner, incumbent) or _only_published(winner),
        _overfitted(baseline, finalists),
        _drifted(finalists),
        _converged_early(records),
        _wasted(records),
    )
    return tuple(sentence for sentence in found if sentence)


def _nothing_won(winner: Finalist | None, incumbent: Finalist | None) -> str:
    if winner is None:
        return "nothing won: no program could be scored on validation; keep the incumbent"
    if incumbent is not None and not gain(incumbent.validation, winner.validation) > EQUAL:
        return "nothing won: no program beats the incumbent on validation; keep the incumbent"
    return ""


def _only_published(winner: Finalist | None) -> str:
    if winner is None or winner.name in {"evolved", "incumbent"}:
        return ""
    return f"search added nothing over the published policy {winner.name}"


def _overfitted(baseline: Finalist | None, finalists: Sequence[Finalist]) -> str:
    evolved = [f for f in finalists if f.name == "evolved" and math.isfinite(f.train)]
    if baseline is None or not evolved:
        return ""
    best = min(evolved, key=lambda f: f.train)
    train, validation = gain(baseline.train, best.train), gain(baseline.validation, best.validation)
    if not train > 2 * EQUAL or validation >= train / 2 or math.isnan(baseline.validation):
        return ""
    there = "is without a score" if math.isnan(best.validation) else f"{validation:.1%}"
    return (
        f"overfitting: the best on train gains {train:.1%} over {baseline.name} there and "
        f"{there} on validation; record a longer trace"
    )


def _drifted(finalists: Sequence[Finalist]) -> str:
    published = [f for f in finalists if f.name != "evolved" and math.isfinite(f.validation)]
    known = [f for f in published if math.isfinite(f.train)]
    if len(known) < 2:
        return ""
    before, after = min(known, key=lambda f: f.train), min(known, key=lambda f: f.validation)
    lost = gain(after.validation, before.validation)
    if lost < -4 * EQUAL:
        return (
            f"drift: {before.name} is the best published policy on train and {after.name} on "
            f"validation, by {-lost:.1%}: the workload changed, or it was luck"
        )
    return ""


def _converged_early(records: Sequence[Record]) -> str:
    best = improvements(records)
    evaluated = [r for r in records if r.outcome not in {Outcome.INVALID, Outcome.DUPLICATE}]
    if not best or len(evaluated) < _ENOUGH or best[-1][0] > _EARLY * len(records):
        return ""
    return (
        f"early convergence: nothing better on train after step {best[-1][0]} of {len(records)}; "
        "another seed or a richer start may help, more budget will not"
    )


def _wasted(records: Sequence[Record]) -> str:
    refused = [record.outcome for record in records if record.outcome is not Outcome.OK]
    if not records or 2 * len(refused) <= len(records):
        return ""
    most = max(set(refused), key=lambda outcome: (refused.count(outcome), outcome))
    return f"{len(refused)} of {len(records)} proposals gave no score, most of them {most}"
