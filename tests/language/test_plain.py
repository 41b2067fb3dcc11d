"""What a policy gives is what the same text gives as ordinary Python, but for a short list of differences."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings

from gnomon.sdk.language import Program, check, same_bits

from .plain import RAISES, plain
from .test_tiers import EDGES, EVERY_OPERATION, EXPRESSIONS, INPUTS, ROWS, sources, usable


def equal_to_python(program: Program, rows: list[tuple[float, ...]]) -> int:
    """Assert that CPython gives the same bits, and a fault where the policy has one; return how many did not fault."""
    score, answered = plain(program.source), 0
    bound = program.bind()
    for row in rows:
        found, reason = bound(*row), program.fault(*row)
        if reason.endswith(("out of fuel", "is not finite")):
            continue
        named = dict(zip(INPUTS, row, strict=True))
        try:
            wanted = float(score(**{name: named[name] for name in program.arguments}))
        except RAISES:
            wanted = math.nan
        assert same_bits(found, wanted), (row, found, wanted, reason, program.source)
        answered += not math.isnan(found)
    return answered


@settings(max_examples=80)
@given(sources(), ROWS)
def test_the_lowered_text_equals_python(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        equal_to_python(program, rows)


@pytest.mark.soak
@settings(max_examples=5000, suppress_health_check=list(HealthCheck))
@given(sources(), ROWS)
def test_many_lowered_texts_equal_python(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        equal_to_python(program, rows)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_every_operation_equals_python_on_every_pair_of_edges(text: str) -> None:
    pairs = [(left, right, 0.0) for left in EDGES for right in EDGES]
    assert equal_to_python(check(EVERY_OPERATION.format(text), INPUTS), pairs) > 30


@pytest.mark.parametrize(
    ("text", "row", "ours", "theirs"),
    [
        ("-(a < b)", (2.0, 1.0), -0.0, 0.0),
        ("-0 * a", (1.0, 1.0), -0.0, 0.0),
        ("a // b", (-0.0, 5.0), 0.0, -0.0),
        ("a % b", (5.0, -5.0), 0.0, -0.0),
        ("sum((1e16, a, -1e16))", (1.0, 1.0), 0.0, None),
        ("min(a * b, 1)", (1e308, 10.0), math.nan, 1.0),
        ("round(a)", (1e300, 1.0), math.nan, 1e300),
        ("2 ** 1023 * 2 / 2 ** 1023", (1.0, 1.0), math.nan, 2.0),
    ],
)
def test_the_differences_are_these(
    text: str, row: tuple[float, float], ours: float, theirs: float | None
) -> None:
    """``theirs`` is of the text as it stands; None where it depends on the version of Python."""
    found = check(f"def score(a, b):\n    return {text}\n", INPUTS).bind()(*row, 0.0)
    assert same_bits(found, ours)
    if theirs is not None:
        assert same_bits(float(eval(text, {"a": row[0], "b": row[1]})), theirs)
