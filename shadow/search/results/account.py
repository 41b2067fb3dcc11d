"""What a search's proposals came to and what they cost: by operator, by author, in all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..records import FREE, Outcome, Record


@dataclass(frozen=True, slots=True)
class Yield:
    """What the proposals of one operator, or of one author, came to.

    Attributes:
        name: of the operator or author.
        proposals: of any outcome.
        evaluated: those that took an evaluation.
        scored: those that got a score.
        improved: times one of them was better on train than all before it.
        best: lowest score on train; NaN without any.
        dollars: spent as far as it is known.
        unpriced: proposals whose price is not known.
        tokens_in, tokens_out: of calls to models.
    """

    name: str
    proposals: int
    evaluated: int
    scored: int
    improved: int
    best: float
    dollars: float
    unpriced: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What a search cost.

    Attributes:
        dollars: as far as it is known.
        unpriced: answers whose price is not known; their cost comes on top.
        tokens_in, tokens_out: of calls to models.
    """

    dollars: float = 0.0
    unpriced: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def any(self) -> bool:
        """Whether any model was asked."""
        return bool(self.dollars or self.unpriced or self.tokens_in or self.tokens_out)

    def words(self) -> str:
        """Return it for people; what is unknown is never shown as nothing."""
        if not self.any:
            return "nothing: no model was asked"
        tokens = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        if self.unpriced and not self.dollars:
            return f"unknown dollars ({self.unpriced} answers without a price), {tokens}"
        more = f" and {self.unpriced} answers of unknown price" if self.unpriced else ""
        return f"${self.dollars:.4f}{more}, {tokens}"


def family(operator: str) -> str:
    """Return what an operator's name has in common with its like: ``seed`` for ``seed:peak_ewma``."""
    if "+" in operator:
        return "combined"
    return operator.partition(":")[0] or "unnamed"


def bill(records: Iterable[Record]) -> Bill:
    """Return what all proposals cost together."""
    known = list(records)
    return Bill(
        dollars=math.fsum(r.cost for r in known if r.cost is not None),
        unpriced=sum(r.cost is None for r in known),
        tokens_in=sum(r.tokens_in for r in known),
        tokens_out=sum(r.tokens_out for r in known),
    )


def by_operator(records: Sequence[Record]) -> tuple[Yield, ...]:
    """Return yields by family of operators, those that improved most often first."""
    return _yields(records, lambda record: family(record.operator))


def by_author(records: Sequence[Record]) -> tuple[Yield, ...]:
    """Return yields by author, those that improved most often first."""
    return _yields(records, lambda record: record.author)


def _yields(records: Sequence[Record], name: Callable[[Record], str]) -> tuple[Yield, ...]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(name(record), []).append(record)
    steps = {step for step, _ in improvements(records)}
    found = (_yield(each, group, steps) for each, group in groups.items())
    return tuple(sorted(found, key=lambda y: (-y.improved, -y.scored, y.name)))


def _yield(name: str, records: Sequence[Record], improving: set[int]) -> Yield:
    scored = [record for record in records if record.outcome is Outcome.OK]
    cost = bill(records)
    return Yield(
        name=name,
        proposals=len(records),
        evaluated=sum(record.outcome not in FREE for record in records),
        scored=len(scored),
        improved=sum(record.step in improving for record in scored),
        best=min((record.score for record in scored), default=math.nan),
        dollars=cost.dollars,
        unpriced=cost.unpriced,
        tokens_in=cost.tokens_in,
        tokens_out=cost.tokens_out,
    )


def improvements(records: Sequence[Record]) -> tuple[tuple[int, float], ...]:
    """Return (step, score) of every record that was better than all before it."""
    found: list[tuple[int, float]] = []
    for record in records:
        if record.outcome is Outcome.OK and (not found or record.score < found[-1][1]):
            found.append((record.step, record.score))
    return tuple(found)


def lineage(records: Sequence[Record], program: str) -> tuple[Record, ...]:
    """Return the records from a program back to the seed it came from, by first parents."""
    made = {record.program: record for record in reversed(records)}
    line: dict[str, Record] = {}
    while program in made and program not in line:
        record = line[program] = made[program]
        program = record.parents[0] if record.parents else ""
    return tuple(line.values())


def counts(records: Iterable[Record]) -> dict[str, int]:
    """Return proposals by outcome, in the order of their names."""
    return dict(sorted(Counter(str(record.outcome) for record in records).items()))
