"""Rules that picks among items keep: candidates with their numbers, from one part of the decisions.

Every candidate holds on all decisions that it is made from. Whether it constrains anything, and holds later,
is for :mod:`.mining` to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ...sdk.kind import NOISE, SINCE_PICKED
from ...sdk.rules.base import Rule
from ...sdk.rules.score import (
    Among,
    Avoids,
    End,
    ItemsWithin,
    NearLeast,
    NearMost,
    NotDominated,
    Prefers,
)
from .decisions import Floats, Picks
from .limits import is_whole, limit_above

Bools = npt.NDArray[np.bool_]
#: Multiples of the least, and parts of the most, that are tried.
FACTORS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0)
#: Features of which pairs are looked at for picks that another item beats in both.
_MOST_PAIRED = 8
#: A factor or a number of places is worth its name if it forbids so much more of the other choices.
_WORTH = 0.005
#: An item that waits this many times as long as any did is overdue: beyond what the gates generate, so that
#: it stops whoever starves an item and refuses nobody who has not.
_OVERDUE = 4.0


@dataclass(frozen=True, eq=False)
class Columns:
    """One feature of some decisions, with what rules need of it.

    Attributes:
        picks: the decisions.
        index: of the feature among the kind's inputs.
    """

    picks: Picks
    index: int

    @cached_property
    def items(self) -> Floats:
        """Of every item, f8[k]."""
        return np.ascontiguousarray(self.picks.items[:, self.index])

    @cached_property
    def own(self) -> Floats:
        """Of the picked one, f8[n]."""
        return self.items[self.picks.picked]

    @cached_property
    def least(self) -> Floats:
        """The least of each decision, f8[n]."""
        return np.minimum.reduceat(self.items, self.picks.edge[:-1])

    @cached_property
    def most(self) -> Floats:
        """The most of each decision, f8[n]."""
        return np.maximum.reduceat(self.items, self.picks.edge[:-1])

    @property
    def varies(self) -> bool:
        """Whether items of one decision ever differ."""
        return bool((self.most > self.least).any())

    def spread(self, per_decision: Floats) -> Floats:
        """Return a number per decision as one per item, f8[k]."""
        return np.repeat(per_decision, np.diff(self.picks.edge))

    def ahead(self, lowest: bool) -> npt.NDArray[np.int64]:
        """Return how many items are strictly below (or above) the picked one, i8[n]."""
        own = self.spread(self.own)
        before = self.items < own if lowest else self.items > own
        return np.add.reduceat(before.astype(np.int64), self.picks.edge[:-1])


@dataclass(frozen=True, eq=False)
class Both:
    """One feature in the part that numbers are taken from, and in the part that sets their margins."""

    name: str
    seen: Columns
    held: Columns

    @property
    def whole(self) -> bool:
        """Whether only whole numbers occur."""
        return is_whole(self.seen.items) and is_whole(self.held.items)

    def limit(self, of: Callable[[Columns], Floats], whole: bool | None = None) -> float | None:
        """Return a limit that a quantity keeps in both parts, with a margin; None where it has none."""
        return limit_above(of(self.seen), of(self.held), self.whole if whole is None else whole)


def candidates(seen: Picks, held: Picks) -> Iterator[Rule]:
    """Yield rules that hold on all decisions of both parts.

    Args:
        seen: decisions that numbers are taken from.
        held: later ones, which set their margins.
    """
    names = seen.kind.input_names
    features = [
        Both(name, Columns(seen, index), Columns(held, index))
        for index, name in enumerate(names)
        if name != NOISE.name
    ]
    differing = [each for each in features if each.seen.varies]
    for each in differing:
        yield from _among(each)
        yield from _ends(each)
        yield from _near(each)
        yield from _levels(each)
    yield from _undominated(differing[:_MOST_PAIRED])
    yield from _implied(differing)
    for each in features:
        yield from _within(each)
    yield from (
        rule for each in differing if each.name == SINCE_PICKED.name for rule in _overdue(each)
    )


def _ends(of: Both) -> Iterator[Rule]:
    """Yield what the picked one never passes although others do."""
    top = of.limit(lambda column: column.own)
    if top is not None and top < of.seen.items.max():
        yield Prefers(of.name, "at_most", top)
    bottom = of.limit(lambda column: -column.own)
    if bottom is not None and -bottom > of.seen.items.min():
        yield Prefers(of.name, "at_least", 0.0 - bottom)


def _near(of: Both) -> Iterator[Rule]:
    """Yield how far from the least, and from the most, the picked one ever is."""
    found: list[tuple[float, Rule]] = []
    for factor in FACTORS:
        plus = of.limit(partial(_beyond, factor=factor), of.whole and factor == int(factor))
        if plus is not None:
            rule = NearLeast(of.name, factor, max(plus, 0.0))
            found.append((_forbidden_low(of.seen, rule), rule))
    yield from _worth_most(found)
    found = []
    for factor in FACTORS:
        plus = of.limit(partial(_short, factor=factor), of.whole and factor == 1.0)
        if plus is not None:
            less = NearMost(of.name, factor, max(plus, 0.0))
            found.append((_forbidden_high(of.seen, less), less))
    yield from _worth_most(found)


def _beyond(column: Columns, factor: float) -> Floats:
    return column.own - column.least - (factor - 1.0) * np.abs(column.least)


def _short(column: Columns, factor: float) -> Floats:
    return column.most - column.own - (1.0 - 1.0 / factor) * np.abs(column.most)


def _forbidden_low(column: Columns, rule: NearLeast) -> float:
    most = column.least + (rule.factor - 1.0) * np.abs(column.least) + rule.plus
    return float((column.items > column.spread(most)).mean())


def _forbidden_high(column: Columns, rule: NearMost) -> float:
    least = column.most - (1.0 - 1.0 / rule.factor) * np.abs(column.most) - rule.plus
    return float((column.items < column.spread(least)).mean())


def _worth_most(found: list[tuple[float, Rule]]) -> Iterator[Rule]:
    """Yield the first of those that forbid nearly the most: simple numbers come first."""
    best = max((share for share, _ in found), default=0.0)
    simple = sorted(found, key=lambda each: getattr(each[1], "plus", 0.0) > 0.0)
    yield from (rule for share, rule in simple if share > best - _WORTH and best > 0.0)


def _among(of: Both) -> Iterator[Rule]:
    """Yield how many items are at most before the picked one, from either end."""
    longest = int(np.diff(of.seen.picks.edge).max())
    ends: tuple[End, ...] = ("lowest", "highest")
    for end in ends:
        most = of.limit(partial(_ahead, lowest=end == "lowest"), whole=True)
        if most is not None and most + 1 < longest:
            yield Among(of.name, end, int(most) + 1)


def _ahead(column: Columns, lowest: bool) -> Floats:
    return column.ahead(lowest).astype(np.float64)


def _levels(of: Both) -> Iterator[Rule]:
    """Yield which of two levels of a feature is picked whenever there is one."""
    for value in _two_levels(of):
        if all(_served(each, each.items == value).all() for each in (of.seen, of.held)):
            yield Prefers(of.name, "equal", value)


def _two_levels(of: Both) -> tuple[float, ...]:
    levels = np.unique(of.seen.items[:100_000])
    return tuple(map(float, levels)) if len(levels) == 2 else ()


def _served(column: Columns, wanted: Bools) -> Bools:
    """Return per decision whether the picked item is a wanted one, or none is, bool[n]."""
    any_wanted = np.logical_or.reduceat(wanted, column.picks.edge[:-1])
    served: Bools = wanted[column.picks.picked] | ~any_wanted
    return served


def _undominated(features: list[Both]) -> Iterator[Rule]:
    """Yield pairs of features in both of which no item is ever better than the picked one."""
    for one, other in combinations(features, 2):
        for low_one, low_other in ((True, True), (True, False), (False, True), (False, False)):
            beaten = any(
                _dominated(a, b, low_one, low_other)
                for a, b in ((one.seen, other.seen), (one.held, other.held))
            )
            if not beaten:
                low = tuple(
                    n for n, is_low in ((one.name, low_one), (other.name, low_other)) if is_low
                )
                rest = tuple(n for n in (one.name, other.name) if n not in low)
                yield NotDominated(low, rest)


def _dominated(a: Columns, b: Columns, low_a: bool, low_b: bool) -> bool:
    own_a, own_b = a.spread(a.own), b.spread(b.own)
    better_a = a.items < own_a if low_a else a.items > own_a
    better_b = b.items < own_b if low_b else b.items > own_b
    return bool((better_a & better_b).any())


def _implied(features: list[Both]) -> Iterator[Rule]:
    """Yield what one level of a picked item's feature says of another feature of two levels."""
    two = [(each, levels) for each in features if (levels := _two_levels(each))]
    for (one, levels), (other, others) in ((a, b) for a in two for b in two if a is not b):
        for value in levels:
            for then in others:
                pairs = ((one.seen, other.seen), (one.held, other.held))
                fine = (_served(a, (a.items != value) | (b.items == then)) for a, b in pairs)
                if all(each.all() for each in fine):
                    yield Avoids(one.name, value, other.name, then)


def _within(of: Both) -> Iterator[Rule]:
    """Yield the range in which a feature of all items lies."""
    top = of.limit(lambda column: column.items)
    bottom = of.limit(lambda column: -column.items)
    feature = of.seen.picks.kind.inputs[of.seen.index]
    if top is not None and bottom is not None:
        low, high = max(0.0 - bottom, feature.low), min(top, feature.high)
        if low < high and (low, high) != (feature.low, feature.high):
            yield ItemsWithin(of.name, low, high)


def _overdue(of: Both) -> Iterator[Rule]:
    """Yield that an item which waits far longer than any did is picked before the others."""
    longest = of.limit(lambda column: column.items)
    if longest is not None:
        yield Prefers(of.name, "at_least", float(np.ceil(_OVERDUE * longest)))
