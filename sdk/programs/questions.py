"""A question and its answer as invariants and people see them: named, plain, checked against the contract."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigurationError
from ..invariant import Invariant
from ..language._arrays import Matrix, Term, accept, elements

if TYPE_CHECKING:
    from ..kind import Kind
    from ..language import Parameter


#: What holds for every kind of program form, whatever it declares beside.
DECLARED_RANGE = Invariant(
    "declared_range", lambda question, answer: True,
    description="Every output lies within the range that its contract declares.",
)  # fmt: skip


class Question(NamedTuple):
    """One call of a program.

    Attributes:
        terms: what the program is given, by name; as :func:`~gnomon.sdk.language._arrays.accept` copies it.
        asked: the same as ``kind.question_type``, of plain numbers and lists.
    """

    terms: dict[str, Term]
    asked: Any


def question_of(kind: Kind, arguments: Sequence[Any]) -> Question:
    """Return a call's question.

    Args:
        kind: of program form.
        arguments: in the contract's order.

    Raises:
        ConfigurationError: they are not of the shapes that the contract declares.
    """
    assert kind.program is not None, "a kind of program form"
    terms = accept(kind.program, arguments)
    parameters = kind.program.parameters
    plain = (_plain(each, terms[each.name]) for each in parameters)
    return Question(terms, kind.question_type(*plain))


def outside(kind: Kind, question: Question) -> str:
    """Return the name of an argument that lies outside of its declared range, or an empty string."""
    assert kind.program is not None, "a kind of program form"
    for each in kind.program.parameters:
        if not _within(each, [*elements(question.terms[each.name])]):
            return each.name
    return ""


def _within(parameter: Parameter, numbers: Sequence[float]) -> bool:
    """Return whether all numbers lie within the declared range; a million of them in some 40 ms."""
    if not numbers:
        return True
    nans = not all(map(math.isfinite, numbers))  # which compare with nothing
    return not nans and parameter.low <= min(numbers) and max(numbers) <= parameter.high


def answer_of(kind: Kind, outputs: Mapping[str, Any]) -> Any:
    """Return outputs as a predicate is asked, :func:`copied`."""
    return copied(kind.answer_type(**outputs))


def copied(values: Any) -> Any:
    """Return a question or an answer for a predicate: one that sorts in place must not change what is used."""
    return values._make(
        [[*row] if isinstance(row, list) else row for row in each]
        if isinstance(each, list)
        else each
        for each in values
    )


def broken_by(
    kind: Kind, invariants: Sequence[Invariant], question: Question, outputs: Mapping[str, Any]
) -> Invariant | None:
    """Return the first invariant that an answer breaks, or None; one that raises counts as broken."""
    if not invariants:
        return None
    asked, answer = copied(question.asked), answer_of(kind, outputs)
    for invariant in invariants:
        try:
            if not invariant.holds(asked, answer):
                return invariant
        except Exception:  # noqa: BLE001 - a user's predicate; its failure is a failed check
            return invariant
    return None


def objected(
    kind: Kind, invariants: Sequence[Invariant], question: Question, outputs: Mapping[str, Any]
) -> Invariant | None:
    """Return why a program's answer may not be used: declared ranges first, then the invariants; or None."""
    assert kind.program is not None, "a kind of program form"
    for each in kind.program.outputs:
        rows = outputs[each.name]
        flat = [*itertools.chain.from_iterable(rows)] if each.rank > 1 else rows
        if not _within(each, flat):
            return DECLARED_RANGE
    return broken_by(kind, invariants, question, outputs)


def outputs_of(kind: Kind, result: Any) -> dict[str, Any]:
    """Return an answer by output, as plain lists, from what a service's own function returned.

    Args:
        kind: of program form.
        result: rows of the one output; or a mapping, or a tuple in the contract's order.

    Raises:
        ConfigurationError: it is none of these.
    """
    assert kind.program is not None, "a kind of program form"
    names = [each.name for each in kind.program.outputs]
    if isinstance(result, Mapping):
        found = dict(result)
    elif len(names) == 1:
        found = {names[0]: result}
    elif isinstance(result, tuple) and len(result) == len(names):
        found = dict(zip(names, result, strict=True))
    else:
        found = {}
    if found.keys() != set(names):
        raise ConfigurationError(
            f"the answer of kind {kind.name!r} has {', '.join(names)}; a function returned "
            f"{type(result).__name__}: return the one output's rows, or a mapping by name"
        )
    return {name: lists(found[name]) for name in names}


def lists(value: Any) -> Any:
    """Return an array or a tensor as lists, and sequences as lists of what they hold."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [lists(each) for each in value] if isinstance(value, list | tuple) else value


def _plain(parameter: Parameter, term: Term) -> Any:
    number: type = int if parameter.integer else float
    if isinstance(term, Matrix):
        return [list(map(number, row)) for row in term]
    return list(map(number, term)) if isinstance(term, list) else number(term)
