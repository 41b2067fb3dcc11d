"""Shapes of rules for kinds of score form: what a pick among items must meet.

Every rule that may block can be met whatever the items are: by some item that is there. Otherwise a
rule would take decisions away from any policy at all where traffic is unlike the trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..kind import NOISE
from .base import Predicate, Rule, said, unknown

if TYPE_CHECKING:
    from ..kind import Kind

Compare = Literal["at_most", "at_least", "equal"]
End = Literal["lowest", "highest"]


class ScoreRule(Rule):
    """A rule over items and the picked one."""

    FORM = "score"

    def names(self) -> tuple[str, ...]:
        """Return the features that it reads."""
        return (self.feature,)  # type: ignore[attr-defined]

    def problem(self, kind: Kind) -> str:
        """Say which feature a kind does not have, or nobody can be held to."""
        if NOISE.name in self.names():
            return f"{NOISE.name!r} is drawn anew for every decision and means nothing"
        return unknown(self.names(), kind.input_names, "feature")


@dataclass(frozen=True, slots=True)
class Prefers(ScoreRule):
    """Whenever some item has a feature at most, at least or equal to a value, the picked one has."""

    SHAPE = "prefers"

    feature: str
    compare: Compare
    value: float

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        feature, value = self.feature, self.value
        if self.compare == "equal":
            return lambda items, picked: bool(
                getattr(picked, feature) == value
                or all(getattr(item, feature) != value for item in items)
            )
        if self.compare == "at_most":
            return lambda items, picked: bool(
                getattr(picked, feature) <= value
                or all(getattr(item, feature) > value for item in items)
            )
        return lambda items, picked: bool(
            getattr(picked, feature) >= value
            or all(getattr(item, feature) < value for item in items)
        )

    def says(self) -> str:
        """Return the rule as one sentence."""
        words = {"at_most": "of at most", "at_least": "of at least", "equal": "of exactly"}
        return (
            f"The picked item has {self.feature} {words[self.compare]} {said(self.value)}, "
            "whenever any item has."
        )

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.feature}_{self.compare}_if_any"


class _Near(ScoreRule):
    """A rule that the pick is within a factor, and so much more, of one end of a feature."""

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        factor, plus = self.factor, self.plus  # type: ignore[attr-defined]
        if not (factor >= 1.0 and plus >= 0.0):
            return f"factor {said(factor)} and plus {said(plus)} must be at least 1 and at least 0"
        return ScoreRule.problem(self, kind)


@dataclass(frozen=True, slots=True)
class NearLeast(_Near):
    """The picked item's feature is at most a multiple of the least among the items, and so much more."""

    SHAPE = "near_least"

    feature: str
    factor: float
    plus: float

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        feature, more, plus = self.feature, self.factor - 1.0, self.plus

        def holds(items: Any, picked: Any) -> bool:
            least = min([getattr(item, feature) for item in items])
            return bool(getattr(picked, feature) - least <= more * abs(least) + plus)

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        times = "" if self.factor == 1.0 else f"{said(self.factor)} times "
        plus = f" plus {said(self.plus)}" if self.plus else ""
        return f"The picked item's {self.feature} is at most {times}the least of all items{plus}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.feature}_near_least"


@dataclass(frozen=True, slots=True)
class NearMost(_Near):
    """The picked item's feature is at least a part of the most among the items, less so much."""

    SHAPE = "near_most"

    feature: str
    factor: float
    plus: float

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        feature, less, plus = self.feature, 1.0 - 1.0 / self.factor, self.plus

        def holds(items: Any, picked: Any) -> bool:
            most = max([getattr(item, feature) for item in items])
            return bool(most - getattr(picked, feature) <= less * abs(most) + plus)

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        part = "" if self.factor == 1.0 else f"1/{said(self.factor)} of "
        plus = f" less {said(self.plus)}" if self.plus else ""
        return f"The picked item's {self.feature} is at least {part}the most of all items{plus}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.feature}_near_most"


