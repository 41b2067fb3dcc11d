"""The simulator from outside against a naive one, and its seams with the shadow.

In plain Python around a compiled score it makes about 75,000 decisions a second on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.sdk.language import check
from gnomon.sdk.records import Decision, Outcome, Record, Workload
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.policy import ScorePolicy, baseline_policy
from gnomon.shadow.simulators import (
    drive,
    load_calibrations,
    save_calibrations,
    simulator_for,
)

from .lane_world import Job, World, bursts, longest_wait, trace_of
from .outside.lane_plugin.kind import lanes
from .outside.lane_plugin.recording import NOISE, WAITING, LaneTrace
from .outside.lane_plugin.simulator import LaneCalibration, LaneReplay, LaneSimulator

GAP_S = 0.0002
C_MU = (
    "def score(waiting, priority, service_ms):\n"
    "    return min(waiting, 1.0) * priority / max(service_ms, 0.01)\n"
)


@pytest.fixture(scope="module")
def trace() -> LaneTrace:
    worlds = [bursts(8.0, seed) for seed in (1, 2)]
    starts = [World(jobs, 2, _gaps(len(jobs))).run(longest_wait) for jobs in worlds]
    return trace_of(worlds, starts)


@pytest.fixture
def simulator() -> LaneSimulator:
    found = simulator_for(lanes)
    assert isinstance(found, LaneSimulator)
    return found


def test_the_fit_finds_the_workers_and_the_gap(trace: LaneTrace, simulator: LaneSimulator) -> None:
    fitted = simulator.calibrate(trace)
    assert fitted.workers.tolist() == [2, 2]
    assert fitted.gap_ms[0] == pytest.approx(1e3 * GAP_S, rel=0.1)
    drawn = simulator.draws(trace, 8, seed=1)
    assert len({each.digest for each in drawn}) == 8
    assert all(np.abs(each.scale - 1.0).max() < 0.2 for each in drawn)
    again = simulator.draws(trace, 8, seed=1)
    assert [each.digest for each in again] == [each.digest for each in drawn]


@pytest.mark.parametrize("how", ["recorded", "incumbent"])
def test_the_recording_is_reproduced(how: str, trace: LaneTrace, simulator: LaneSimulator) -> None:
    fitted = simulator.calibrate(trace)
    policy = baseline_policy("longest_wait_first", lanes)
    replay = (
        simulator.recorded(trace, fitted, 0)
        if how == "recorded"
        else policy.replay(simulator, trace, fitted, 0)
    )
    np.testing.assert_allclose(replay.outcome, trace.outcome, rtol=1e-6, atol=1e-6)
    assert fidelity(trace, policy, simulator, fitted, replicas=2).answer == "ok"


JOBS = st.lists(
    st.tuples(
        st.floats(1e-4, 0.02), st.integers(0, 2), st.floats(0.1, 20.0), st.floats(1e-5, 0.003)
    ),
    min_size=1,
    max_size=25,
)


@given(drawn=JOBS, workers=st.integers(1, 3), seed=st.integers(0, 9))
def test_any_choice_gives_what_a_naive_world_gives(
    drawn: list[tuple[float, int, float, float]], workers: int, seed: int
) -> None:
    arrivals = np.cumsum([step for step, *_ in drawn]).tolist()
    jobs = [Job(at, lane, ms) for at, (_, lane, ms, _) in zip(arrivals, drawn, strict=True)]
    gaps = [gap for *_, gap in drawn]
    recorded = World(jobs, workers, gaps).run(longest_wait)
    starts = World(jobs, workers, gaps).run(_random_choice(seed))
    trace, choose = trace_of([jobs], [recorded]), _random_choice(seed)
    calibration = LaneCalibration(np.array([workers]), np.ones(3), np.ones(1), np.zeros(1))
    seen: list[Any] = []

    def see(_process: int, rows: Any) -> int:
        seen.append(rows[:, :NOISE].tolist())
        return int(choose(rows.tolist()))

    replay: Any = drive(LaneSimulator().stream(trace, calibration, 0), trace, see)
    np.testing.assert_allclose(seen, [np.array(s.rows)[:, :NOISE] for s in starts], atol=1e-6)
    waits = {s.job: (s.time - jobs[s.job].arrival) * 1e3 for s in starts}
    np.testing.assert_allclose(replay.wait_ms, [waits[s.job] for s in recorded], atol=1e-6)
    assert all(invariant.holds(replay.summary()) for invariant in _replay_invariants())


@pytest.mark.parametrize("source", [C_MU, lanes.baselines["priority_first"].source])
def test_compiled_and_asked_agree_bit_for_bit(
    source: str, trace: LaneTrace, simulator: LaneSimulator
) -> None:
    fitted = simulator.calibrate(trace)
    program = check(source, lanes.input_names)
    plain = program.bind()

    def choose(_process: int, rows: Any) -> int:
        keys = [(-plain(*row), row[NOISE]) for row in rows.tolist()]
        return keys.index(min(keys))

    asked = drive(simulator.stream(trace, fitted, 3), trace, choose)
    compiled = simulator.compiled(trace, fitted, 3, compile_score(program), lanes.order)
    assert asked.outcome.tobytes() == compiled.outcome.tobytes()
    assert compiled.fault == -1


def test_serving_by_cost_beats_serving_by_age(trace: LaneTrace, simulator: LaneSimulator) -> None:
    fitted = simulator.calibrate(trace)
    means = {
        name: baseline_policy(name, lanes).replay(simulator, trace, fitted, 0).mean
        for name in lanes.baselines
    }
    oldest = means.pop("longest_wait_first")
    means["c_mu"] = ScorePolicy("c_mu", C_MU, lanes).replay(simulator, trace, fitted, 0).mean
    assert max(means.values()) < oldest / 1.5


def test_an_empty_lane_ends_a_replay(trace: LaneTrace, simulator: LaneSimulator) -> None:
    fitted = simulator.calibrate(trace)
    last = "def score(priority):\n    return -priority\n"
    replay: Any = ScorePolicy("last", last, lanes).replay(simulator, trace, fitted, 0)
    assert 0 <= replay.fault < len(trace)
    assert np.isnan(replay.mean)
    (invariant,) = _replay_invariants()
    assert not invariant.holds(replay.summary())
    assert isinstance(replay, LaneReplay)


def test_an_unknown_built_in_is_refused(trace: LaneTrace, simulator: LaneSimulator) -> None:
    with pytest.raises(ConfigurationError, match="deficit_round_robin"):
        simulator.built_in("round_robin", trace, 0)


def test_traces_and_calibrations_come_back_from_files(
    trace: LaneTrace, simulator: LaneSimulator, tmp_path: Path
) -> None:
    trace.save(tmp_path / "trace.npz")
    drawn = simulator.draws(trace, 2, seed=5)
    save_calibrations(tmp_path / "drawn.npz", drawn)
    again: LaneTrace = simulator.trace_type.load(tmp_path / "trace.npz")
    restored = load_calibrations(tmp_path / "drawn.npz", simulator)
    assert again.digest == trace.digest
    assert [each.digest for each in restored] == [each.digest for each in drawn]
    assert again.service_ms.tobytes() == trace.service_ms.tobytes()


@pytest.mark.parametrize(("lost", "refused"), [(0.0, False), (0.03, False), (0.2, True)])
def test_jobs_are_found_by_what_the_policy_saw(
    lost: float, refused: bool, trace: LaneTrace, simulator: LaneSimulator, tmp_path: Path
) -> None:
    stored = _stored(trace, tmp_path / "traces", lost)
    if refused:
        with pytest.raises(TraceError, match="`job` event"):
            simulator.load(stored, "workers.next")
        return
    loaded = simulator.load(stored, "workers.next")
    if not lost:
        assert loaded.service_ms.tobytes() == trace.service_ms.tobytes()
    for lane in range(len(trace.members)):
        own = trace.action == lane
        assert loaded.service_ms[own].mean() == pytest.approx(
            trace.service_ms[own].mean(), rel=0.02
        )
    assert loaded.members == trace.members
    np.testing.assert_allclose(loaded.outcome, trace.outcome)


def _gaps(n: int) -> list[float]:
    """Return gaps of which some are long, as on a machine with other things to do."""
    gaps: list[float] = np.random.default_rng(0).lognormal(np.log(GAP_S), 1.0, n).tolist()
    return gaps


def _replay_invariants() -> list[Any]:
    return [each for each in lanes.invariants if each.scope == "replay"]


def _random_choice(seed: int) -> Any:
    rng = np.random.default_rng(seed)

    def choose(rows: Any) -> int:
        return int(rng.choice([k for k, row in enumerate(rows) if row[WAITING] > 0.0]))

    return choose


def _stored(trace: LaneTrace, folder: Path, lost: float) -> TraceStore:
    """Return a store with the trace as its processes would have recorded it, some jobs lost."""
    store, rng = TraceStore(folder), np.random.default_rng(0)
    sink = StoreSink(store, "workers")
    for process in range(len(trace.instances)):
        hook: Any = SimpleNamespace(process_id=f"{process:016x}", name=trace.hook, kind=lanes)
        sink.write(hook, list(_records(trace, process, lambda: bool(rng.random() < lost))))
    sink.close()
    return store


def _records(trace: LaneTrace, process: int, loses: Callable[[], bool]) -> Iterator[Record]:
    yield Workload(0, 0, "members", (("names", "\n".join(trace.members)),))
    for seq, index in enumerate(np.flatnonzero(trace.instance == process).tolist()):
        at, lane = round(trace.time[index] * 1e9), int(trace.action[index])
        features = tuple(trace.features[index].ravel().tolist())
        yield Decision(
            seq, at, -1, "", "incumbent", "static", "", "incumbent", 0, -1, lane,
            len(trace.members), features, 1.0, "sampled", 0, 0,
        )  # fmt: skip
        values = (("weighted_wait_ms", float(trace.outcome[index])),)
        yield Outcome(seq, at, True, "reported", values, "incumbent", -1, at)
        if not loses():
            wait_ms, took = float(trace.features[index, lane, 1]), float(trace.service_ms[index])
            told = (("lane", float(lane)), ("wait_ms", wait_ms), ("service_ms", took))
            yield Workload(seq + 1, at, "job", told)
