"""A worker that somebody else kills in the midst of a gate decides nothing about the candidate."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from gnomon.shadow.gates.replay import sampled
from gnomon.shadow.gates.verify import _decision, _timed
from gnomon.shadow.isolation.lockstep import LockstepCandidate, lockstep_zygote

from .conftest import PEAK

Make = Callable[..., Any]


def test_a_candidate_whose_worker_was_killed_is_not_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = LockstepCandidate.choose
    with lockstep_zygote() as worker:
        case = make(PEAK)
        case.zygote = worker

        def choosing(self: LockstepCandidate, batch: Any) -> Any:
            picks = choose(self, batch)
            if not worker.ended():
                os.kill(worker.pid, signal.SIGKILL)
                assert worker.ended(10.0)
            return picks

        monkeypatch.setattr(LockstepCandidate, "choose", choosing)
        result = _timed("sampled replay", sampled, case)
    assert (result.answer, _decision(result)) == ("inconclusive", "inconclusive")
    assert result.summary == (
        "The evaluator stopped (evaluator_error): the isolation process ended."
    )


def test_a_candidate_that_was_killed_itself_is(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = LockstepCandidate.choose

    def choosing(self: LockstepCandidate, batch: Any) -> Any:
        self._fork.end()
        return choose(self, batch)

    monkeypatch.setattr(LockstepCandidate, "choose", choosing)
    result = _timed("sampled replay", sampled, make(PEAK))
    assert (result.answer, result.evidence["status"]) == ("failed", "died")
