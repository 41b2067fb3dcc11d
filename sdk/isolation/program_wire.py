"""What crosses the border to a program's process: a contract in words, arrays and answers as doubles.

A request is ``what, length`` and, for each parameter in the contract's order, its lengths (u4 each) and its
elements (f8, row by row). The answer is one message: ``ok, fuel, has a value, value`` and, where it is
ok, the elements of each output, whose shapes both sides know. Everything is little-endian.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from enum import IntEnum
from typing import Any

from ..language._arrays import Matrix, Term, elements
from ..language._contract import HostOperation, Parameter, ProgramContract
from ..language._program_form import FAULT, Answer

REQUEST = struct.Struct("<BI")
ANSWER = struct.Struct("<BQBd")
_LENGTHS = (struct.Struct("<"), struct.Struct("<I"), struct.Struct("<II"))
_WIDTH = 8
_PLAIN = ("entry", "returns", "max_nodes", "max_fuel", "max_elements", "fuel_from")


class What(IntEnum):
    """What is asked of a program."""

    DECIDE = 1
    REFERENCE = 2


def contract_words(contract: ProgramContract) -> dict[str, Any]:
    """Return a contract as JSON values."""
    return {
        "parameters": [asdict(each) for each in contract.parameters],
        "dimensions": {name: [*ends] for name, ends in contract.dimensions.items()},
        "operations": [asdict(each) for each in contract.operations],
        **{name: getattr(contract, name) for name in _PLAIN},
    }


def contract_of(words: Mapping[str, Any]) -> ProgramContract:
    """Return the contract that :func:`contract_words` described."""
    parameters = tuple(
        Parameter(**{**each, "dimensions": tuple(each["dimensions"])})
        for each in words["parameters"]
    )
    operations = tuple(
        HostOperation(
            **{**each, "parameters": tuple(each["parameters"]), "given": tuple(each["given"])}
        )
        for each in words["operations"]
    )
    dimensions = {name: (low, high) for name, (low, high) in words["dimensions"].items()}
    plain = {name: words[name] for name in _PLAIN}
    return ProgramContract(parameters, dimensions, operations, **plain)


def pack_terms(terms: Iterable[Term]) -> bytes:
    """Return the bytes of a call's arguments."""
    parts: list[bytes] = []
    for term in terms:
        shape = _shape(term)
        parts += (_LENGTHS[len(shape)].pack(*shape), _doubles(elements(term)))
    return b"".join(parts)


def unpack_terms(contract: ProgramContract, body: bytes) -> list[Term]:
    """Return the arguments that :func:`pack_terms` wrote."""
    terms: list[Term] = []
    at = 0
    for parameter in contract.parameters:
        lengths = _LENGTHS[parameter.rank]
        shape = lengths.unpack_from(body, at)
        at += lengths.size
        end = at + _WIDTH * _count(shape)
        terms.append(_term(_floats(body[at:end]), shape))
        at = end
    return terms


def pack_answer(contract: ProgramContract, answer: Answer) -> bytes:
    """Return the bytes of an answer."""
    has_value = answer.value is not None
    value = 0.0 if answer.value is None else answer.value  # a zero keeps its sign
    head = ANSWER.pack(answer.ok, answer.fuel, has_value, value)
    if not answer.ok:
        return head
    outputs = (answer.outputs[parameter.name] for parameter in contract.outputs)
    return head + b"".join(_doubles(_flat(rows)) for rows in outputs)


def answer_size(contract: ProgramContract, terms: Mapping[str, Term]) -> int:
    """Return the bytes of an answer that is ok."""
    counts = (_count(_shape(terms[parameter.name])) for parameter in contract.outputs)
    return ANSWER.size + _WIDTH * sum(counts)


def unpack_answer(contract: ProgramContract, terms: Mapping[str, Term], body: bytes) -> Answer:
    """Return the answer that :func:`pack_answer` wrote to a call with these arguments.

    Raises:
        ValueError: it is what no checked program answers: a value where the contract has none, or none where
            it has one, more fuel than there is, a number that is not finite, or not whole where it is
            declared so.
    """
    ok, fuel, has_value, value = ANSWER.unpack_from(body)
    if not ok:
        return FAULT
    if has_value != contract.returns or fuel > contract.max_fuel or not math.isfinite(value):
        raise ValueError("a value or fuel that no program leaves")
    outputs: dict[str, list[Any]] = {}
    at = ANSWER.size
    for parameter in contract.outputs:
        shape = _shape(terms[parameter.name])
        end = at + _WIDTH * _count(shape)
        numbers: list[Any] = _floats(body[at:end])
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a number that is not finite")
        if parameter.integer:
            numbers = _whole(numbers)
        outputs[parameter.name] = _rows(numbers, shape)
        at = end
    return Answer(True, value if has_value else None, outputs, fuel)


def _shape(term: Term) -> tuple[int, ...]:
    if isinstance(term, Matrix):
        return len(term), term.columns
    return (len(term),) if isinstance(term, list) else ()


def _count(shape: Sequence[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _term(numbers: list[float], shape: Sequence[int]) -> Term:
    if not shape:
        return numbers[0]
    return Matrix(_rows(numbers, shape), shape[1]) if len(shape) == 2 else numbers


def _rows(numbers: list[Any], shape: Sequence[int]) -> list[Any]:
    if len(shape) == 1:
        return numbers
    rows, columns = shape
    return [numbers[row * columns : (row + 1) * columns] for row in range(rows)]


def _flat(rows: list[Any]) -> Iterable[float]:
    nested = rows and isinstance(rows[0], list)
    return (each for row in rows for each in row) if nested else rows


def _whole(numbers: list[float]) -> list[int]:
    if not all(number.is_integer() for number in numbers):
        raise ValueError("a number that is not whole")
    return [int(number) for number in numbers]


def _doubles(numbers: Iterable[float]) -> bytes:
    packed = array("d", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _floats(data: bytes) -> list[float]:
    packed = array("d", data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()
