"""Traces of load: parts of them, files of them, and what is read from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.expert_placement import deployment_event, expert_placement, load_event
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.schema import DECISIONS, TABLES
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import INCUMBENT, Workload
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.splits import split
from gnomon.shadow.traces.load_columns import trace as trace_of
from gnomon.shadow.traces.load_trace import LoadTrace
from gnomon.shadow.traces.trace import load_trace, saved_kind

from . import placements

SIMULATOR = simulator_for(expert_placement)
SECOND = 10**9


@pytest.mark.parametrize("delay", [0, 2])
def test_no_part_sees_a_window_that_a_later_part_is_judged_by(delay: int) -> None:
    trace = placements.trace(60, delay=delay)
    parts = split(trace)
    judged = [set(part.index[part.first :].tolist()) for part in parts.windows().values()]
    seen = [set(part.index.tolist()) for part in parts.windows().values()]
    assert sorted(i for each in judged for i in each) == list(range(1 + delay, 60))
    for at, windows in enumerate(seen):
        assert not any(windows & later for later in judged[at + 1 :])
        assert len(windows) == len(judged[at]) + 1 + delay


@given(st.integers(-3, 50), st.integers(-3, 50), st.integers(0, 3))
def test_a_part_holds_the_judged_windows_that_were_asked_for(
    low: int, high: int, delay: int
) -> None:
    trace = placements.trace(40, delay=delay)
    part = trace.rows(slice(low, high))
    assert part.time.tolist() == trace.time[low:high].tolist()
    assert len(part) == len(trace.time[low:high])
    if len(part):
        again = part.rows(slice(0, len(part)))
        assert again.digest == part.digest
        first = int(part.index[part.first])
        assert part.index[0] == first - 1 - delay


def test_a_part_is_judged_as_in_the_whole_but_for_what_it_starts_with() -> None:
    trace = placements.trace(40, delay=1)
    calibration = SIMULATOR.draws(trace, 1, 3)[0]
    whole = SIMULATOR.replay_built_in("eplb", trace, calibration, 0)
    part = SIMULATOR.replay_built_in("eplb", trace.rows(slice(10, 30)), calibration, 0)
    assert part.outcome.tolist() == whole.outcome[10:30].tolist()
    assert part.extra["moved"][1:].tolist() == whole.extra["moved"][11:30].tolist()


def test_a_file_gives_the_trace_back(tmp_path: Path) -> None:
    trace = placements.trace(delay=1, policy="eplb")
    path = tmp_path / "load.npz"
    trace.save(path)
    assert saved_kind(path) == "expert_placement"
    again = LoadTrace.load(path)
    assert again.digest == trace.digest and again.delay == 1 and again.policy == "eplb"
    assert SIMULATOR.incumbent(again) == "baseline:eplb"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"at": np.arange(39.0)}, "column 'index' of trace 'moe.place' is not 39 long"),
        ({"at": -np.arange(40.0)}, "not in order of time"),
        ({"counts": np.full((40, 2, 16), -1)}, "a load of -1"),
        ({"counts": np.full((40, 2, 16), 10**13)}, "a load of 10000000000000"),
        ({"counts": np.zeros((40, 16), np.int64)}, "not windows x layers x experts"),
        ({"counts": np.zeros((40, 129, 16), np.int64)}, "with 1 to 128 layers"),
        ({"replicas": 15, "ranks": 1, "groups": 1, "nodes": 1}, "15 slots cannot hold 16 experts"),
        ({"ranks": 3, "groups": 1, "nodes": 1}, "20 slots do not divide among 3 ranks"),
        ({"placement": np.full((2, 20), 16)}, "begins with a placement that is none"),
        ({"placement": np.zeros((2, 19), np.int64)}, "begins with a placement that is none"),
        ({"delay": -1, "first": 0}, "a delay of -1 windows"),
        ({"first": 0}, "nothing before window 1"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(TraceError, match=says):
        placements.trace(**columns)


def stored(
    folder: Path, events: list[tuple[str, dict[str, Any]]], process: str = "a0"
) -> TraceStore:
    """Write events, a second apart, as a process recorded them."""
    records: list[Any] = [
        Workload(seq, (seq + 1) * SECOND, name, tuple(values.items()))
        for seq, (name, values) in enumerate(events)
    ]
    store = TraceStore(str(folder))
    source = Source(process, "test", "moe.place", expert_placement.name, expert_placement.version)
    store.write(tables(source, Joined(workload=records)), f"{process}-0")
    return store


def loads(trace: LoadTrace, windows: slice = slice(None)) -> list[tuple[str, dict[str, Any]]]:
    return [("load", load_event(counts)) for counts in trace.counts[windows]]


BEGIN = ("deployment", deployment_event(20, 4, 2, 4, policy="eplb"))


def test_a_store_gives_the_load_back(tmp_path: Path) -> None:
    trace = placements.trace()
    stored(tmp_path, [BEGIN, *loads(trace)])
    found = load_trace(tmp_path)
    assert isinstance(found, LoadTrace)
    assert found.counts.tolist() == trace.counts.tolist()
    assert found.placement.tolist() == trace.placement.tolist()
    assert (found.replicas, found.groups, found.nodes, found.ranks) == (20, 4, 2, 4)
    assert found.policy == "eplb" and not found.recorded and len(found) == 39
    assert found.at.tolist() == trace.at.tolist()


def test_the_longest_stretch_of_one_deployment_is_taken(tmp_path: Path) -> None:
    trace = placements.trace(90)
    other = (
        "deployment",
        deployment_event(24, 4, 2, 4, delay=2, placement=[[*range(16), *range(8)]] * 2),
    )
    events = [*loads(trace, slice(0, 4)), BEGIN, *loads(trace, slice(4, 44)), other]
    stored(tmp_path, [*events, *loads(trace, slice(44, 90))])
    found = load_trace(tmp_path)
    assert isinstance(found, LoadTrace)
    assert found.counts.tolist() == trace.counts[44:].tolist()
    assert (found.replicas, found.delay, found.first) == (24, 2, 3)
    assert found.placement[1].tolist() == [*range(16), *range(8)]


def test_one_process_of_many_is_enough(tmp_path: Path) -> None:
    trace = placements.trace(50)
    stored(tmp_path, [BEGIN, *loads(trace, slice(0, 40))], "a0")
    stored(tmp_path, [BEGIN, *loads(trace)], "a1")
    stored(tmp_path, [BEGIN, *loads(trace, slice(0, 45))], "a2")
    assert len(load_trace(tmp_path)) == 49


def changed(name: str, **values: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return a recording of which the first event of this name says something else."""
    events = [BEGIN, *loads(placements.trace())]
    at = next(i for i, event in enumerate(events) if event[0] == name)
    events[at] = (name, {**events[at][1], **values})
    return events


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (loads(placements.trace()), "no deployment event before its loads"),
        ([BEGIN], "has no load events"),
        ([BEGIN, *loads(placements.trace(20))], "20 windows in a row of one deployment and policy"),
        (changed("load", layers=0.0), "has layers 0.0; record a whole number from 1 to 128"),
        (changed("load", experts=16.5), "has experts 16.5"),
        (changed("load", counts="9:x"), "packed counts begin with '9'"),
        (changed("load", counts="1:////"), "packed counts are damaged"),
        (changed("load", counts=3.0), "has no text 'counts'"),
        (changed("deployment", ranks=3.0), "20 slots do not divide among 3 ranks"),
        (changed("deployment", delay=1e9), "has delay 1000000000.0"),
        (changed("deployment", delay=float("nan")), "has delay nan"),
        (changed("deployment", policy=1.0), "has no text 'policy'"),
        (changed("deployment", placement="1:eJwDAAAAAAE="), "are not 2 x 20"),
    ],
)
def test_a_recording_that_no_replay_can_trust_is_refused(
    tmp_path: Path, events: list[tuple[str, dict[str, Any]]], says: str
) -> None:
    stored(tmp_path, events)
    with pytest.raises(TraceError, match=says):
        load_trace(tmp_path)


