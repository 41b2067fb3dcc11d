"""Recorded LLM requests: joined to their decisions, fitted, and reproduced."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.llm_router import llm_router
from gnomon.sdk.errors import TraceError
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.llm_router.join import joined
from gnomon.shadow.simulators.llm_router.kernel import INPUTS, NEW
from gnomon.shadow.simulators.llm_router.simulator import PromptTrace
from gnomon.shadow.traces.trace import DecisionTrace, load_trace

from ..conftest import ROOT
from .llm_replicas import Replica, play, requests

SIMULATOR = simulator_for(llm_router)


def captured(
    seed: int = 0, base: float = 0.002, rate: float = 3000.0, n: int = 600, jitter: float = 0.05
) -> PromptTrace:
    """Return requests with what three replicas written apart, of one speed each, made of them."""
    rng = np.random.default_rng(seed)
    trace = requests(rng, n=n, replicas=3, cache_blocks=60, slots=50, processes=2)

    class Timed(Replica):
        def send(
            self, now: float, new: float, output: float, blocks: object
        ) -> tuple[float, float]:
            took = (base + new / rate) * rng.lognormal(0.0, jitter)
            return super().send(now, took * self.rate, output, blocks)

    replicas = [Timed(1.0, 0.005, 50, 60) for _ in range(3)]
    rows, picks, times = play(trace, replicas, lambda rows: int(rows[:, 1].argmin()))
    return dataclasses.replace(
        trace,
        action=picks.astype(np.int32),
        ttft_ms=np.minimum((times[:, 0] - trace.at) * 1e3, 30_000.0),
        new_tokens=rows[np.arange(n), picks, 6],
    )


def decided(trace: PromptTrace, rows: np.ndarray, delay_s: float = 2e-5) -> DecisionTrace:
    """Return the decisions about these requests, as a service records them."""
    features = np.zeros((len(rows), len(trace.members), INPUTS))
    features[np.arange(len(rows)), trace.action[rows], NEW] = trace.new_tokens[rows]
    return DecisionTrace(
        hook=trace.hook,
        kind=trace.kind,
        start_ns=trace.start_ns + round(trace.at[rows[0]] * 1e9),
        members=trace.members,
        instances=trace.instances,
        time=trace.at[rows] - trace.at[rows[0]] + delay_s,
        instance=trace.instance[rows],
        action=trace.action[rows],
        features=features,
        outcome=trace.ttft_ms[rows],
        ok=np.ones(len(rows), bool),
    )


def bare(trace: PromptTrace) -> PromptTrace:
    unknown = np.full(len(trace.at), np.nan)
    action = np.full(len(trace.at), -1, np.int32)
    return dataclasses.replace(trace, action=action, ttft_ms=unknown, new_tokens=unknown)


@settings(max_examples=8)
@given(
    seed=st.integers(0, 1000),
    base=st.sampled_from([0.0, 0.004]),
    rate=st.sampled_from([1500.0, 4000.0]),
)
def test_what_a_prefill_takes_is_found(seed: int, base: float, rate: float) -> None:
    fitted = SIMULATOR.calibrate(captured(seed, base, rate))
    assert fitted.prefill_tokens_per_s == pytest.approx([rate] * 3, rel=0.08)
    assert fitted.prefill_base_s == pytest.approx([base] * 3, abs=0.0015)


@pytest.mark.parametrize("jitter", [0.05, 0.8])
def test_recorded_picks_and_the_policy_behind_them_give_what_was_recorded(jitter: float) -> None:
    trace = captured(n=1200, jitter=jitter)
    assert SIMULATOR.incumbent(trace) == "recorded"
    half = trace.rows(slice(0, 600))
    fitted = SIMULATOR.calibrate(half)  # the first half of time predicts the second
    later = trace.rows(slice(600, 1200))
    for policy in (RecordedPolicy(), baseline_policy("least_outstanding", llm_router)):
        means = [policy.replay(SIMULATOR, later, fitted, seed).mean for seed in range(10)]
        assert np.mean(means) == pytest.approx(later.outcome.mean(), rel=0.15)
    assert np.array_equal(RecordedPolicy().replay(SIMULATOR, later, fitted, 0).action, later.picked)


def test_draws_differ_by_what_the_sample_leaves_open() -> None:
    draws = SIMULATOR.draws(captured(jitter=0.3), 6, 0)
    rates = np.array([each.prefill_tokens_per_s for each in draws])
    assert len(np.unique(rates)) == rates.size
    assert rates == pytest.approx(np.full(rates.shape, 3000.0), rel=0.25)


def test_a_replica_that_was_hardly_picked_has_the_speed_that_was_said() -> None:
    trace = captured()
    action = np.where(np.arange(600) % 40 == 0, 1, trace.action % 2 * 2).astype(np.int32)
    fitted = SIMULATOR.calibrate(dataclasses.replace(trace, action=action))
    assert fitted.prefill_tokens_per_s[1] == 2000.0
    assert fitted.prefill_base_s[1] == 0.0


def test_requests_and_decisions_are_joined() -> None:
    trace = captured(n=300)
    found = joined(bare(trace), decided(trace, np.arange(40, 260)))
    assert found.recorded
    assert (found.first, len(found.at), len(found)) == (40, 260, 220)
    assert np.array_equal(found.outcome, trace.ttft_ms[40:260])
    assert np.array_equal(found.picked, trace.action[40:260])
    assert np.array_equal(found.new_tokens[40:], trace.new_tokens[40:260])
    assert (found.action[:40] == -1).all()  # they warm caches, and count for nothing
    replay = SIMULATOR.recorded(found, SIMULATOR.calibrate(found), 0)
    assert np.array_equal(replay.action, found.picked)


def test_a_few_that_were_lost_are_left_out_with_their_blocks() -> None:
    trace = captured(n=500)
    rows = np.delete(np.arange(500), [200, 333])
    found = joined(bare(trace), decided(trace, rows))
    assert found.recorded
    assert len(found) == 498
    kept = [trace.block[trace.high[k - 1] if k else 0 : trace.high[k]] for k in rows]
    assert np.array_equal(found.block, np.concatenate(kept))


@pytest.mark.parametrize(
    "rows", [np.arange(0, 500, 2), np.repeat(np.arange(250), 2)], ids=["sampled", "twice"]
)
def test_decisions_without_requests_of_their_own_are_refused(rows: np.ndarray) -> None:
    trace = captured(n=500)
    with pytest.raises(TraceError, match="just before each decision"):
        joined(bare(trace), decided(trace, rows))


def test_decisions_over_other_replicas_are_refused() -> None:
    trace = captured(n=300)
    fewer = dataclasses.replace(bare(trace), members=trace.members[:2])
    with pytest.raises(TraceError, match="over 3 replicas"):
        joined(fewer, decided(trace, np.arange(300)))


def test_the_example_is_recorded_and_reproduced(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "llm_router.py"), "3.2"]
    # make forbids scripts to find their neighbours; a person's shell does not
    env = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    trace = load_trace(tmp_path / ".gnomon" / "traces", "llm.route")
    assert isinstance(trace, PromptTrace)
    assert trace.recorded
    assert 250 <= len(trace) <= 256
    replay = SIMULATOR.recorded(trace, SIMULATOR.calibrate(trace), 0)
    assert replay.mean == pytest.approx(trace.outcome.mean(), rel=0.3)  # of a loaded machine
