"""What a search found, what it added over the best published policy, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...report.shown import Code, Part, Shown, Table, percent, plain
from ..evaluating.racing import replays_saved
from ..records import KEYLESS, Record
from .account import (
    Bill,
    Yield,
    bill,
    by_author,
    by_operator,
    counts,
    improvements,
    lineage,
)
from .diagnosis import Evidence, diagnosis, nothing_won
from .finalist import Finalist, best_published, in_order, taking_part, winner_of
from .gains import EQUAL, gain, gain_interval

Interval = tuple[float, float]
_ROUNDING = 1e-9
#: Rows of the table of operators that are shown.
_ROWS = 8


@dataclass(frozen=True, slots=True, repr=False)
class EvolveResult(Shown):
    """The end of a search.

    Attributes:
        winner: the finalist to verify; None when no program could be scored, or not all of them yet.
        baseline: best published policy on validation, or None.
        incumbent: scores of the policy in production, or None when they are not known.
        finalists: all of them, best on validation first.
        search_added: relative gain of the winner over ``baseline`` on validation; 0 when the winner
            is a published policy, NaN without a baseline.
        added_interval: 95 % limits of that gain, which allow for the choice among the evolved finalists;
            None where the window has too few stretches, or the winner is a published policy.
        over_incumbent: relative gain of the winner over the policy in production, or NaN.
        over_interval: 95 % limits of that gain, or None.
        origin: ``evolved``, ``incumbent`` or ``published baseline NAME, search added 0 %``.
        stopped: why it ended: ``evaluations``, ``proposals``, ``dollars``, ``exhausted``, ``time`` or
            ``interrupted``; ``running`` where it has not.
        counts: proposals by outcome.
        best_by_step: (step, train score) whenever the best on train improved.
        lineage: (program, operator) from the winner back to a seed.
        operators, authors: what the proposals of each came to, those that improved most often first.
        bill: dollars and tokens.
        diagnosis: what went wrong, one sentence each; empty when nothing did, or when the run was
            interrupted.
        log_hash: of the log; the same for the same configuration and results.
        seconds: wall time; NaN where it is not known.
        layers: of isolation that every evaluation ran under.
        replays_saved: by evaluations that stopped because the rest could not have mattered.
        folder: that holds ``log.jsonl``, ``result.json``, ``report.html`` and, when there is a winner,
            ``best.py``.
    """

    winner: Finalist | None
    baseline: Finalist | None
    incumbent: Finalist | None
    finalists: tuple[Finalist, ...]
    search_added: float
    added_interval: Interval | None
    over_incumbent: float
    over_interval: Interval | None
    origin: str
    stopped: str
    counts: Mapping[str, int]
    best_by_step: tuple[tuple[int, float], ...]
    lineage: tuple[tuple[str, str], ...]
    operators: tuple[Yield, ...]
    authors: tuple[Yield, ...]
    bill: Bill
    diagnosis: tuple[str, ...]
    log_hash: str
    seconds: float
    layers: tuple[str, ...] = ()
    replays_saved: int = 0
    folder: Path | None = None

    @property
    def improved(self) -> bool:
        """Whether the winner is better than the policy in production, where that one has a score."""
        return not nothing_won(self.winner, self.incumbent)

    @property
    def verdict(self) -> str:
        """One sentence on what the search added, and whether anything is worth verifying."""
        if self.stopped in {"interrupted", "running"}:
            return "no verdict yet: the finalists are not scored on validation"
        if self.winner is None or not self.improved:
            return _kept(self)
        if self.winner.name == "evolved":
            return _won(self)
        return f"{self.winner.name}{_over_incumbent(self)}; the search added nothing over it"

    def to_json(self) -> dict[str, Any]:
        """Return the values of ``result.json``; a number that is missing is null."""
        values: dict[str, Any] = plain(asdict(self)) | {"verdict": self.verdict}
        del values["folder"]
        return values

    def as_json(self) -> dict[str, Any]:
        """Return the whole result as JSON values, with its folder."""
        return self.to_json() | {"folder": plain(self.folder)}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: scores, what was proposed, what went wrong, and the winner."""
        return (
            scores_table(self),
            proposed(self),
            *((f"spent: {self.bill.words()}",) if self.bill.any else ()),
            yields_table(self),
            f"isolation: {', '.join(self.layers) or 'none'}",
            *(f"- {sentence}" for sentence in self.diagnosis),
            self.verdict,
            *_ending(self),
        )


