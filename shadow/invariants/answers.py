"""Rules that answers of programs keep: candidates with their numbers, from one part of the decisions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...sdk.kind import Kind
from ...sdk.language import Parameter
from ...sdk.rules.base import Rule
from ...sdk.rules.program import (
    ChangedAtMost,
    Covers,
    Distinct,
    Monotone,
    OccursAtMost,
    OccursWith,
    OutputWithin,
    Permutation,
    SumEquals,
    rows,
)
from .decisions import Answers, Floats
from .limits import limit_above

#: A slack in numbers of occurrences beyond which nothing is said.
_MOST_SLACK = 3


def candidates(seen: Answers, held: Answers) -> Iterator[Rule]:
    """Yield rules that hold on all decisions of both parts; as of picks."""
    tried = (rule for rule in _tried(seen, held) if not rule.problem(seen.kind))
    for rule in tried:
        holds = rule.predicate()
        if all(holds(*pair) for part in (seen, held) for pair in part.pairs):
            yield rule


def _tried(seen: Answers, held: Answers) -> Iterator[Rule]:
    contract = seen.kind.program
    assert contract is not None, "a kind of program form"
    inputs = [each for each in contract.parameters if not each.writable]
    for output in contract.outputs:
        name = output.name
        yield from _within(seen, held, output)
        yield Permutation(name)
        yield Distinct(name)
        yield from _often(seen, held, name)
        for given in inputs:
            yield Covers(name, given.name)
            yield SumEquals(name, given.name)
            yield Monotone(name, given.name, "rises")
            yield Monotone(name, given.name, "falls")
            yield from (OccursWith(name, given.name, slack) for slack in range(_MOST_SLACK + 1))
            if given.dimensions == output.dimensions:
                yield from _changed(seen, held, name, given.name)


def _values(part: Answers, of: Callable[[Any, Any], float]) -> Floats:
    return np.array([of(*pair) for pair in part.pairs], np.float64)


def _within(seen: Answers, held: Answers, output: Parameter) -> Iterator[Rule]:
    def most(_question: Any, answer: Any) -> float:
        return float(
            max(max(row, default=output.low) for row in rows(getattr(answer, output.name)))
        )

    def least(_question: Any, answer: Any) -> float:
        return -float(
            min(min(row, default=output.high) for row in rows(getattr(answer, output.name)))
        )

    top, bottom = (
        limit_above(_values(seen, end), _values(held, end), output.integer) for end in (most, least)
    )
    if top is not None and bottom is not None and -bottom <= top:
        yield OutputWithin(output.name, -bottom, top)


def _often(seen: Answers, held: Answers, name: str) -> Iterator[Rule]:
    def most(_question: Any, answer: Any) -> float:
        return float(
            max(max(Counter(row).values(), default=0) for row in rows(getattr(answer, name)))
        )

    times = limit_above(_values(seen, most), _values(held, most), whole=True)
    if times is not None and times >= 1.0:
        yield OccursAtMost(name, int(times))


def _changed(seen: Answers, held: Answers, name: str, of: str) -> Iterator[Rule]:
    def share(question: Any, answer: Any) -> float:
        given, made = rows(getattr(question, of)), rows(getattr(answer, name))
        pairs = [pair for x, y in zip(given, made, strict=True) for pair in zip(x, y, strict=True)]
        return sum(x != y for x, y in pairs) / max(len(pairs), 1)

    most = limit_above(_values(seen, share), _values(held, share), whole=False)
    if most is not None and most < 1.0:
        yield ChangedAtMost(name, of, most)


def others(pairs: Answers, draw: random.Random) -> Iterator[tuple[int, Any]]:
    """Yield other answers to the same questions: at random, of another question, or changed a little.

    Yields:
        index of the decision, and an answer.
    """
    kind = pairs.kind
    for index, (_question, answer) in enumerate(pairs.pairs):
        _, other = pairs.pairs[draw.randrange(len(pairs))]
        if _shapes(other) == _shapes(answer) and other != answer:
            yield index, other
        for _ in range(2):
            yield index, _random(kind, answer, draw)
            changed = _changed_a_little(answer, draw)
            if changed != answer:
                yield index, changed


def _shapes(answer: Any) -> list[list[int]]:
    return [[len(row) for row in rows(value)] for value in answer]


def _random(kind: Kind, answer: Any, draw: random.Random) -> Any:
    """Return numbers at random in the ranges that the answer itself spans."""

    def made(values: Any) -> Any:
        flat = [value for row in rows(values) for value in row] or [0]
        low, high = min(flat), max(flat)
        if all(isinstance(value, int) for value in flat):
            return _mapped(values, lambda _value: draw.randint(int(low), int(high)))
        return _mapped(values, lambda _value: draw.uniform(low, high))

    return kind.answer_type(*map(made, answer))


def _changed_a_little(answer: Any, draw: random.Random) -> Any:
    """Return the answer with one element overwritten by another, or two exchanged."""

    def made(values: Any) -> Any:
        copied = _mapped(values, lambda value: value)
        row = draw.choice(rows(copied))
        if len(row) > 1:
            one, other = draw.sample(range(len(row)), 2)
            row[one], row[other] = row[other], (row[one] if draw.random() < 0.5 else row[other])  # type: ignore[index]
        return copied

    return type(answer)(*map(made, answer))


def _mapped(values: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(values, list):
        return [_mapped(value, change) for value in values]
    return change(values)
