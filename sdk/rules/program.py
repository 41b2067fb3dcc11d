"""Shapes of rules for kinds of program form: what an answer to a question must meet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .base import Predicate, Rule, said, unknown

if TYPE_CHECKING:
    from ..kind import Kind
    from ..language import Parameter

Direction = Literal["rises", "falls"]
Rows = Sequence[Sequence[float]]
#: Relative error within which two sums of the same numbers agree.
SUMS = 1e-9


def rows(value: Any) -> Rows:
    """Return a number, a vector or a matrix as rows."""
    if not isinstance(value, list | tuple):
        return [[value]]
    return value if value and isinstance(value[0], list | tuple) else [value]


class ProgramRule(Rule):
    """A rule over one output of a program, and perhaps one input."""

    FORM = "program"

    def problem(self, kind: Kind) -> str:
        """Say which output or input a kind does not have."""
        assert kind.program is not None, "a kind of program form"
        known = {each.name: each for each in kind.program.parameters}
        outputs = tuple(each.name for each in kind.program.outputs)
        wrong = unknown((self.output,), outputs, "output")  # type: ignore[attr-defined]
        of = getattr(self, "input", None)
        if not wrong and of is not None:
            inputs = tuple(name for name in known if name not in outputs)
            wrong = unknown((of,), inputs, "input") or self.misfit(known[of], known[self.output])  # type: ignore[attr-defined]
        return wrong

    def misfit(self, given: Parameter, output: Parameter) -> str:
        """Say why an input has nothing to do with the output in this rule; empty when it has."""
        return ""

    def same_shape(self, given: Parameter, output: Parameter) -> str:
        """As :meth:`misfit`, for a rule that goes element by element."""
        fits = given.dimensions == output.dimensions
        return "" if fits else f"{given.name!r} is not of the shape of {output.name!r}"


@dataclass(frozen=True, slots=True)
class OutputWithin(ProgramRule):
    """Every element of an output lies in a range."""

    SHAPE = "output_within"

    output: str
    low: float
    high: float

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, low, high = self.output, self.low, self.high
        return lambda question, answer: all(
            low <= min(row) and max(row) <= high for row in rows(getattr(answer, output)) if row
        )

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"Every element of {self.output} is from {said(self.low)} to {said(self.high)}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_within"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        if not self.low <= self.high:
            return f"low {said(self.low)} is above high {said(self.high)}"
        return ProgramRule.problem(self, kind)


@dataclass(frozen=True, slots=True)
class Distinct(ProgramRule):
    """No row of an output holds a number twice."""

    SHAPE = "distinct"

    output: str

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output = self.output
        return lambda question, answer: all(
            len({*row}) == len(row) for row in rows(getattr(answer, output))
        )

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"No row of {self.output} holds a number twice."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_distinct"


@dataclass(frozen=True, slots=True)
class Permutation(ProgramRule):
    """Every row of an output holds each of 0, 1, 2, … once."""

    SHAPE = "permutation"

    output: str

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output = self.output
        return lambda question, answer: all(
            sorted(row) == [*range(len(row))] for row in rows(getattr(answer, output))
        )

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"Every row of {self.output} holds each of 0, 1, 2 and so on once."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_permutation"


@dataclass(frozen=True, slots=True)
class Covers(ProgramRule):
    """Every row of an output names each element of an input's row at least once."""

    SHAPE = "covers"

    output: str
    input: str

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, of = self.output, self.input

        def holds(question: Any, answer: Any) -> bool:
            wanted = {*range(len(rows(getattr(question, of))[0]))}
            return all(wanted.issubset(row) for row in rows(getattr(answer, output)))

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"Every row of {self.output} names each element of a row of {self.input}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_covers_{self.input}"

    def misfit(self, given: Parameter, output: Parameter) -> str:
        """Say why an input has nothing to cover."""
        return "" if given.rank else f"{given.name!r} is a number and has no elements"


@dataclass(frozen=True, slots=True)
class SumEquals(ProgramRule):
    """The sum of an output is the sum of an input."""

    SHAPE = "sum_equals"

    output: str
    input: str

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, of = self.output, self.input

        def total(value: Any) -> float:
            return math.fsum(map(math.fsum, rows(value)))

        def holds(question: Any, answer: Any) -> bool:
            made, given = total(getattr(answer, output)), total(getattr(question, of))
            return math.isclose(made, given, rel_tol=SUMS, abs_tol=SUMS)

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"The elements of {self.output} add up to those of {self.input}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_sum_is_{self.input}"


