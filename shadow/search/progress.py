"""What is known of a search while it runs: a glance for programs, a line for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..report.shown import plain
from .records import Outcome, Record
from .results.account import bill

if TYPE_CHECKING:
    from .core import Search

#: Seeds that are no published policy.
_UNPUBLISHED = {"seed:incumbent", "seed:log_linear", "seed:weak"}
#: Words of what a writer last failed with that are shown.
_WORDS = 80


@dataclass(frozen=True, slots=True)
class Progress:
    """A glance at a running search.

    Attributes:
        phase: ``search`` or ``validation``.
        search: the search; to be read only.
        incumbent: score on train of the policy in production where it is measured, else NaN.
        done, total: evaluations of this phase, those that the log held already among them.
        fresh: those of them that were made since the start.
        seconds: wall time so far.
        phase_seconds: those of this phase.
        flying: evaluations under way.
        writing: programs that are being written.
        stopping: whether only what is under way is waited for.
    """

    phase: str
    search: Search
    incumbent: float
    done: int
    total: int
    fresh: int
    seconds: float
    phase_seconds: float
    flying: int = 0
    writing: int = 0
    stopping: bool = False

    @property
    def left(self) -> float:
        """Seconds that are left by the budget and the pace so far; NaN before there is one."""
        pace = self.phase_seconds / self.fresh if self.fresh else math.nan
        by_pace = pace * max(self.total - self.done, 0)
        by_clock = max(self.search.budget.seconds - self.seconds, 0.0)
        return by_clock if by_clock < by_pace or math.isnan(by_pace) else by_pace

    def to_json(self) -> dict[str, Any]:
        """Return the values of a line of ``--progress json``; a number that is missing is null."""
        search = self.search
        best, published, incumbent = _best(self), _published(search), _incumbent(self)
        paid = bill(search.records)
        values = {
            "phase": self.phase,
            "done": self.done,
            "total": self.total,
            "best": self._sign * best.score if best else math.nan,
            "best_program": best.program if best else None,
            "published": self._sign * published.score if published else math.nan,
            "incumbent": incumbent,
            "counts": {str(outcome): n for outcome, n in sorted(search.counts.items())},
            "evaluating": self.flying,
            "writing": self.writing,
            "dollars": paid.dollars,
            "unpriced": paid.unpriced,
            "most_dollars": search.budget.dollars,
            "tokens_in": paid.tokens_in,
            "tokens_out": paid.tokens_out,
            "archived": len(search.archive.members),
            "strategy": search.standing,
            "notice": notice(self),
            "seconds": self.seconds,
            "seconds_left": self.left if math.isfinite(self.left) else math.nan,
        }
        found: dict[str, Any] = plain(values)
        return found

    def line(self) -> str:
        """Return the glance as one line of text."""
        return f"{self.phase}: {'; '.join(self.parts())}"

    def parts(self) -> tuple[str, ...]:
        """Return all that there is to say, one text for each thing."""
        search = self.search
        counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(search.counts.items()))
        said = (
            self._scores(),
            counts or "nothing proposed yet",
            self._under_way(),
            self._spent(),
            self._archive(),
            search.standing,
            f"{duration(self.left)} left" if math.isfinite(self.left) else "",
            notice(self),
        )
        return tuple(part for part in said if part)

    @property
    def _sign(self) -> float:
        return -1.0 if self.search.space.higher else 1.0

    def _scores(self) -> str:
        best, published, incumbent = _best(self), _published(self.search), _incumbent(self)
        if best is None:
            return "no score yet"
        sign = self._sign
        beside = [f"{_name(published)} {sign * published.score:.4g}"] if published else []
        if math.isfinite(incumbent):
            beside.append(f"incumbent {incumbent:.4g}")
        others = f" ({', '.join(beside)})" if beside else ""
        return f"best {sign * best.score:.4g} on train{others}"

    def _under_way(self) -> str:
        if self.stopping:
            return f"stopping: {self.flying} evaluations are waited for, once more ends at once"
        writing = f", {self.writing} being written" if self.writing else ""
        return f"{self.flying} under way{writing}" if self.flying or writing else ""

    def _spent(self) -> str:
        paid, most = bill(self.search.records), self.search.budget.dollars
        if not paid.any:
            return ""
        cap = f" (at most ${most:.2f})" if math.isfinite(most) else ""
        return f"spent {paid.words()}{cap}"

    def _archive(self) -> str:
        members = len(self.search.archive.members)
        return f"{members} archived" if members else ""


Report = Callable[[Progress], None]


def duration(seconds: float) -> str:
    """Return a duration for people: seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def notice(glance: Progress) -> str:
    """Return which models are left alone; else why the last answer of a writer was none, if it was none."""
    from ..models.breaker import silence

    asked = [record for record in glance.search.records if record.prompt]
    alone = silence({record.author for record in asked}, asked)
    if alone:
        return " ".join(alone.split())
    if not asked or asked[-1].outcome is not Outcome.UNANSWERED:
        return ""
    why = " ".join(asked[-1].reason.split())[:_WORDS] or "no reason"
    return f"{asked[-1].author} gave no program: {why}"


def _best(glance: Progress) -> Record | None:
    """Return the best on train; the archive holds only what the next step may know of."""
    scored = (record for record in glance.search.records if record.outcome is Outcome.OK)
    return min(scored, key=lambda record: (record.score, record.nodes), default=None)


def _published(search: Search) -> Record | None:
    """Return the best of the published policies that are scored so far."""
    seeds = (
        record
        for record in search.records
        if record.operator.startswith("seed:")
        and record.operator not in _UNPUBLISHED
        and record.outcome is Outcome.OK
    )
    return min(seeds, key=lambda record: record.score, default=None)


def _name(seed: Record) -> str:
    return seed.operator.removeprefix("seed:")


def _incumbent(glance: Progress) -> float:
    if math.isfinite(glance.incumbent):
        return glance.incumbent
    seeds = (r for r in glance.search.records if r.operator == "seed:incumbent")
    return next((r.score for r in seeds if r.outcome is Outcome.OK), math.nan)
