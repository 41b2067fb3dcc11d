"""What a program answers is what the same text gives as ordinary Python over numpy arrays."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gnomon.sdk.language import ArrayProgram, same_bits

from .array_programs import ARGUMENTS, HOST, contract, drawn_arguments, sources
from .plain_program import plain_program
from .test_bounded import OPERATIONS, operation
from .test_program_form_tiers import usable

#: What a fold of all elements would not show: their order, and which of two is kept.
FEWER = (
    "dot(sort(v), arange(n))", "dot(argsort(v), arange(n))", "dot(reverse(v), arange(n))",
    "dot(cumsum(v), arange(n))", "dot(minimum(v, w), w)", "dot(maximum(v, 1), w)", "dot(take(v, w), v)",
    "dot(flatten(transpose(m)), flatten(m))", "dot(row_sums(m), v)", "dot(column_sums(m), v)",
    "sum(dot(m, v) * w)", "sum(where(v > w, v, w) * w)", "argmin(v) + argmax(w)",
    "sum(concat(v, w) * arange(2 * n))", "sum(column(m, n - 1) * w)", "sum(bincount(w, v, n) * w)",
    "sum(clip(v, -1, w[0]) * w)", "sum(m[n - 1] * w)", "sum(v[1:] * w[1:])", "sum(math.sqrt(abs(v)) * w)",
)  # fmt: skip

NAMES = [parameter.name for parameter in contract().parameters]


def equal_to_python(program: ArrayProgram, calls: list[tuple[Any, ...]]) -> int:
    """Assert that an answer has the same bits as Python's; return how many calls were answered."""
    decide, own = program.bind(HOST), plain_program(program.source, HOST)
    answered = 0
    for call in calls:
        answer = decide(*call)
        if not answer.ok:
            continue
        given = {
            name: np.array(term, float) if isinstance(term, list) else float(term)
            for name, term in zip(NAMES, call, strict=True)
        }
        value = float(own(**given))
        assert answer.value is not None and same_bits(answer.value, value), (call, program.source)
        for name, rows in answer.outputs.items():
            # Bit for bit, but that whole outputs are handed over as whole numbers, which know no sign of zero.
            assert np.array_equal(np.array(rows, float), given[name]), (name, call, program.source)
        answered += 1
    return answered


@settings(max_examples=80)
@given(sources(), ARGUMENTS)
def test_the_metered_tier_equals_python(source: str, calls: list[tuple[Any, ...]]) -> None:
    program = usable(source)
    if program is not None:
        equal_to_python(program, calls)


@pytest.mark.soak
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(sources(), ARGUMENTS)
def test_many_programs_equal_python(source: str, calls: list[tuple[Any, ...]]) -> None:
    program = usable(source)
    if program is not None:
        equal_to_python(program, calls)


def test_most_calls_of_a_plain_program_are_answered() -> None:
    source = (
        "import math\ndef decide(k, x, w, v, put, m, out):\n    order = argsort(-v)\n    total = 0\n"
        "    for i in range(len(order)):\n        put[i, 0] = i\n        total += v[order[i]] * 2\n"
        "    put[0] = put[0] * 2 + 1\n    out[:] = column_sums(m) + 1\n    out[0], total = total, out[0]\n"
        "    u = where(v > 1, clip(v, 0, 2), cumsum(v))\n    u *= 2\n    t = u[0:1]\n"
        "    return total + mean(u) + dot(v, v) + max(v) + min(t) + sum(i for i in range(3)) + argmax(u)\n"
    )
    program = usable(source)
    assert program is not None
    calls = [call for seed in range(6) for call in drawn_arguments(seed)]
    assert equal_to_python(program, calls) > len(calls) / 2


@pytest.mark.parametrize("text", [*OPERATIONS, *FEWER])
def test_every_operation_equals_python(text: str) -> None:
    decide = operation(text)
    own = plain_program(f"import math\ndef decide(n, v, w, m):\n    return {text}\n", {"cost": sum})
    random, answered = Random(text), 0
    for _ in range(12):
        n = random.randint(1, 6)
        numbers = [
            random.choice((-2.0, -0.5, 0.0, 1.0, 1.0, 2.5, random.gauss(0, 3))) for _ in range(n)
        ]
        matrix = [[random.gauss(0, 2) for _ in range(random.choice((n, n)))] for _ in range(n)]
        places = [float(random.randrange(n)) for _ in range(n)]
        call = (n, numbers, places, matrix)
        answer = decide(*call)
        if answer.ok:
            assert answer.value is not None
            value = own(float(n), np.array(numbers), np.array(places), np.array(matrix))
            assert same_bits(answer.value, float(value)), (call, answer.value, value)
            answered += 1
    assert answered or "sqrt" in text or "**" in text or "reshape(v, 1" in text