@dataclass(frozen=True, slots=True)
class Among(ScoreRule):
    """The picked item is among the few that have the lowest, or the highest, of a feature."""

    SHAPE = "among"

    feature: str
    end: End
    places: int

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        feature, places, low = self.feature, self.places, self.end == "lowest"

        def holds(items: Any, picked: Any) -> bool:
            own = getattr(picked, feature)
            values = [getattr(item, feature) for item in items]
            before = sum(v < own for v in values) if low else sum(v > own for v in values)
            return bool(before < places)

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        word = "less" if self.end == "lowest" else "more"
        if self.places == 1:
            return f"No item has {word} {self.feature} than the picked one."
        return f"At most {self.places - 1} items have {word} {self.feature} than the picked one."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.feature}_among_{self.end}_{self.places}"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        if self.places < 1:
            return f"places {self.places} must be at least 1"
        return ScoreRule.problem(self, kind)


@dataclass(frozen=True, slots=True)
class NotDominated(ScoreRule):
    """No item is strictly better than the picked one in every one of some features."""

    SHAPE = "not_dominated"

    lower: tuple[str, ...]
    higher: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """Return the features that it reads."""
        return self.lower + self.higher

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        lower, higher = self.lower, self.higher

        def better(item: Any, picked: Any) -> bool:
            return all(getattr(item, f) < getattr(picked, f) for f in lower) and all(
                getattr(item, f) > getattr(picked, f) for f in higher
            )

        return lambda items, picked: not any(better(item, picked) for item in items)

    def says(self) -> str:
        """Return the rule as one sentence."""
        parts = [f"less {name}" for name in self.lower] + [f"more {name}" for name in self.higher]
        return f"No item has {' and '.join(parts)} than the picked one."

    def label(self) -> str:
        """Return a name for the invariant."""
        return "_".join(("none_better_in", *self.names()))

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        if len({*self.names()}) != len(self.names()) or len(self.names()) < 2:
            return "it needs two or more features, each once"
        return ScoreRule.problem(self, kind)


@dataclass(frozen=True, slots=True)
class Avoids(ScoreRule):
    """An item with one feature at a value and another not at its own is not picked beside others."""

    SHAPE = "avoids"

    feature: str
    value: float
    unless: str
    unless_value: float

    def names(self) -> tuple[str, ...]:
        """Return the features that it reads."""
        return (self.feature, self.unless)

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        feature, value, unless, unless_value = (
            self.feature, self.value, self.unless, self.unless_value,
        )  # fmt: skip

        def avoided(item: Any) -> bool:
            return bool(getattr(item, feature) == value and getattr(item, unless) != unless_value)

        return lambda items, picked: not avoided(picked) or all(avoided(item) for item in items)

    def says(self) -> str:
        """Return the rule as one sentence."""
        return (
            f"A picked item with {self.feature} of {said(self.value)} has {self.unless} of "
            f"{said(self.unless_value)}, whenever there is any other choice."
        )

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.feature}_implies_{self.unless}"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        if self.feature == self.unless:
            return "it needs two features"
        return ScoreRule.problem(self, kind)


@dataclass(frozen=True, slots=True)
class ItemsWithin(ScoreRule):
    """A feature of every item lies in a range: what the service sees, whatever is picked."""

    SHAPE = "items_within"
    ONLY_WARNS = True

    feature: str
    low: float
    high: float

    def predicate(self) -> Predicate:
        """Return the rule as a function of items and pick."""
        feature, low, high = self.feature, self.low, self.high
        return lambda items, picked: all(low <= getattr(item, feature) <= high for item in items)

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"Every item's {self.feature} is from {said(self.low)} to {said(self.high)}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.feature}_of_all_within"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        if not self.low <= self.high:
            return f"low {said(self.low)} is above high {said(self.high)}"
        return ScoreRule.problem(self, kind)


SCORE_RULES: tuple[type[ScoreRule], ...] = (
    Prefers, NearLeast, NearMost, Among, NotDominated, Avoids, ItemsWithin,
)  # fmt: skip
