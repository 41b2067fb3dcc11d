"""Golden cases: generated arguments with the answers that every place must reproduce, bit for bit."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from ..errors import ConfigurationError
from ._contract import Parameter, ProgramContract
from ._names import WHOLE_LIMIT
from ._program_form import Answer, ArrayProgram, Host
from ._vectors import same_bits

#: A number, a vector or rows.
Argument: TypeAlias = float | list[float] | list[list[float]]

_NO_HOST: Host = {}


class Case(NamedTuple):
    """One call and what it gave.

    Attributes:
        arguments: in the order of the contract's parameters; plain floats and lists of them.
        answer: of the program.
    """

    arguments: tuple[Argument, ...]
    answer: Answer


def golden_arguments(contract: ProgramContract, seed: int, index: int) -> tuple[Argument, ...]:
    """Return one case's arguments: shapes and elements from the declared ranges, edges included.

    Args:
        contract: whose parameters they are for.
        seed: the same seed gives the same arguments on every machine.
        index: of the case.
    """
    lengths = {
        name: _length(low, high, _Draws(f"{seed} {index} length {name}"), index)
        for name, (low, high) in contract.dimensions.items()
    }
    return tuple(
        _argument(parameter, lengths, _Draws(f"{seed} {index} {parameter.name}"), index)
        for parameter in contract.parameters
    )


def golden_cases(
    program: ArrayProgram, count: int = 32, seed: int = 0, host: Host = _NO_HOST
) -> tuple[Case, ...]:
    """Return ``count`` cases of a program, faults among them where it faults.

    Args:
        program: that answers.
        count: number of cases.
        seed: of the arguments.
        host: the host's operations; they must answer alike everywhere.
    """
    decide = program.bind(host)
    cases = []
    for index in range(count):
        arguments = golden_arguments(program.contract, seed, index)
        cases.append(Case(arguments, decide(*arguments)))
    return tuple(cases)


def replay_cases(program: ArrayProgram, cases: Sequence[Case], host: Host = _NO_HOST) -> str:
    """Return an empty string when a program reproduces its answers here, else the first mismatch."""
    decide = program.bind(host)
    for index, case in enumerate(cases):
        try:
            found = decide(*case.arguments)
        except ConfigurationError as error:
            return f"case {index}: {error}"
        if not same_answer(found, case.answer):
            return f"case {index}: gives {_short(found)}, not {_short(case.answer)}"
    return ""


def same_answer(left: Answer, right: Answer) -> bool:
    """Return whether two answers are one: both a fault, or the same bits for the same fuel."""
    if not (left.ok and right.ok):
        return left.ok is right.ok
    return (
        left.fuel == right.fuel
        and _same(left.value, right.value)
        and _same(left.outputs, right.outputs)
    )


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return same_bits(left, right)
    return type(left) is type(right) and bool(left == right)


def _short(answer: Answer) -> str:
    text = (
        f"{answer.value!r} and {answer.outputs!r} for {answer.fuel} fuel"
        if answer.ok
        else "a fault"
    )
    return text if len(text) <= 200 else f"{text[:197]}..."


class _Draws:
    """A stream of draws named by a text, the same on every machine."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0

    def draw(self) -> int:
        """Return 64 bits."""
        text = f"gnomon golden case {self._name} {self._next}".encode()
        self._next += 1
        bits: int = struct.unpack("<Q", hashlib.sha256(text).digest()[:8])[0]
        return bits


def _length(low: int, high: int, draws: _Draws, index: int) -> int:
    # Most lengths are small, so that cases stay small; both ends occur.
    if index % 8 == 0:
        return low
    if index % 8 == 1:
        return min(high, low + 64)
    return low + draws.draw() % (min(high - low, 15) + 1)


def _argument(
    parameter: Parameter, lengths: Mapping[str, int], draws: _Draws, index: int
) -> Argument:
    if parameter.rank == 0:
        return _element(parameter, draws, index)
    rows = [lengths[name] for name in parameter.dimensions]
    if parameter.rank == 1:
        return [_element(parameter, draws, index) for _ in range(rows[0])]
    return [[_element(parameter, draws, index) for _ in range(rows[1])] for _ in range(rows[0])]


def _element(parameter: Parameter, draws: _Draws, index: int) -> float:
    low, high = parameter.low, parameter.high
    bits = draws.draw()
    if index % 4 == 0 or (index % 4 == 1 and bits % 4 == 0):
        edges = [low, high, min(max(0.0, low), high), min(max(1.0, low), high), low / 2 + high / 2]
        value = edges[(bits >> 8) % len(edges)]
    elif index % 4 == 2:
        # Few distinct values: ties.
        value = low + (high - low) * ((bits >> 8) % 4 / 4.0)
    else:
        share = bits / 2.0**64
        value = low + (high - low) * (share * share * share if bits % 2 else share)
    if not parameter.integer:
        return value
    return float(round(min(max(value, -WHOLE_LIMIT), WHOLE_LIMIT)))