@pytest.mark.parametrize("lost", ["event", "pause"])
def test_a_stretch_ends_where_windows_are_missing(tmp_path: Path, lost: str) -> None:
    trace = placements.trace(80)
    events = [BEGIN, *loads(trace)]
    records: list[Any] = []
    for seq, (name, values) in enumerate(events):
        late = 60 * SECOND if lost == "pause" and seq > 30 else 0
        if lost == "pause" or seq != 30:
            time = (seq + 1) * SECOND + late
            records.append(Workload(seq, time, name, tuple(values.items())))
    store = TraceStore(str(tmp_path))
    source = Source("a0", "test", "moe.place", expert_placement.name, expert_placement.version)
    store.write(tables(source, Joined(workload=records)), "a0-0")
    found = load_trace(tmp_path)
    assert isinstance(found, LoadTrace)
    assert found.counts.tolist() == trace.counts[30:].tolist()


def decided(at: list[float], imbalance: list[float | None], policy: str = "a" * 64) -> list[Any]:
    """Return rows of the decisions table: when each was made, and what followed; None is still open."""
    return [
        {
            "process": "a0",
            "time": int(time * SECOND),
            "decision_id": number.to_bytes(16, "big"),
            "inclusion": "sampled",
            "policy": policy,
            "outcome_status": None if value is None else "reported",
            "values": [] if value is None else [("imbalance", value)],
        }
        for number, (time, value) in enumerate(zip(at, imbalance, strict=True))
    ]


