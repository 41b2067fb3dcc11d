"""The load balancer's benchmark: the plain loop answers as the compiled one, and every row is there."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.mark.parametrize("name", ["jsq", "ewma", "mix"])
def test_the_plain_loop_answers_as_the_compiled_replay(
    benchmark: Callable[[str], ModuleType], name: str
) -> None:
    module = benchmark("_lb_replay")
    assert module.plain_rate(module.workload(600), module.SCORES[name]) > 0.0


def test_a_plain_loop_that_answers_otherwise_is_refused(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("_lb_replay")
    monkeypatch.setattr(module, "calibration", _with_another_gain(module.calibration))
    with pytest.raises(ValueError, match="differ"):
        module.plain_rate(module.workload(600), module.SCORES["ewma"])


def _with_another_gain(calibration: Callable[..., object]) -> Callable[..., object]:
    def made(*arguments: int) -> object:
        fitted = calibration(*arguments)
        fitted.ewma_rule[:] = 0.05  # type: ignore[attr-defined]
        return fitted

    return made


def test_every_score_their_mean_and_the_peers_have_a_row(
    benchmark: Callable[[str], ModuleType],
) -> None:
    rows = benchmark("_lb_replay").rows(2000, 200, 2)
    names = [row.name.rpartition(": ")[2] for row in rows]
    assert names == ["jsq", "ewma", "mix", "geometric mean", "jsq, beside SimPy"]
    assert [row.target for row in rows] == [None, None, None, 8e6, None]
    assert rows[-1].peer or rows[-1].note == "SimPy is not installed"
