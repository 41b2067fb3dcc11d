"""Fuel bounds what a call costs: instructions in every policy, bytes and growth in every operation on arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import (
    HostOperation,
    Parameter,
    Program,
    ProgramContract,
    check,
    check_program,
)

from . import array_programs
from .metering import instructions, most_bytes
from .slowest import climb
from .test_tiers import INPUTS, LOOPS, ROWS, sources, usable

#: Instructions of one unit of fuel, at most; of a call beside its fuel; bytes of one unit, and of a call.
PER_UNIT, PER_CALL = 24, 400
BYTES_PER_UNIT, BYTES_PER_CALL = 100, 10_000


def bounded(program: Program, rows: list[tuple[float, ...]]) -> None:
    """Assert that no row takes more instructions than the fuel allows, by the score that runs in a service."""
    score = program.bind()
    for row in rows:
        count, _ = instructions(lambda row=row: score(*row))  # type: ignore[misc]
        assert count <= PER_UNIT * program.fuel_bound + PER_CALL, (count, program.fuel_bound, row)


@settings(max_examples=60)
@given(sources(), ROWS)
def test_a_score_runs_no_longer_than_its_fuel(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        bounded(program, rows[:5])


@pytest.mark.soak
@settings(max_examples=3000, suppress_health_check=list(HealthCheck))
@given(sources(), ROWS)
def test_no_score_of_many_runs_longer(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        bounded(program, rows[:10])


@pytest.mark.parametrize("loop", LOOPS)
def test_endless_work_ends_by_its_fuel(loop: str) -> None:
    spin = "def spin(x):\n    while x > 0:\n        x -= 1\n    return 1\n"
    bounded(check(spin + "def score(a):\n" + loop, INPUTS), [(1.0, 0.0, 0.0), (1e300, 1.0, 1.0)])


NOTHING = check_program("def decide(k):\n    return k\n", array_programs.contract()).bind(
    array_programs.HOST
)


@settings(max_examples=60)
@given(array_programs.sources(), array_programs.ARGUMENTS)
def test_a_program_runs_no_longer_than_its_fuel(source: str, calls: list[tuple[Any, ...]]) -> None:
    contract = array_programs.contract()
    try:
        program = check_program(source, contract)
    except LanguageError:
        return
    decide = program.bind(array_programs.HOST)
    for call in calls[:2]:
        count, answer = instructions(lambda call=call: decide(*call))  # type: ignore[misc]
        used = answer.fuel if answer.ok else contract.max_fuel
        # What is handed over and back is the host's own.
        given, _ = instructions(lambda call=call: NOTHING(*call))  # type: ignore[misc]
        assert count - given <= PER_UNIT * used + PER_CALL, (count, given, answer.fuel, source)


CONTRACT = ProgramContract(
    parameters=(
        Parameter("n", "1", "How many.", 1, 1e6, integer=True),
        Parameter("v", "1", "Numbers.", -9, 9, ("rows",)),
        Parameter("w", "1", "Places.", 0, 9, ("rows",), integer=True),
        Parameter("m", "1", "A matrix.", -9, 9, ("rows", "columns")),
    ),
    dimensions={"rows": (1, 1_000_000), "columns": (1, 1_000_000)},
    operations=(HostOperation("cost", "A number.", (1,), 0, fuel=10),),
    returns=True,
)
#: One of each operation, on arrays of n elements; what it gives is reduced to a number.
OPERATIONS = [
    *(f"sum(v {symbol} {other})" for symbol in ("+", "*", "/", "//", "%", "**") for other in ("v", "2")),
    *(f"sum(v {symbol} v)" for symbol in ("<", "==")),
    *(f"sum({name}(v))" for name in (
        "abs", "int", "round", "copy", "argsort", "sort", "reverse", "cumsum", "nonzero", "math.exp", "math.sin",
    )),
    *(f"{name}(v)" for name in ("len", "sum", "min", "max", "mean", "any", "all", "argmin", "argmax", "cost")),
    *(f"sum({name}(n))" for name in ("zeros", "ones", "arange")),
    "sum(full(n, 2))", "sum(concat(v, v))", "sum(take(v, w))", "sum(repeat(v, w))", "sum(bincount(w, n))",
    "sum(bincount(w, v, n))", "sum(where(v > 1, v, 0))", "sum(clip(v, 0, 1))", "sum(minimum(v, w))",
    "dot(v, v)", "sum(take(m, w))", "sum(transpose(m))", "sum(flatten(m))", "sum(reshape(v, len(v), 1))",
    "sum(reshape(v, 1, len(v)))", "sum(column(m, 0))", "sum(row_sums(m))", "sum(column_sums(m))",
    "sum(dot(m, column(m, 0) * 0 + 1)) if len(m) == shape1(m) else 0", "sum(-m + m * 2)", "sum(zeros(n, 1))",
    "sum(zeros(1, n))", "sum(zeros(n, 0))", "sum(v[0:])", "sum(m[0])",
]  # fmt: skip


def operation(text: str) -> Callable[..., Any]:
    """Return a program that runs one operation."""
    source = f"import math\ndef decide(n, v, w, m):\n    return {text}\n"
    return check_program(source, CONTRACT).bind({"cost": sum})


def arguments(n: int, tall: bool = True) -> tuple[Any, ...]:
    """Return arguments of about n elements each."""
    numbers = [1.0 + (7 * i) % 13 / 3 for i in range(n)]
    matrix = [[each] for each in numbers] if tall else [numbers]
    places = [0.0] * n
    return (n, numbers, places, matrix) if tall else (n, numbers[:1], places[:1], matrix)


@pytest.mark.parametrize("text", OPERATIONS)
@pytest.mark.parametrize("tall", [True, False])
def test_an_operation_holds_no_more_than_it_paid_for(text: str, tall: bool) -> None:
    """A matrix is tall or wide: rows cost memory even where they are empty."""
    decide, call = operation(text), arguments(2_000, tall)
    held, answer = most_bytes(lambda: decide(*call))
    nothing = operation("n")
    small, _ = most_bytes(lambda: nothing(*call))
    assert answer.ok
    assert held - small <= BYTES_PER_UNIT * answer.fuel + BYTES_PER_CALL, (held, small, answer.fuel)


@pytest.mark.parametrize("text", OPERATIONS)
def test_the_cost_of_an_operation_grows_with_its_elements(text: str) -> None:
    """In instructions: what runs in C for each element is one of a unit's own, and timed in the soak."""
    decide, nothing = operation(text), operation("n")
    for n in (50, 400):
        call = arguments(n)
        count, answer = instructions(lambda: decide(*call))  # noqa: B023
        given, _ = instructions(lambda: nothing(*call))  # noqa: B023
        assert answer.ok
        assert count - given <= PER_UNIT * answer.fuel, (count, given, answer.fuel)


