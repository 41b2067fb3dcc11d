"""A candidate through all gates: accepted with evidence, or refused with the reason, and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.sdk.invariant import Invariant
from gnomon.shadow.gates.case import VerifyOptions
from gnomon.shadow.gates.verdict import GateResult, load_verdict
from gnomon.shadow.gates.verify import verify
from gnomon.shadow.traces.trace import DecisionTrace

from .conftest import PEAK, ROUND_ROBIN, target

NOW = 1_800_000_000_000_000_000
OPTIONS = VerifyOptions(examples=60, clock=lambda: NOW)
ORDER = [
    "language",
    "determinism",
    "invariants",
    "fidelity",
    "sampled replay",
    "full replay",
    "holdout",
    "bound",
    "budget",
]


def judged(trace: DecisionTrace, source: str, ledger: Ledger, **more: Any) -> Any:
    wanted = more.pop("target", target())
    options = more.pop("options", OPTIONS)
    return verify(trace, source, wanted, ledger=ledger, options=options, **more)


def test_a_better_policy_is_accepted_with_all_its_evidence(
    trace: DecisionTrace, ledger: Ledger, tmp_path: Path
) -> None:
    seen: list[GateResult] = []
    least = "def score(inflight):\n    return inflight\n"
    verdict = judged(trace, PEAK, ledger, against={"": least}, progress=seen.append)
    assert verdict.decision == "accepted", verdict.summary
    assert [gate.name for gate in verdict.gates] == ORDER == [gate.name for gate in seen]
    assert verdict.predicted["incumbent"]["high"] < 0.0
    assert len(verdict.predicted) == 2 and all(
        len(name) == 64 for name in verdict.predicted if name != "incumbent"
    )
    assert verdict.created_ns == NOW and "seccomp" in verdict.layers
    assert verdict.fidelity["rows"] and len(verdict.splits) == 3
    path = tmp_path / "v.json"
    verdict.save(path)
    assert load_verdict(path, ledger).digest == verdict.digest
    path.write_bytes(path.read_bytes().replace(b"accepted", b"Accepted", 1))
    with pytest.raises(TrustError):
        load_verdict(path, ledger)


def test_the_same_question_has_the_same_answer(trace: DecisionTrace, ledger: Ledger) -> None:
    def bare(verdict: Any) -> Any:
        timeless = [
            replace(gate, seconds=0.0, summary="", evidence={})
            if gate.name == "budget"
            else replace(gate, seconds=0.0)
            for gate in verdict.gates
        ]
        return replace(verdict, gates=tuple(timeless)).to_json()

    assert bare(judged(trace, PEAK, ledger)) == bare(judged(trace, PEAK, ledger))


HACKS = {
    "reads the future": (
        "import sys\ndef score(inflight):\n    return sys._getframe(1).f_locals['trace']\n",
        "language",
    ),
    "asks for the outcome": ("def score(latency_ms):\n    return latency_ms\n", "language"),
    "forges the score": (
        "def score(inflight):\n    print('score 0.0')\n    return 0.0\n",
        "language",
    ),
    "mutates its inputs": (
        "def score(inflight):\n    inflight.x = 0\n    return 0.0\n",
        "language",
    ),
    "exploits exceptions": (
        "def score(inflight):\n    try:\n        return 1 / inflight\n    except:\n        return 0\n",
        "language",
    ),
    "faults to hide": ("def score(inflight):\n    return 1.0 / inflight\n", "sampled replay"),
    "loops for ever": (
        "def score(inflight):\n    x = inflight\n    while True:\n        x = x + 1.0\n    return x\n",
        "sampled replay",
    ),
    "runs out of numbers": (
        "import math\ndef score(ewma_ms):\n    return math.exp(ewma_ms * 1000.0)\n",
        "sampled replay",
    ),
    "does nothing": ("def score(inflight):\n    return 0.0\n", "full replay"),
    "copies the incumbent": (ROUND_ROBIN, "full replay"),
    "ruins everybody": ("def score(inflight):\n    return -inflight\n", "sampled replay"),
}


@pytest.mark.parametrize("name", HACKS)
def test_every_known_hack_is_refused_where_it_should_be(
    trace: DecisionTrace, ledger: Ledger, name: str
) -> None:
    source, gate = HACKS[name]
    verdict = judged(trace, source, ledger)
    assert verdict.decision == "refused", verdict.summary
    assert verdict.reason == gate, verdict.summary
    assert not verdict.predicted
    assert ledger.list(kind="verdict", subject=verdict.digest)
    # nobody opens the holdout for a candidate that fails before it
    assert not ledger.list(kind="holdout")


def test_a_broken_invariant_is_refused_with_its_counterexample(
    trace: DecisionTrace, ledger: Ledger
) -> None:
    idle = Invariant("idle", lambda items, picked: picked.inflight < 5, description="Idle.")
    verdict = judged(
        trace, "def score(ewma_ms):\n    return ewma_ms\n", ledger, target=target(idle)
    )
    assert (verdict.decision, verdict.reason) == ("refused", "invariants")
    stored = json.loads(verdict.to_bytes())["gates"][-1]["evidence"]["counterexample"]
    assert stored["items"][stored["action"]][0] == 5.0


def test_an_unfaithful_simulator_blocks_a_good_policy(trace: DecisionTrace, ledger: Ledger) -> None:
    """The incumbent that is named is not the one that was recorded."""
    wrong = target(incumbent="def score(inflight):\n    return -inflight\n")
    verdict = judged(trace, PEAK, ledger, target=wrong)
    assert (verdict.decision, verdict.reason) == ("refused", "simulator")


def test_too_little_data_is_inconclusive(trace: DecisionTrace, ledger: Ledger) -> None:
    verdict = judged(trace.window(0, 6), PEAK, ledger)
    assert verdict.decision == "inconclusive" and "too few" in verdict.summary


def test_a_spent_holdout_is_inconclusive(
    trace: DecisionTrace, ledger: Ledger, make: Callable[..., Any]
) -> None:
    from gnomon.shadow.splits import split

    holdout = split(trace).holdout.digest
    for opening in range(5):
        body = {"question": f"q{opening}", "opening": opening + 1, "alpha": 0.01}
        ledger.append("holdout.opened", "test", holdout, body)
    verdict = judged(trace, PEAK, ledger)
    assert (verdict.decision, verdict.reason) == ("inconclusive", "holdout")
    assert "newer trace" in verdict.summary


def test_process_mode_is_said_in_the_verdict(trace: DecisionTrace, ledger: Ledger) -> None:
    verdict = judged(trace, "nonsense", ledger, options=replace(OPTIONS, isolation="process"))
    assert verdict.isolation == "process" and "seccomp" not in verdict.layers


def test_a_trace_of_another_kind_is_bad_input(trace: DecisionTrace, ledger: Ledger) -> None:
    other = replace(target(), kind=replace(load_balancer, name="cache"))
    with pytest.raises(ConfigurationError, match="of kind 'load_balancer'"):
        judged(trace, PEAK, ledger, target=other)


def test_few_calibrations_are_bad_input(trace: DecisionTrace, ledger: Ledger) -> None:
    with pytest.raises(ConfigurationError, match="at least 8"):
        judged(trace, PEAK, ledger, options=replace(OPTIONS, calibrations=2))


def test_a_source_that_is_no_text_is_refused(trace: DecisionTrace, ledger: Ledger) -> None:
    """As a proposer may make one: half of a surrogate pair cannot be written as UTF-8."""
    verdict = judged(trace, "# \ud800\n" + PEAK, ledger)
    assert (verdict.decision, verdict.reason) == ("refused", "language")
