"""A Pareto front over segments, with reflection on a few of them and merging."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

from ...evaluation import Trial
from ..context import Choice, Context
from ..proposers import Bare, FromScratch, Probes, Proposer, Seeds
from ..records import Brief, Draft, Record
from .base import Makers, Mixed, Strategy
from .fronts import Fronts

_ANCESTORS = 64  # generations that are looked back for a common ancestor
_PAIRS = 10


class Pareto(Strategy):
    """Parents that are the best on some segment, tried on a few segments before all.

    Source: GEPA (arXiv 2507.19457). Changed: two programs with a common ancestor are offered to the makers as
    parents of one (they cross over, or a writer merges), whoever makes the next program may take them up; a
    program that is tuned by numbers alone is not tried on a minibatch, because a tuner needs all scores.

    Args:
        seeds: by name.
        makers: of programs, with weights.
        minibatch: segments that a child is tried on first; it goes on only when it beats its parent there.
            0 for none.
    """

    def __init__(self, seeds: Mapping[str, str], makers: Makers, *, minibatch: int = 3) -> None:
        self.fronts = Fronts()
        self._first: tuple[Proposer, ...] = (Seeds(seeds), Probes(), Bare(seeds))
        self._mixed = Mixed(makers)
        self._last = FromScratch(last=True)
        self._minibatch = minibatch
        self._uses: Counter[int] = Counter()  # of segments in minibatches
        self._merges = 0  # due

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return a draft made of one who is the best somewhere."""
        choice = self._choice(context, rng)
        for proposer in (*self._first, self._mixed, self._last):
            made = proposer.propose(choice, context, rng)
            if made is not None:
                self._uses.update(choice.segments)
                if choice.note == "merge" and len(made.parents) > 1:
                    self._merges -= 1
                return made
        return None

    def learn(self, record: Record) -> None:
        """Take a program into the fronts; one that enters makes a merge due."""
        for proposer in (*self._first, self._mixed, self._last):
            proposer.learn(record)
        if self.fronts.add(record) and record.parents:
            self._merges = min(self._merges + 1, 5)

    def words(self) -> str:
        """Return how many programs it takes to be the best on every segment."""
        return f"{len(self.fronts.survivors())} programs on the fronts"

    def _choice(self, context: Context, rng: random.Random) -> Choice:
        survivors = self.fronts.survivors()
        if not survivors:
            return Choice()
        pool = context.archive.members
        merged = self._merge(context, rng) if self._merges else None
        if merged is not None:
            one, other, ancestor = merged
            return Choice(one, (other, ancestor), pool, "merge", self._few(rng))
        records, fronts = zip(*survivors, strict=True)
        parent, mate = rng.choices(records, fronts, k=2)
        segments = self._few(rng)
        others = (mate,) if mate is not parent else ()
        return Choice(parent, others, pool, "reflect", segments, trial=_trial(parent, segments))

    def _few(self, rng: random.Random) -> tuple[int, ...]:
        """Return the next minibatch of segments: all come up before one comes up again."""
        order = [(self._uses[index], rng.random(), index) for index in range(len(self.fronts.best))]
        return tuple(sorted(index for _, _, index in sorted(order)[: self._minibatch]))

    def _merge(self, context: Context, rng: random.Random) -> tuple[Record, Record, Record] | None:
        """Return two survivors and an ancestor of both that is no better; None where there are none."""
        records = [record for record, _ in self.fronts.survivors()]
        if len(records) < 2:
            return None
        for _ in range(_PAIRS):
            one, other = rng.sample(records, 2)
            ancestor = _common(one, other, context.by_program)
            if ancestor is not None and ancestor.score >= max(one.score, other.score):
                return (
                    (one, other, ancestor) if one.score <= other.score else (other, one, ancestor)
                )
        return None


def _trial(parent: Record, segments: tuple[int, ...]) -> Trial | None:
    if not segments or not parent.segments:
        return None
    mean = sum(parent.segments[index] for index in segments) / len(segments)
    return Trial(first=segments, first_bar=mean)


def _common(one: Record, other: Record, known: Mapping[str, Record]) -> Record | None:
    """Return the last common ancestor by first parents; None where one is an ancestor of the other."""
    line = _line(one, known)
    seen = {record.program for record in line}
    for record in _line(other, known):
        if record.program in seen:
            return None if record.program in (one.program, other.program) else record
    return None


def _line(record: Record, known: Mapping[str, Record]) -> list[Record]:
    line, seen = [record], {record.program}
    while len(line) < _ANCESTORS and line[-1].parents:
        parent = known.get(line[-1].parents[0])
        if parent is None or parent.program in seen:
            break
        line.append(parent)
        seen.add(parent.program)
    return line