def concluded(
    records: Sequence[Record],
    finalists: Sequence[Finalist],
    incumbent: Finalist | None,
    *,
    stopped: str,
    log_hash: str,
    seconds: float = math.nan,
    layers: tuple[str, ...] = (),
    folder: Path | None = None,
    within: float = EQUAL,
) -> EvolveResult:
    """Return the result of a run from its records and finalists; half a run says nothing of why it failed.

    Args:
        within: scores that differ by no more than this fraction count as equal.
    """
    ordered = in_order(finalists)
    whole = stopped not in {"interrupted", "running"}
    winner, baseline = winner_of(ordered, within) if whole else None, best_published(ordered)
    seen = Evidence(records, ordered, winner, baseline, incumbent)
    evolved = sum(f.sound and f.name == "evolved" for f in ordered)
    origin = _origin(winner)
    return EvolveResult(
        winner=winner,
        baseline=baseline,
        incumbent=incumbent,
        finalists=ordered,
        search_added=_added(winner, baseline),
        added_interval=_limits(baseline, winner, evolved) if origin == "evolved" else None,
        over_incumbent=_gained(incumbent, winner),
        over_interval=_limits(incumbent, winner, max(sum(f.sound for f in ordered) - 1, 1)),
        origin=origin,
        stopped=stopped,
        counts=counts(records),
        best_by_step=improvements(records),
        lineage=tuple((r.program, r.operator) for r in lineage(records, winner.program))
        if winner
        else (),
        operators=by_operator(records),
        authors=by_author(records),
        bill=bill(records),
        replays_saved=replays_saved(records),
        diagnosis=diagnosis(seen) if whole else (),
        log_hash=log_hash,
        seconds=seconds,
        layers=layers,
        folder=folder,
    )


def _added(winner: Finalist | None, baseline: Finalist | None) -> float:
    if winner is None or baseline is None:
        return math.nan
    return _gained(baseline, winner) if winner.name == "evolved" else 0.0


def _gained(base: Finalist | None, winner: Finalist | None) -> float:
    return gain(base.validation, winner.validation) if base and winner else math.nan


def _limits(base: Finalist | None, winner: Finalist | None, among: int) -> Interval | None:
    if base is None or winner is None or base.program == winner.program:
        return None
    limits = gain_interval(base.segments, winner.segments, among)
    if limits is None:
        return None
    low, high = limits[0] - _ROUNDING, limits[1] + _ROUNDING
    # a score that is not the mean of its stretches has no interval here
    return limits if low <= _gained(base, winner) <= high else None


def _origin(winner: Finalist | None) -> str:
    if winner is None:
        return "none"
    if winner.name in {"evolved", "incumbent"}:
        return winner.name
    return f"published baseline {winner.name}, search added 0 %"


def _kept(result: EvolveResult) -> str:
    if result.winner is None:
        return "keep the incumbent: no program could be scored on validation"
    gained = result.over_incumbent
    best = f"; the best of them, {result.winner.name}, changes the score by {percent(-gained)}"
    return (
        "keep the incumbent: nothing that was tried beats it on validation"
        f"{best if math.isfinite(gained) and gained else ''}"
    )


def _won(result: EvolveResult) -> str:
    base = result.baseline
    if base is None:
        added = "the evolved program has no published policy to be compared with"
    else:
        limits = interval_words(result.added_interval)
        added = (
            f"the search added {percent(result.search_added)}{limits} over the best published policy, "
            f"{base.name}"
        )
    unsure = result.added_interval is not None and result.added_interval[0] <= 0.0
    doubt = ", which may be luck" if unsure else ""
    return f"{added}{doubt}; over the incumbent {_incumbents(result)}"


def _over_incumbent(result: EvolveResult) -> str:
    if result.incumbent is None:
        return " is the best published policy, and the incumbent has no score"
    return f" is better than the incumbent by {_incumbents(result)}"