def seconds(call: Callable[[], Any]) -> float:
    """Return the CPU time of a call: the least of three."""
    found = []
    for _ in range(3):
        begun = time.process_time()
        call()
        found.append(time.process_time() - begun)
    return min(found)


@pytest.mark.soak
@pytest.mark.parametrize("text", OPERATIONS)
def test_a_unit_of_fuel_buys_no_more_of_a_large_array(text: str) -> None:
    """An operation that is worse than linear in what it pays for shows here; the margin is that of a busy machine."""
    decide, nothing = operation(text), operation("n")
    small, large = arguments(2_000), arguments(40_000)
    unit = seconds(lambda: decide(*small)) / decide(*small).fuel
    handed = seconds(lambda: nothing(*large))
    found, fuel = seconds(lambda: decide(*large)), decide(*large).fuel
    assert found <= 2 * handed + 10 * unit * fuel, (text, found, handed, unit, fuel)
    assert found <= 2 * handed + 5e-6 * fuel, (text, found, handed, fuel)


@pytest.mark.soak
def test_the_slowest_score_that_can_be_found_is_bounded() -> None:
    """The figure is printed: it is what one call may take of a caller's thread before its fuel ends it."""
    worst = climb(60.0, seed=1)[0]
    print(
        f"slowest score: {worst.seconds * 1e6:.0f} us of CPU for {worst.fuel} fuel\n{worst.source}"
    )
    assert worst.seconds <= 5e-3, worst