@dataclass(frozen=True, slots=True)
class Monotone(ProgramRule):
    """Within a row, an output rises or falls with an input of the same shape."""

    SHAPE = "monotone"

    output: str
    input: str
    direction: Direction

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, of = self.output, self.input
        sign = 1.0 if self.direction == "rises" else -1.0

        def holds(question: Any, answer: Any) -> bool:
            given, made = rows(getattr(question, of)), rows(getattr(answer, output))
            return all(
                _rises(x, [sign * value for value in y], 0.0)
                for x, y in zip(given, made, strict=True)
            )

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        word = "less" if self.direction == "rises" else "more"
        return f"Within a row, where {self.input} is larger {self.output} is never {word}."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_{self.direction}_with_{self.input}"

    def misfit(self, given: Parameter, output: Parameter) -> str:
        """Say why an input cannot be compared element by element."""
        return self.same_shape(given, output)


def _rises(x: Sequence[float], y: Sequence[float], slack: float) -> bool:
    """Return whether a larger x never has a y that is smaller by more than a slack."""
    highest = before = -math.inf  # of y: among all smaller x, and among those and the equal ones
    last = None
    for given, made in sorted(zip(x, y, strict=True)):
        if given != last:
            highest, last = before, given
        if made < highest - slack:
            return False
        before = max(before, made)
    return True


@dataclass(frozen=True, slots=True)
class OccursAtMost(ProgramRule):
    """No row of an output holds one number more than so many times."""

    SHAPE = "occurs_at_most"

    output: str
    most: int

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, most = self.output, self.most
        return lambda question, answer: all(
            max(Counter(row).values(), default=0) <= most for row in rows(getattr(answer, output))
        )

    def says(self) -> str:
        """Return the rule as one sentence."""
        return f"No row of {self.output} holds a number more than {self.most} times."

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_occurs_at_most"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        return "most must be at least 1" if self.most < 1 else ProgramRule.problem(self, kind)


@dataclass(frozen=True, slots=True)
class OccursWith(ProgramRule):
    """A row of an output names what has more of an input at least as often, but for so many times."""

    SHAPE = "occurs_with"

    output: str
    input: str
    slack: int

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, of, slack = self.output, self.input, self.slack

        def holds(question: Any, answer: Any) -> bool:
            given, made = rows(getattr(question, of)), rows(getattr(answer, output))
            for weights, row in zip(given, made, strict=True):
                times = Counter(row)
                if not _rises(weights, [times[each] for each in range(len(weights))], slack):
                    return False
            return True

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        slack = f", but for {self.slack}" if self.slack else ""
        return (
            f"A row of {self.output} names what has more {self.input} at least as many times as "
            f"what has less{slack}."
        )

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_occurs_with_{self.input}"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        return "slack must be at least 0" if self.slack < 0 else ProgramRule.problem(self, kind)

    def misfit(self, given: Parameter, output: Parameter) -> str:
        """Say why an input has no row for each of the output's."""
        same = given.rank == output.rank and given.dimensions[:-1] == output.dimensions[:-1]
        return "" if same else f"{given.name!r} has no row for each row of {output.name!r}"


@dataclass(frozen=True, slots=True)
class ChangedAtMost(ProgramRule):
    """At most a share of an output's elements differs from an input of the same shape."""

    SHAPE = "changed_at_most"

    output: str
    input: str
    share: float

    def predicate(self) -> Predicate:
        """Return the rule as a function of question and answer."""
        output, of, share = self.output, self.input, self.share

        def holds(question: Any, answer: Any) -> bool:
            given, made = rows(getattr(question, of)), rows(getattr(answer, output))
            pairs = [
                pair for x, y in zip(given, made, strict=True) for pair in zip(x, y, strict=True)
            ]
            return sum(x != y for x, y in pairs) <= share * len(pairs)

        return holds

    def says(self) -> str:
        """Return the rule as one sentence."""
        return (
            f"At most {self.share:.6g} of the elements of {self.output} differ from {self.input}."
        )

    def label(self) -> str:
        """Return a name for the invariant."""
        return f"{self.output}_changes_{self.input}_at_most"

    def problem(self, kind: Kind) -> str:
        """Say what of the rule makes no sense for a kind."""
        fits = 0.0 <= self.share <= 1.0
        return ProgramRule.problem(self, kind) if fits else "share must be from 0 to 1"

    def misfit(self, given: Parameter, output: Parameter) -> str:
        """Say why an input cannot be compared element by element."""
        return self.same_shape(given, output)


PROGRAM_RULES: tuple[type[ProgramRule], ...] = (
    OutputWithin, Distinct, Permutation, Covers, SumEquals, Monotone, OccursAtMost, OccursWith,
    ChangedAtMost,
)  # fmt: skip
