"""Identities that every replay of the load balancer keeps, and that a broken one does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import conservation, load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.shadow.simulators import Replay, simulator_for
from gnomon.shadow.simulators.load_balancer.simulator import LoadBalancerReplay

from .models import arrivals, calibration
from .scores import score

SIMULATOR = simulator_for(load_balancer)
JSQ = "def score(inflight):\n    return inflight\n"


def replayed(
    seed: int = 0, slots: tuple[int, ...] = (1, 2, 3), name: str = "", n: int = 400
) -> LoadBalancerReplay:
    rng = np.random.default_rng(seed)
    trace = arrivals(np.cumsum(rng.exponential(0.008, n)), len(slots), 2, 40.0)
    table = np.sort(rng.lognormal(-3.5, 0.6, (len(slots), 50)), axis=1)
    spells = [(-np.inf, 1.0), (0.3, 3.0), (0.9, 0.7)]
    fitted = calibration(table.tolist(), slots, 0.002, spells, failed=0.1, lost=0.05, clip_ms=500.0)
    if name:
        return SIMULATOR.replay_built_in(name, trace, fitted, seed)
    return SIMULATOR.compiled(trace, fitted, seed, score(JSQ, load_balancer))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    slots=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    name=st.sampled_from(["", *(n for n, b in load_balancer.baselines.items() if not b.source)]),
)
def test_every_replay_keeps_them(seed: int, slots: list[int], name: str) -> None:
    summary = replayed(seed, tuple(slots), name).summary()
    assert conservation(summary)
    assert summary.present_s == pytest.approx(summary.sojourn_s, rel=1e-9)
    assert summary.busy_s == pytest.approx(summary.work_s, rel=1e-9)
    assert (summary.late_starts, summary.most_over_slots, summary.wrong_outcomes) == (0, 0, 0)


def changed(replay: LoadBalancerReplay, **columns: np.ndarray) -> LoadBalancerReplay:
    return dataclasses.replace(replay, **columns)


def lazy(replay: LoadBalancerReplay) -> LoadBalancerReplay:
    """A slot stays idle for a millisecond before each service."""
    return changed(replay, begun=replay.begun + 1e-3, answer=replay.answer + 1e-3)


def crowded(replay: LoadBalancerReplay) -> LoadBalancerReplay:
    """Everybody is served at once."""
    return changed(replay, begun=replay.time + 0.002)


def hasty(replay: LoadBalancerReplay) -> LoadBalancerReplay:
    """The last request leaves before its service is over."""
    answer = replay.answer.copy()
    answer[-1] = (replay.begun[-1] + answer[-1]) / 2.0
    return changed(replay, answer=answer)


def elsewhere(replay: LoadBalancerReplay) -> LoadBalancerReplay:
    """One request is said to have gone to another backend."""
    action = replay.action.copy()
    action[200] = (action[200] + 1) % replay.members
    return changed(replay, action=action)


def flattered(replay: LoadBalancerReplay) -> LoadBalancerReplay:
    """Outcomes are a tenth below what the requests took."""
    return changed(replay, outcome=replay.outcome * 0.9)


def twice(replay: LoadBalancerReplay) -> LoadBalancerReplay:
    """One request is lost from the outcomes."""
    return changed(
        replay, outcome=np.where(np.arange(len(replay.time)) == 7, np.nan, replay.outcome)
    )


@pytest.mark.parametrize("mutation", [lazy, crowded, hasty, elsewhere, flattered, twice])
def test_a_broken_replay_breaks_conservation(
    mutation: Callable[[LoadBalancerReplay], LoadBalancerReplay],
) -> None:
    replay = replayed()
    assert conservation(replay.summary())
    assert not conservation(mutation(replay).summary())


def test_figures_tell_imbalance_and_queues() -> None:
    trace = arrivals(np.arange(100) * 1.0, 2)
    fitted = calibration([[0.5], [0.5]])
    even = SIMULATOR.replay_built_in("smooth_weighted_round_robin", trace, fitted, 0)
    assert SIMULATOR.figures(trace, even) == pytest.approx(
        {"imbalance": 1.0, "longest_queue": 1.0, "mean_queue": 50.0 / 99.5 / 2.0}
    )
    first = score("def score(noise):\n    return 1.0\n", load_balancer)
    random = SIMULATOR.compiled(trace, fitted, 0, first)
    assert SIMULATOR.figures(trace, random)["imbalance"] >= 1.0


def test_a_replay_that_does_not_say_when_requests_were_served_has_no_books() -> None:
    plain = Replay(np.zeros(2), np.ones(2), np.ones(2, bool), np.zeros(2, int), 1)
    assert SIMULATOR.figures(arrivals([0.0, 1.0], 1), plain) == {}
    bare = LoadBalancerReplay(plain.time, plain.outcome, plain.ok, plain.action, 1)
    assert conservation(bare.summary())
    with pytest.raises(TraceError, match="replay again"):
        bare.books()
