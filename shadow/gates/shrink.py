"""From a decision that breaks an invariant to the smallest one found that does: fewer items, simpler numbers.

Greedy, within a number of tries, and never into a decision on which nothing could keep the invariant: such
a case would say nothing about the policy, and refuse every other one that is asked it later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...sdk.errors import GnomonError
from ...sdk.invariant import Invariant
from ...sdk.kind import Feature, Kind
from ...sdk.language._arrays import size
from ...sdk.programs.questions import Question, outside, question_of

Rows = list[tuple[float, ...]]
Breaks = Callable[[Rows], bool]
#: Arguments of a question by name, as plain numbers and lists.
Values = dict[str, Any]
Tries = Callable[[Values], bool]

LEAST_ITEMS = 2
_HALVINGS = 40
_MOST_TRIES = 2_000
_MOST_PROGRAM_TRIES = 300
_FEW = 64  # elements of an array that are simplified one by one


def limited(breaks: Callable[[Any], bool], tries: int = _MOST_TRIES) -> Callable[[Any], bool]:
    """Return the same question, answered with no once it was asked too often."""
    left = tries

    def ask(found: Any) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and breaks(found)

    return ask


def smallest(rows: Rows, features: Sequence[Feature], breaks: Breaks) -> Rows:
    """Leave out items and simplify values for as long as the rest still breaks the invariant.

    Args:
        rows: features of every item, which break it.
        features: of an item, with the ranges that values may have.
        breaks: whether an item table breaks it.
    """
    ask = limited(breaks)
    rows = _fewest(rows, ask)
    for item in range(len(rows)):
        for column, feature in enumerate(features):
            rows = _simplest(rows, (item, column), feature, ask)
    return _fewest(rows, ask)


def keepable(kind: Kind, invariant: Invariant, rows: Sequence[Sequence[float]]) -> bool:
    """Return whether any pick of an item table would keep an invariant."""
    items = [kind.item_type(*row) for row in rows]
    return any(_holds(invariant, [*items], item) for item in items)


def _holds(invariant: Invariant, items: Sequence[Any], item: Any) -> bool:
    try:
        return bool(invariant.holds(items, item))
    except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
        return False


def _fewest(rows: Rows, breaks: Breaks) -> Rows:
    for index in reversed(range(len(rows))):
        rest = rows[:index] + rows[index + 1 :]
        if len(rest) >= LEAST_ITEMS and breaks(rest):
            rows = rest
    return rows


def _simplest(rows: Rows, cell: tuple[int, int], feature: Feature, breaks: Breaks) -> Rows:
    """Replace one value by the first simpler one that still breaks the invariant."""
    for value in _simpler(rows[cell[0]][cell[1]], feature):
        changed = _with(rows, cell, value)
        if breaks(changed):
            return changed
    return _lowest(rows, cell, feature, breaks)


def _simpler(value: float, feature: Feature) -> Iterator[float]:
    for simple in (0.0, 1.0, feature.low):
        if simple == value:
            return  # it is as simple as that already
        if feature.low <= simple <= feature.high:
            yield simple


def _lowest(rows: Rows, cell: tuple[int, int], feature: Feature, breaks: Breaks) -> Rows:
    """Halve the way from a whole number that does not break to the value that does."""
    bad = float(round(rows[cell[0]][cell[1]]))
    good = max(feature.low, 0.0)
    if not good < bad or not breaks(_with(rows, cell, bad)):
        return rows
    for _ in range(_HALVINGS):
        middle = float((good + bad) // 2.0)
        if not good < middle < bad:
            break
        good, bad = (good, middle) if breaks(_with(rows, cell, middle)) else (middle, bad)
    return _with(rows, cell, bad)


def _with(rows: Rows, cell: tuple[int, int], value: float) -> Rows:
    item, column = cell
    row = (*rows[item][:column], value, *rows[item][column + 1 :])
    return [*rows[:item], row, *rows[item + 1 :]]


def smallest_question(
    kind: Kind, asked: Mapping[str, Any], breaks: Callable[[Question], bool]
) -> Values:
    """Return the smallest question found that still breaks the invariant.

    Args:
        kind: of program form.
        asked: arguments by name of a question that breaks it.
        breaks: whether a question of the contract's breaks it.
    """

    def tried(values: Values) -> bool:
        question = allowed(kind, values)
        return question is not None and breaks(question)

    ask, values = limited(tried, _MOST_PROGRAM_TRIES), dict(asked)
    while True:
        before = _weight(values)
        values = _plainer(kind, _shorter(kind, values, ask), ask)
        if _weight(values) >= before:
            return values


def allowed(kind: Kind, values: Mapping[str, Any]) -> Question | None:
    """Return a question of these arguments by name, or None where the contract allows none such."""
    assert kind.program is not None, "a kind of program form"
    try:
        question = question_of(kind, tuple(values[each.name] for each in kind.program.parameters))
    except (GnomonError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return None if outside(kind, question) else question


def question_size(question: Question) -> int:
    """Return how many numbers a question has."""
    return sum(map(size, question.terms.values()))


def _weight(values: Values) -> int:
    return len(repr(values))


def _shorter(kind: Kind, values: Values, ask: Tries) -> Values:
    """Cut stretches, long ones first, out of all arrays that share a length."""
    assert kind.program is not None
    for name, (least, _) in kind.program.dimensions.items():
        cut = length = _length(kind, values, name)
        while (cut := cut // 2) >= 1:
            start = 0
            while start < length:
                rest = _without(kind, values, name, slice(start, start + cut))
                if _length(kind, rest, name) >= least and ask(rest):
                    values, length = rest, _length(kind, rest, name)
                else:
                    start += cut
    return values


def _length(kind: Kind, values: Values, name: str) -> int:
    assert kind.program is not None
    for each in kind.program.parameters:
        if name in each.dimensions:
            rows = values[each.name]
            return len(rows) if each.dimensions[0] == name else len(rows[0])
    return 0


def _without(kind: Kind, values: Values, name: str, gone: slice) -> Values:
    assert kind.program is not None
    changed = dict(values)
    for each in kind.program.parameters:
        array = changed[each.name]
        if each.dimensions[:1] == (name,):
            array = array[: gone.start] + array[gone.stop :]
        if each.dimensions[1:] == (name,):
            array = [row[: gone.start] + row[gone.stop :] for row in array]
        changed[each.name] = array
    return changed


def _plainer(kind: Kind, values: Values, ask: Tries) -> Values:
    """Simplify numbers, then arrays: all of it at once, and where it is short one element after another."""
    assert kind.program is not None
    for each in kind.program.parameters:
        for simple in _simple(each):
            changed = values | {each.name: _filled(values[each.name], simple)}
            if changed != values and ask(changed):
                values = changed
                break
        else:
            values = _element_by_element(each, values, ask)
    return values


def _simple(parameter: Any) -> list[float]:
    number = int if parameter.integer else float
    wanted = dict.fromkeys((0.0, 1.0, float(parameter.low)))
    return [number(each) for each in wanted if parameter.low <= each <= parameter.high]


def _filled(value: Any, simple: float) -> Any:
    return [_filled(each, simple) for each in value] if isinstance(value, list) else simple


def _element_by_element(parameter: Any, values: Values, ask: Tries) -> Values:
    if not parameter.dimensions:
        return _halved(parameter, values, ask)
    places = list(_places(values[parameter.name]))
    if len(places) > _FEW:
        return values
    for place in places:
        for simple in _simple(parameter):
            changed = _placed(values[parameter.name], place, simple)
            if changed == values[parameter.name]:
                break
            if ask(values | {parameter.name: changed}):
                values = values | {parameter.name: changed}
                break
    return values


def _halved(parameter: Any, values: Values, ask: Tries) -> Values:
    """Halve the way of a whole number from the least that it may be to one that breaks the invariant."""
    good, bad = max(int(parameter.low), 0), values[parameter.name]
    if not parameter.integer or not good < bad:
        return values
    while (middle := (good + bad) // 2) > good:
        good, bad = (good, middle) if ask(values | {parameter.name: middle}) else (middle, bad)
    return values | {parameter.name: bad}


def _places(value: Any, at: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if not isinstance(value, list):
        yield at
        return
    for index, each in enumerate(value):
        yield from _places(each, (*at, index))


def _placed(value: Any, place: tuple[int, ...], simple: float) -> Any:
    if not place:
        return simple
    return [
        _placed(each, place[1:], simple) if index == place[0] else each
        for index, each in enumerate(value)
    ]


def narrowed(features: Sequence[Feature], rows: Sequence[Sequence[float]]) -> tuple[Feature, ...]:
    """Return features whose ranges hold what these rows have, for a case from a replay."""
    columns = zip(*rows, strict=True)
    return tuple(
        replace(feature, low=min(feature.low, *column), high=max(feature.high, *column))
        for feature, column in zip(features, columns, strict=True)
    )
