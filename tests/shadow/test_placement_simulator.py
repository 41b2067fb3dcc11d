"""Replays of placements: who is asked what, what a wrong answer does, and what comes out on real routing."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.expert_placement import expert_placement, static_row
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.policy import BuiltInPolicy
from gnomon.shadow.simulators import load_calibrations, save_calibrations, simulator_for
from gnomon.shadow.simulators.expert_placement import batch, kernel
from gnomon.shadow.simulators.expert_placement.model import load_of
from gnomon.shadow.simulators.expert_placement.simulator import PlacementReplay, answered, published
from gnomon.shadow.traces.load_trace import LoadTrace

from . import placements

SIMULATOR = simulator_for(expert_placement)
NAMES = sorted(expert_placement.baselines)
BY_NAME = {each.name: each.holds for each in expert_placement.invariants}


def replayed(trace: LoadTrace, name: str, draw: int = 0) -> PlacementReplay:
    calibration: Any = SIMULATOR.restore({"draw": np.array([draw])})
    replay: Any = SIMULATOR.replay_built_in(name, trace, calibration, 0)
    return replay


def asking(trace: LoadTrace, answer: Any, calls: list[Any] | None = None) -> PlacementReplay:
    """Replay under a function of the arguments."""

    def choose(arguments: tuple[Any, ...]) -> Mapping[str, Any] | None:
        if calls is not None:
            calls.append(arguments)
        result: Mapping[str, Any] | None = answer(arguments)
        return result

    return answered(SIMULATOR.stream(trace, SIMULATOR.calibrate(trace), 0), choose)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_decision_sees_one_window_and_is_judged_by_a_later_one(delay: int) -> None:
    trace = placements.trace(40, delay=delay)
    calls: list[Any] = []
    replay = asking(trace, lambda a: {"placement": published("eplb", *a[:6])}, calls)
    assert len(calls) == len(replay.outcome) == len(trace) == 39 - delay
    assert replay.time.tolist() == trace.at[1 + delay :].tolist()
    for at, arguments in enumerate(calls):
        assert arguments[0].tolist() == trace.counts[at].tolist()
        assert arguments[1:5] == (20, 4, 2, 4)
        assert (arguments[6] == -1).all()
        judged = trace.counts[at + 1 + delay].astype(np.float64)
        most, mean, _ = kernel.judge(judged, published("eplb", *arguments[:6]), 4)
        assert replay.outcome[at] == most / mean


def test_what_is_current_is_what_was_answered_before() -> None:
    trace = placements.trace(40)
    calls: list[Any] = []
    asking(trace, lambda a: {"placement": published("snake", *a[:6]).tolist()}, calls)
    assert calls[0][5].tolist() == trace.placement.tolist()
    for before, after in pairwise(calls):
        assert after[5].tolist() == published("snake", *before[:6]).tolist()
    with pytest.raises(ValueError, match="read-only"):
        calls[0][0][0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        calls[0][5][0, 0] = 1


@given(st.integers(0, 2**20), st.sampled_from(NAMES), st.integers(0, 9))
def test_identities_of_every_replay(seed: int, name: str, draw: int) -> None:
    trace = placements.trace(34, seed=seed)
    replay = replayed(trace, name, draw)
    summary = replay.summary()
    assert BY_NAME["conservation"](summary)
    assert BY_NAME["no_group_split"](summary) == (name != "greedy_global" or summary.split == 0)
    assert (replay.outcome >= 1.0 - 1e-12).all() and (replay.outcome <= 32.0).all()
    moved = replay.extra["moved"]
    assert (0.0 <= moved).all() and (moved <= 1.0).all()
    assert name != "static" or not moved.any()
    assert replay.ok.all() and replay.fault == -1
    bound = SIMULATOR.bound(trace, SIMULATOR.restore({"draw": np.array([draw])}), 0)
    assert 1.0 - 1e-9 <= bound <= replay.mean


def test_a_policy_that_leaves_experts_out_does_not_look_better() -> None:
    trace = placements.trace(40)

    def coldest_only(arguments: tuple[Any, ...]) -> dict[str, Any]:
        cold = int(np.argmin(arguments[0].sum(axis=0)))
        return {"placement": np.full((2, 20), cold)}

    replay = asking(trace, coldest_only)
    assert set(replay.outcome.tolist()) == {32.0} and not replay.ok.any()
    assert not BY_NAME["conservation"](replay.summary())


WRONG = [
    None, {}, {"placement": None}, {"placement": [[0] * 20]}, {"placement": [[0] * 19] * 2},
    {"placement": [[0] * 20, [0] * 19]}, {"placement": [[16] * 20] * 2}, {"placement": [[-1] * 20] * 2},
    {"placement": [[0.5] * 20] * 2}, {"placement": "text"}, {"placement": [[True] * 20] * 2}, 7,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("at", [0, 5])
def test_what_is_no_placement_ends_the_replay_there(wrong: Any, at: int) -> None:
    trace = placements.trace(40)
    calls: list[Any] = []

    def choose(arguments: tuple[Any, ...]) -> Any:
        good = {"placement": published("eplb", *arguments[:6])}
        return wrong if len(calls) > at else good

    replay = asking(trace, choose, calls)
    assert replay.fault == at and len(calls) == at + 1
    assert len(replay.outcome) == len(replay.time) == len(replay.ok) == at
    assert np.isnan(replay.mean)
    assert not BY_NAME["conservation"](replay.summary())


def test_windows_without_load_are_even() -> None:
    counts = np.zeros((40, 2, 16), np.int64)
    replay = replayed(placements.trace(counts=counts), "eplb")
    assert set(replay.outcome.tolist()) == {1.0}


def test_one_layer_one_rank() -> None:
    trace = placements.trace(40, deployment=(16, 1, 1, 1), layers=1)
    assert set(replayed(trace, "eplb").outcome.tolist()) == {1.0}


def test_a_bootstrap_keeps_the_tokens_and_is_the_same_for_all() -> None:
    trace = placements.trace(40)
    first, second = SIMULATOR.draws(trace, 2, 7)
    assert [each.digest for each in SIMULATOR.draws(trace, 2, 7)] == [first.digest, second.digest]
    for window in (0, 39):
        drawn = [load_of(trace, window, each) for each in (first, second)]
        assert not np.array_equal(*drawn)
        for load in drawn:
            assert load.sum(axis=1).tolist() == trace.counts[window].sum(axis=1).tolist()
    part = trace.rows(slice(10, 20))
    assert load_of(part, 1, first).tolist() == load_of(trace, 11, first).tolist()


def test_a_bootstrap_is_unbiased() -> None:
    counts = np.full((400, 1, 16), 50)
    counts[:, 0, 3] = 250
    trace = placements.trace(400, layers=1, counts=counts)
    (calibration,) = SIMULATOR.draws(trace, 1, 0)
    mean = np.mean([load_of(trace, window, calibration) for window in range(400)], axis=0)[0]
    share = counts[0, 0] / 1000.0
    error = np.sqrt(1000.0 * share * (1.0 - share) / 400.0)
    assert (np.abs(mean - counts[0, 0]) < 4.5 * error).all()


def test_calibrations_can_be_kept(tmp_path: Path) -> None:
    trace = placements.trace()
    kept = (SIMULATOR.calibrate(trace), *SIMULATOR.draws(trace, 2, 1))
    save_calibrations(tmp_path / "c.npz", kept)
    again = load_calibrations(tmp_path / "c.npz", SIMULATOR)
    assert [each.digest for each in again] == [each.digest for each in kept]
    assert [each.describe()["load"][:6] for each in again] == ["as rec", "tokens", "tokens"]


def test_what_decisions_see() -> None:
    trace = placements.trace(200)
    seen: Any = SIMULATOR.observed(trace)
    assert 32 <= len(seen) <= 64
    for arguments in seen:
        expert_placement.question_type(*arguments)
    for what in (SIMULATOR.observed, SIMULATOR.calibrate):
        with pytest.raises(TraceError, match="no window that a decision could be judged by"):
            what(trace.rows(slice(0, 0)))


def test_a_gpu_that_is_full_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    trace = placements.trace()
    expected = replayed(trace, "eplb").outcome.tolist()
    monkeypatch.setattr(batch, "device", lambda windows: "cuda")
    monkeypatch.setattr(batch, "batched", full)
    assert replayed(trace, "eplb").outcome.tolist() == expected


def test_what_this_kind_has_not_is_refused() -> None:
    trace, nothing = placements.trace(), None
    with pytest.raises(ConfigurationError, match="no compiled tier"):
        SIMULATOR.compiled(trace, nothing, 0, nothing)
    with pytest.raises(ConfigurationError, match="placements are not recorded"):
        SIMULATOR.recorded(trace, nothing, 0)
    with pytest.raises(ConfigurationError, match="no size to vary"):
        SIMULATOR.sized(trace, 0.5)


@pytest.mark.parametrize(("policy", "answer"), [("eplb", "ok"), ("static", "beyond tolerance")])
def test_fidelity_tells_whether_the_named_policy_was_in_production(
    policy: str, answer: str
) -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.pareto(1.5, (2, 16)) * 1000.0, (220, 2, 16))
    workload = placements.trace(220, counts=counts)
    recorded = np.concatenate(([np.nan], replayed(workload, "eplb").outcome))
    trace = placements.trace(220, counts=counts, imbalance=recorded, policy=policy)
    assert trace.recorded
    found = fidelity(trace, BuiltInPolicy(policy), SIMULATOR, replicas=2)
    assert found.answer == answer


def routed(data: Path, window: int, slots: int = 72) -> LoadTrace:
    """Return real routing, task after task, for eight ranks."""
    counts: list[Any] = []
    for task in ("intent", "law"):
        with np.load(data / "moe" / f"esft_{task}_topk_ids.npz") as stored:
            ids = stored["topk_ids"]
        for low in range(0, len(ids) - window + 1, window):
            few = ids[low : low + window]
            counts.append([np.bincount(few[:, layer].ravel(), minlength=64) for layer in range(26)])
    return placements.trace(
        len(counts), deployment=(slots, 1, 1, 8), layers=26, experts=64, counts=np.array(counts)
    )


def test_real_routing(data: Path) -> None:
    """The figures of docs/reference/expert-placement.md; an oracle places by the window it is judged by."""
    trace = routed(data, 512)
    found = {name: SIMULATOR.figures(trace, replayed(trace, name)) for name in NAMES}
    balanced = {name: round(each["balancedness"], 3) for name, each in found.items()}
    assert balanced == {
        "static": 0.675, "eplb": 0.9, "greedy_global": 0.9, "snake": 0.898, "eplb_sticky": 0.9,
        "eplb_lazy": 0.903,
    }  # fmt: skip
    moved = {name: round(each["moved"], 2) for name, each in found.items()}
    assert moved == {
        "static": 0.0, "eplb": 0.84, "greedy_global": 0.84, "snake": 0.82, "eplb_sticky": 0.71,
        "eplb_lazy": 0.11,
    }  # fmt: skip
    oracle = []
    for counts in trace.counts[1:]:
        load = counts.astype(np.float64)
        most, mean, _ = kernel.judge(load, published("eplb", load, 72, 1, 1, 8, None), 8)
        oracle.append(mean / most)
    assert round(float(np.mean(oracle)), 3) == 0.991
    assert SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0) == pytest.approx(1.0, abs=1e-3)


def test_static_is_where_the_trace_begins() -> None:
    trace = placements.trace(40)
    assert trace.placement[0].tolist() == static_row(16, 20, 4, 2)