def loaded(
    tmp_path: Path, windows: int, decisions: list[Any], delay: int = 0, policy: str = ""
) -> LoadTrace:
    begin = ("deployment", deployment_event(20, 4, 2, 4, delay=delay, policy=policy))
    store = stored(tmp_path, [begin, *loads(placements.trace(windows))])
    columns = set(decisions[0])
    schema = pa.schema([each for each in TABLES[DECISIONS].schema if each.name in columns])
    table = pa.Table.from_pylist(decisions, schema)
    return trace_of(store.workload("moe.place"), table, "moe.place")


@pytest.mark.parametrize("delay", [0, 2])
def test_an_outcome_is_that_of_the_window_which_judges_the_decision(
    tmp_path: Path, delay: int
) -> None:
    """Window w is recorded at second w + 2; its decision comes a moment later."""
    values: list[float | None] = [1.0 + window / 100.0 for window in range(40)]
    found = loaded(tmp_path, 40, decided([w + 2.25 for w in range(40)], values), delay)
    assert found.outcome.tolist() == values[: 39 - delay]
    assert found.recorded


def test_outcomes_are_clipped_and_of_several_decisions_the_last_counts(tmp_path: Path) -> None:
    rows = decided([2.1, 2.2, 3.1], [1.5, 1.25, 99.0])
    found = loaded(tmp_path, 40, rows)
    assert found.outcome[:2].tolist() == [1.25, 32.0]
    assert not found.recorded and np.isnan(found.outcome[2:]).all()


def test_an_outcome_that_never_came_is_unknown(tmp_path: Path) -> None:
    values: list[float | None] = [1.5] * 39
    values[7] = None
    found = loaded(tmp_path, 40, decided([w + 2.25 for w in range(39)], values))
    assert np.flatnonzero(np.isnan(found.outcome)).tolist() == [7]


def test_a_change_of_policy_ends_a_stretch(tmp_path: Path) -> None:
    one = decided([w + 2.25 for w in range(35)], [1.5] * 35)
    other = decided([w + 2.25 for w in range(35, 80)], [1.25] * 45, "b" * 64)
    for number, row in enumerate(other):
        row["decision_id"] = (100 + number).to_bytes(16, "big")
    found = loaded(tmp_path, 80, one + other)
    assert len(found.at) == 45 and set(found.outcome.tolist()) == {1.25}


@pytest.mark.parametrize(("policy", "named"), [(INCUMBENT, "eplb"), ("b" * 64, "b" * 64)])
def test_a_stretch_under_a_shipped_policy_is_not_the_services_own_functions(
    tmp_path: Path, policy: str, named: str
) -> None:
    """The deployment names what the source has; what replaced it has to be named to be beaten."""
    rows = decided([w + 2.25 for w in range(40)], [1.5] * 40, policy)
    found = loaded(tmp_path, 40, rows, policy="eplb")
    assert found.policy == named


def test_a_policy_that_is_not_published_has_to_be_named() -> None:
    from gnomon.sdk.errors import ConfigurationError

    assert SIMULATOR.incumbent(placements.trace()) == "baseline:static"
    with pytest.raises(ConfigurationError, match="under policy 'ours', which is not published"):
        SIMULATOR.incumbent(placements.trace(policy="ours"))
