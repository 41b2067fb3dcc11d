"""Answers that decide: of the holdout, better for sure or not accepted; of a program, numbers or none."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from gnomon.sdk.isolation.program_wire import pack_answer, unpack_answer
from gnomon.sdk.kind import Guardrail
from gnomon.sdk.language import Answer, Parameter, ProgramContract
from gnomon.sdk.language._arrays import accept
from gnomon.shadow.gates.effects import Effect
from gnomon.shadow.gates.replay import _answer

CASE: Any = SimpleNamespace(
    kind=SimpleNamespace(guardrails=(Guardrail("tail", "latency_ms", "p99", 0.10, relative=True),))
)
BETTER = Effect(-0.10, -0.15, -0.05)
SAME = Effect(0.0, -0.02, 0.02)


@pytest.mark.parametrize(
    ("effect", "tail", "answer"),
    [
        (BETTER, SAME, "passed"),
        (BETTER, Effect(0.05, 0.0, 0.10), "passed"),  # up to the margin
        (Effect(-0.10, -0.25, 0.01), SAME, "inconclusive"),
        (Effect(-0.10, -0.25, 0.0), SAME, "inconclusive"),
        (SAME, SAME, "inconclusive"),
        (Effect(0.10, 0.05, 0.15), SAME, "failed"),
        (Effect(0.0, 0.0, 0.0), SAME, "failed"),  # the same is not better
        (BETTER, Effect(0.05, -0.01, 0.11), "inconclusive"),
        (BETTER, Effect(0.12, 0.01, 0.20), "failed"),
        (Effect(-0.10, -0.25, 0.01), Effect(0.12, 0.01, 0.20), "failed"),
    ],
)
def test_what_is_not_shown_is_not_accepted(effect: Effect, tail: Effect, answer: str) -> None:
    said, why = _answer(CASE, effect, {"tail": tail})
    assert said == answer and bool(why) == (answer != "passed")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_does_not_come_from_a_program(number: float) -> None:
    """Of outputs that need not be whole, nothing but the host's own look at them tells."""
    shares = Parameter("shares", "1", "Of each.", 0, 1, ("parts",), writable=True)
    contract = ProgramContract((shares,), dimensions={"parts": (1, 9)})
    asked = accept(contract, ([0.0, 0.0],))
    sound = pack_answer(contract, Answer(True, None, {"shares": [0.5, 0.5]}, 9))
    assert unpack_answer(contract, asked, sound).outputs == {"shares": [0.5, 0.5]}
    forged = pack_answer(contract, Answer(True, None, {"shares": [0.5, number]}, 9))
    with pytest.raises(ValueError, match="not finite"):
        unpack_answer(contract, asked, forged)
