"""Golden cases of the program form: drawn from the contract, replayed bit for bit, mismatches named."""

from __future__ import annotations

import math

import pytest

from gnomon.sdk.language import (
    Answer,
    ArrayProgram,
    check_program,
    golden_arguments,
    golden_cases,
    replay_cases,
    same_answer,
)

from .array_programs import HELPERS, HOST, contract

SOURCE = (
    HELPERS
    + "def decide(x, k, v, w, m, out, put):\n"
    + "    mark(out, v, x)\n    order = argsort(v)\n"
    + "    for i in range(len(order)):\n        put[i] = math.floor(m[order[i]])\n"
    + "    return cost(v, x) + sum(m[0]) / (k - 3)\n"
)


def program(source: str = SOURCE) -> ArrayProgram:
    """Return the checked program."""
    return check_program(source, contract(max_fuel=100_000, max_elements=10_000))


def test_cases_replay_and_come_from_the_seed() -> None:
    cases = golden_cases(program(), 64, seed=3, host=HOST)
    assert replay_cases(program(), cases, HOST) == ""
    assert [case.arguments for case in cases] == [
        case.arguments for case in golden_cases(program(), 64, seed=3, host=HOST)
    ]
    assert cases[5].arguments != golden_cases(program(), 6, seed=4, host=HOST)[5].arguments
    faults = sum(not case.answer.ok for case in cases)
    assert 0 < faults < 32, "k is 3 in some cases and in most it is not"


def test_cases_keep_to_the_contract() -> None:
    made = contract()
    lengths: list[int] = []
    seen: dict[str, set[float]] = {parameter.name: set() for parameter in made.parameters}
    for index in range(64):
        arguments = golden_arguments(made, 0, index)
        lengths.append(len(arguments[2]))  # type: ignore[arg-type]
        for parameter, argument in zip(made.parameters, arguments, strict=True):
            rows = [argument] if parameter.rank == 0 else argument
            flat = [x for row in rows for x in row] if parameter.rank == 2 else rows  # type: ignore[union-attr]
            assert all(parameter.low <= x <= parameter.high for x in flat)  # type: ignore[operator]
            assert not parameter.integer or all(x == math.floor(x) for x in flat)  # type: ignore[arg-type]
            seen[parameter.name] |= set(flat)  # type: ignore[arg-type]
    assert lengths[:2] == [1, 8], "the least and the greatest come first"
    assert len(set(lengths)) > 4
    for parameter in made.parameters:
        assert {parameter.low, parameter.high, 0.0, 1.0} <= seen[parameter.name], parameter.name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sum(m[0])", "(sum(m[0]) + 1e-9)"),
        ("argsort(v)", "argsort(-v)"),
        ("if q[i] == r", "if q[i] > r"),
        ("return cost", "return 0 + cost"),
    ],
)
def test_another_program_is_found_out(old: str, new: str) -> None:
    cases = golden_cases(program(), host=HOST)
    assert replay_cases(program(SOURCE.replace(old, new)), cases, HOST).startswith("case ")


def test_another_host_or_other_arguments_are_found_out() -> None:
    cases = golden_cases(program(), host=HOST)
    other = HOST | {"cost": lambda values, factor: 1.0}
    assert "gives" in replay_cases(program(), cases, other)
    assert "'v' must be" in replay_cases(
        program(), [cases[0]._replace(arguments=(0.0, 0.0, 1.0, *cases[0].arguments[3:]))], HOST
    )


def test_answers_are_compared_by_bits() -> None:
    answer = Answer(True, 0.0, {"out": [0.0], "put": [[1]]}, 5)
    assert same_answer(answer, Answer(True, 0.0, {"out": [0.0], "put": [[1]]}, 5))
    for other in (
        answer._replace(value=-0.0),
        answer._replace(fuel=6),
        answer._replace(ok=False),
        answer._replace(value=None),
        answer._replace(outputs={"out": [-0.0], "put": [[1]]}),
        answer._replace(outputs={"out": [0.0], "put": [[1.0]]}),
        answer._replace(outputs={"out": [0.0], "put": [[1, 2]]}),
        answer._replace(outputs={"out": [0.0]}),
    ):
        assert not same_answer(answer, other)
