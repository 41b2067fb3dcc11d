"""What the holdout's figures say: better for sure, and no worse on any guardrail, or it is not accepted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gnomon.sdk.kind import Guardrail
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
