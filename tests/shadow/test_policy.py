"""Policies that can be replayed: fresh state, a service's own function, and what is refused."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gnomon
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import CandidateError, ConfigurationError, LanguageError
from gnomon.shadow.isolation.lockstep import lockstep_zygote
from gnomon.shadow.policy import (
    BuiltInPolicy,
    FunctionPolicy,
    IsolatedPolicy,
    Policy,
    RecordedPolicy,
    ScorePolicy,
    baseline_policy,
    incumbent_policy,
    source_of,
)
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace

from .models import arrivals, calibration
from .queueing import demo

SIMULATOR = simulator_for(load_balancer)
NUMBERS = itertools.count()  # a hook's name is taken for as long as the process lives


def mark(function: Any, **options: Any) -> Any:
    """Return the function as a hook."""
    usual = {"item_features": lambda b: (b.inflight, b.ewma_ms, b.weight), "items": "backends"}
    return gnomon.hook(f"test.pick.{next(NUMBERS)}", kind=load_balancer, **(usual | options))(
        function
    )


def smooth(request: Any, backends: Any) -> Any:
    """Do smooth weighted round robin as services write it."""
    total = 0.0
    for backend in backends:
        backend.credit = getattr(backend, "credit", 0.0) + backend.weight
        total += backend.weight
    best = max(backends, key=lambda b: b.credit)
    best.credit -= total
    return best


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return demo(seed=1, seconds=6.0)


@pytest.fixture(scope="module")
def fitted(trace: DecisionTrace) -> Any:
    return SIMULATOR.calibrate(trace)


def actions(policy: Policy, trace: DecisionTrace, fitted: Any, seed: int = 0) -> np.ndarray:
    return policy.replay(SIMULATOR, trace, fitted, seed).action


def test_a_service_s_own_function_replays_with_state_per_process(
    trace: DecisionTrace, fitted: Any
) -> None:
    policy = FunctionPolicy(mark(smooth))
    built_in = BuiltInPolicy("smooth_weighted_round_robin")
    assert policy.tier == "plain Python"
    assert np.array_equal(actions(policy, trace, fitted), actions(built_in, trace, fitted))
    again = policy.replay(SIMULATOR, trace, fitted, 0)  # fresh state: the same once more
    assert np.array_equal(again.action, actions(built_in, trace, fitted))


def test_a_function_sees_features_names_and_a_request(trace: DecisionTrace, fitted: Any) -> None:
    seen: set[Any] = set()

    def pick(request: Any, backends: Any, retries: int = 3, *, region: Any) -> Any:
        seen.add((request.session, request.headers["X-Session"], retries, backends[0].name))
        return min(backends, key=lambda b: (b.inflight + 1) * b.ewma_ms)

    replay = FunctionPolicy(mark(pick)).replay(SIMULATOR, trace, fitted, 0)
    assert seen == {("replay", "replay", 3, "backend-0")}
    peak = baseline_policy("peak_ewma", load_balancer).replay(SIMULATOR, trace, fitted, 0)
    assert replay.mean == pytest.approx(peak.mean, rel=0.05)  # they differ in ties only


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda request, backends: backends[9], {}, "IndexError"),
        (lambda request, backends: backends[0].zone, {}, "zone"),
        (lambda request, backends: "elsewhere", {}, "ValueError"),
        (smooth, {"item_features": lambda b: (b.load, 1.0, 1.0)}, "load"),
        (smooth, {"item_features": lambda b: (b.inflight + 1, b.ewma_ms, b.weight)}, "gives"),
    ],
)
def test_a_function_that_stand_ins_do_not_suit_is_refused_with_a_remedy(
    function: Any, options: dict[str, Any], message: str, trace: DecisionTrace, fitted: Any
) -> None:
    policy = FunctionPolicy(mark(function, **options))
    with pytest.raises(ConfigurationError, match=rf"{message}.*--incumbent"):
        policy.replay(SIMULATOR, trace, fitted, 0)


def test_an_asynchronous_function_is_refused() -> None:
    async def pick(request: Any, backends: Any) -> Any:
        return backends[0]

    with pytest.raises(ConfigurationError, match="asynchronous"):
        FunctionPolicy(mark(pick))


def test_recorded_picks_are_replayed_in_a_window_too(trace: DecisionTrace, fitted: Any) -> None:
    window = trace.window(2.0, 4.0)
    assert np.array_equal(actions(RecordedPolicy(), window, fitted), window.action)


def test_built_in_policies_do_what_their_names_say() -> None:
    busy = arrivals(np.arange(300) * 0.001, 4, weights=[5.0, 1.0, 1.0, 1.0])
    slow = calibration([[0.5]] * 4, [1] * 4)
    smooth_picks = actions(BuiltInPolicy("smooth_weighted_round_robin"), busy, slow)[:16]
    assert smooth_picks.tolist() == [0, 0, 1, 0, 2, 0, 3, 0] * 2 or (
        np.bincount(smooth_picks[:8]).tolist() == [5, 1, 1, 1]
        and np.array_equal(smooth_picks[:8], smooth_picks[8:])
    )
    idle = actions(BuiltInPolicy("join_idle_queue"), busy, slow)
    assert sorted(idle[:4].tolist()) == [0, 1, 2, 3]  # four idle backends, each taken once
    two = actions(BuiltInPolicy("power_of_two_choices"), busy, slow)
    assert np.ptp(np.bincount(two)) <= 12  # nearly even, unlike
    one = actions(baseline_policy("random", load_balancer), busy, slow)
    assert np.ptp(np.bincount(one)) > 12


def test_seeds_change_what_a_built_in_draws(trace: DecisionTrace, fitted: Any) -> None:
    policy = BuiltInPolicy("power_of_two_choices")
    assert np.array_equal(actions(policy, trace, fitted, 1), actions(policy, trace, fitted, 1))
    assert not np.array_equal(actions(policy, trace, fitted, 1), actions(policy, trace, fitted, 2))


def test_an_isolated_source_decides_as_the_compiled_one_does(
    trace: DecisionTrace, fitted: Any
) -> None:
    source = load_balancer.baselines["peak_ewma"].source
    assert source is not None
    compiled = ScorePolicy("p", source, load_balancer)
    with lockstep_zygote("process") as zygote:
        isolated = IsolatedPolicy("p", source, load_balancer, zygote)
        window = trace.window(0.0, 2.0)
        runs = isolated.replays(SIMULATOR, window, fitted, (3, 4))
        for seed, run in zip((3, 4), runs, strict=True):
            expected = compiled.replay(SIMULATOR, window, fitted, seed)
            assert np.array_equal(run.outcome, expected.outcome)
        faulty = "import math\n\n\ndef score(inflight):\n    return math.sqrt(-1.0 - inflight)\n"
        with pytest.raises(CandidateError, match="faulted"):
            IsolatedPolicy("f", faulty, load_balancer, zygote).replay(SIMULATOR, window, fitted, 0)
        with pytest.raises(LanguageError):
            IsolatedPolicy("x", "import os\n", load_balancer, zygote)


def test_what_incumbents_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("a_service")
    module.pick, module.plain = mark(smooth), smooth  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_service", module)
    assert isinstance(incumbent_policy("recorded", load_balancer), RecordedPolicy)
    assert isinstance(incumbent_policy("baseline:random", load_balancer), ScorePolicy)
    assert isinstance(incumbent_policy("baseline:join_idle_queue", load_balancer), BuiltInPolicy)
    assert isinstance(incumbent_policy("a_service:pick", load_balancer), FunctionPolicy)
    for text, message in [
        ("a_service:plain", "is no hook"),
        ("a_service:nothing", "cannot import"),
        ("no_such_service:pick", "cannot import"),
        ("fastest", "is no policy"),
        ("baseline:fastest", "no baseline 'fastest'"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            incumbent_policy(text, load_balancer)


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"\xff\xfe")
    for name in ("missing.py", "latin.py"):
        with pytest.raises(ConfigurationError, match=name):
            source_of(tmp_path / name)


def test_an_unknown_built_in_is_refused(trace: DecisionTrace) -> None:
    with pytest.raises(ConfigurationError, match="join_idle_queue"):
        SIMULATOR.built_in("fastest", trace, 0)