def _incumbents(result: EvolveResult) -> str:
    if result.incumbent is None:
        return "nothing is known: it has no score"
    return f"{percent(result.over_incumbent)}{interval_words(result.over_interval)}"


def interval_words(limits: Interval | None) -> str:
    """Return 95 % limits of a gain in parentheses, with a space before; nothing where there are none."""
    if limits is None:
        return ""
    low, high = (f"{end:+.1%}" if math.isfinite(end) else "unbounded" for end in limits)
    return f" (95 %: {low} … {high})"


def scores_table(result: EvolveResult) -> Table:
    """Return the scores of the incumbent, the best published and the best evolved program."""
    published = result.baseline.name if result.baseline else "none"
    rows = [("incumbent", result.incumbent), (f"best published: {published}", result.baseline)]
    rows.append(_best_evolved(result))
    return Table(
        ("policy", "train", "validation", "nodes"),
        tuple((name, *_cells(finalist)) for name, finalist in rows if finalist is not None),
        "Mean outcome, lower is better",
    )


def _best_evolved(result: EvolveResult) -> tuple[str, Finalist | None]:
    """Return the evolved program that one compares with, the winner if it is one, and what to call it."""
    if result.winner is not None and result.winner.name == "evolved":
        return ("evolved (winner)" if result.improved else "best evolved"), result.winner
    evolved = [each for each in result.finalists if each.name == "evolved"]
    part = [each for each in taking_part(result.finalists) if each.name == "evolved"]
    if part or not evolved:
        return "best evolved", next(iter(part), None)
    return "best evolved (loses on train, so takes no part)", evolved[0]


def _cells(of: Finalist) -> tuple[str, str, str]:
    return cell(of.train), cell(of.validation), str(of.nodes) if of.nodes else "-"


def cell(score: float) -> str:
    """Return a score for people; a dash where there is none."""
    return f"{score:.6g}" if math.isfinite(score) else "-"


def proposed(result: EvolveResult) -> str:
    """Return in a line what was proposed and why the run ended."""
    found = ", ".join(f"{n} {outcome}" for outcome, n in result.counts.items()) or "none"
    saved = f"; replays left out: {result.replays_saved}" if result.replays_saved else ""
    return f"proposals: {found}{saved}; stopped: {result.stopped}; log {result.log_hash[:16]}"


def yields_table(result: EvolveResult, most: int = _ROWS) -> Table:
    """Return what paid: by author where models or people took part, by operator otherwise."""
    keyless = all(each.name == KEYLESS for each in result.authors)
    rows = result.operators if keyless else result.authors
    return yields(rows[:most], "operator" if keyless else "author")


def yields(rows: Sequence[Yield], title: str) -> Table:
    """Return proposals, scores, improvements and costs of operators or authors as a table."""
    priced = any(y.dollars or y.unpriced or y.tokens_in or y.tokens_out for y in rows)
    head = (title, "proposals", "evaluated", "scored", "improved", "best on train")
    more = ("dollars", "tokens in", "tokens out") if priced else ()
    return Table((*head, *more), tuple(_yield_cells(each, priced) for each in rows))


def _yield_cells(of: Yield, priced: bool) -> tuple[str, ...]:
    numbers = (of.proposals, of.evaluated, of.scored, of.improved)
    row = (of.name, *map(str, numbers), cell(of.best))
    if not priced:
        return row
    unknown = f" + {of.unpriced} unknown" if of.unpriced else ""
    return (*row, f"{of.dollars:.4f}{unknown}", str(of.tokens_in), str(of.tokens_out))


def _ending(result: EvolveResult) -> tuple[Part, ...]:
    how = "the same options and --resume (from Python, resume=True)"
    if result.stopped == "interrupted":
        return (f"Interrupted. Continue with {how}; see {result.folder}",)
    late = (
        (f"Out of time. To go on: {how}, with --seconds anew",) if result.stopped == "time" else ()
    )
    if result.winner is None:
        return late
    added = f", search added {result.search_added:.1%}" if result.origin == "evolved" else ""
    place = f"; written to {result.folder / 'best.py'}" if result.folder else ""
    what = "winner" if result.improved else "the best of what was tried"
    return *late, f"{what}: {result.origin}{added}{place}", Code(result.winner.source)
