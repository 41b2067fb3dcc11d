"""Arrays at the border: what the host passes, copied in and checked; what a program wrote, copied out.

Inside, a vector is a list of floats and a matrix a list of such rows that knows its columns. A
program works on copies, so a fault leaves the host's arrays as they were.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ..errors import ConfigurationError
from ._contract import Parameter, ProgramContract
from ._names import WHOLE_LIMIT

Vector: TypeAlias = list[float]


class Matrix(list[Vector]):
    """Rows of equal length; without rows the number of columns is still known."""

    __slots__ = ("columns",)

    def __init__(self, rows: Iterable[Vector], columns: int) -> None:
        super().__init__(rows)
        self.columns = columns


Term: TypeAlias = float | Vector | Matrix


def size(term: Term) -> int:
    """Return the number of elements that an array is charged for; of a number, 0.

    A matrix is charged for one row and one column at least, so that neither comes free in any number.
    """
    if isinstance(term, Matrix):
        return max(len(term), 1) * max(term.columns, 1)
    return len(term) if isinstance(term, list) else 0


def elements(term: Term) -> Iterable[float]:
    """Return the elements in row-major order."""
    if not isinstance(term, list):
        return (term,)
    return itertools.chain.from_iterable(term) if isinstance(term, Matrix) else term


def accept(contract: ProgramContract, arguments: Sequence[Any]) -> dict[str, Term]:
    """Return fresh copies of a host's arguments, by name.

    Raises:
        ConfigurationError: an argument is missing, of the wrong shape or no number.
    """
    if len(arguments) != len(contract.parameters):
        raise ConfigurationError(
            f"{len(arguments)} arguments; the contract has {len(contract.parameters)} parameters"
        )
    lengths: dict[str, int] = {}
    accepted: dict[str, Term] = {}
    for parameter, argument in zip(contract.parameters, arguments, strict=True):
        term = copied(argument, parameter.rank, f"'{parameter.name}'")
        _check_lengths(contract.dimensions, parameter, term, lengths)
        if parameter.integer and _has_fraction(term):
            raise ConfigurationError(f"'{parameter.name}' holds a number that is not whole")
        accepted[parameter.name] = term
    return accepted


def copied(argument: Any, rank: int, what: str) -> Term:
    """Return a number, sequence, numpy array or the like as a term of a rank.

    Raises:
        ConfigurationError: it is nothing of that rank, or its rows differ in length.
    """
    raw = argument.tolist() if hasattr(argument, "tolist") else argument
    try:
        if rank == 0:
            return float(raw)
        if rank == 1:
            return _vector(raw)
        rows = [_vector(row) for row in raw] if len(raw) else []
    except (TypeError, ValueError, OverflowError):
        name = ("a number", "a sequence of numbers", "a sequence of rows of numbers")[rank]
        raise ConfigurationError(f"{what} must be {name}") from None
    if any(len(row) != len(rows[0]) for row in rows):
        raise ConfigurationError(f"{what} has rows of different lengths")
    return Matrix(rows, len(rows[0]) if rows else 0)


def _vector(raw: Any) -> Vector:
    len(raw)  # what can be read only once is left to the caller
    return list(map(float, raw))


def copy_of(term: Term) -> Term:
    """Return a term that shares nothing with another."""
    if not isinstance(term, list):
        return term
    if isinstance(term, Matrix):
        return Matrix((row.copy() for row in term), term.columns)
    return term.copy()


def unsuitable(contract: ProgramContract, terms: Mapping[str, Term]) -> str:
    """Return why a program faults before it starts, or an empty string."""
    for parameter in contract.parameters:
        if not all(map(math.isfinite, elements(terms[parameter.name]))):
            return f"input '{parameter.name}' is not finite"
    return ""


def unfinished(contract: ProgramContract, terms: Mapping[str, Term]) -> str:
    """Return why what a program wrote is no answer, or an empty string."""
    for parameter in contract.outputs:
        if parameter.integer and _has_fraction(terms[parameter.name]):
            return f"output '{parameter.name}' holds a number that is not whole"
    return ""


def released(contract: ProgramContract, terms: Mapping[str, Term]) -> dict[str, list[Any]]:
    """Return the outputs as plain lists of floats, or of ints where they are declared so."""
    return {
        parameter.name: _plain(terms[parameter.name], int if parameter.integer else float)
        for parameter in contract.outputs
    }


def _plain(term: Term, number: type) -> list[Any]:
    if isinstance(term, Matrix):
        return [list(map(number, row)) for row in term]
    assert isinstance(term, list)
    return list(map(number, term))


def _has_fraction(term: Term) -> bool:
    """Return whether a finite element is not whole, or too large to be; at once where all are whole."""
    if all(map(float.is_integer, elements(term))):
        low, high = min(elements(term), default=0.0), max(elements(term), default=0.0)
        if -WHOLE_LIMIT <= low and high <= WHOLE_LIMIT:
            return False
    return any(map(_fraction, elements(term)))


def _fraction(value: float) -> bool:
    return math.isfinite(value) and (abs(value) > WHOLE_LIMIT or value % 1.0 != 0.0)


def _check_lengths(
    dimensions: Mapping[str, tuple[int, int]],
    parameter: Parameter,
    term: Term,
    lengths: dict[str, int],
) -> None:
    shape: tuple[int, ...] = (len(term),) if isinstance(term, list) else ()
    if isinstance(term, Matrix):
        shape = (*shape, term.columns)
    for name, length in zip(parameter.dimensions, shape, strict=True):
        low, high = dimensions[name]
        if not low <= length <= high:
            raise ConfigurationError(
                f"'{parameter.name}' has {length} {name}; there may be {low} to {high}"
            )
        if lengths.setdefault(name, length) != length:
            raise ConfigurationError(
                f"'{parameter.name}' has {length} {name}, another argument {lengths[name]}"
            )
