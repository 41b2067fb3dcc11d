"""Traces: columns that survive a file, and what is refused of a store."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.recorder.rows import Source
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Decision, Outcome, Record, Workload
from gnomon.shadow.traces.trace import DecisionTrace, broken_share, checked, load_trace

from .queueing import demo

START = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def small() -> DecisionTrace:
    return demo(seed=5, seconds=4.0)


def equal(one: DecisionTrace, other: DecisionTrace) -> bool:
    names = [field.name for field in dataclasses.fields(DecisionTrace)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_saved_trace_is_read_as_it_was(small: DecisionTrace, tmp_path: Path) -> None:
    small.save(tmp_path / "t.npz")
    again = DecisionTrace.load(tmp_path / "t.npz")
    assert equal(again, small)
    assert again.digest == small.digest


def test_a_changed_file_is_refused(small: DecisionTrace, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    small.save(path)
    with np.load(path) as stored:
        columns = dict(stored)
    columns["outcome"][3] += 1e-9
    np.savez(path, **columns)
    with pytest.raises(TraceError, match="was changed"):
        DecisionTrace.load(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a trace at all"])
def test_what_is_no_trace_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(TraceError, match="not a saved trace"):
        DecisionTrace.load(path)


def test_a_truncated_file_is_refused(small: DecisionTrace, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    small.save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(TraceError):
        DecisionTrace.load(path)


def test_a_format_from_the_future_is_refused(small: DecisionTrace, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    small.save(path)
    with np.load(path) as stored:
        columns = dict(stored)
    columns["head"] = np.array(json.dumps(json.loads(str(columns["head"])) | {"format": 99}))
    np.savez(path, **columns)
    with pytest.raises(TraceError, match="another version"):
        DecisionTrace.load(path)


def test_the_digest_is_over_every_column(small: DecisionTrace) -> None:
    for name in DecisionTrace.COLUMNS[:-1]:
        column = getattr(small, name).copy()
        last, among = column.flat[-1], {"instance": 2, "action": len(small.members), "ok": 2}
        column.flat[-1] = (last + 1) % among[name] if name in among else last + 1
        assert dataclasses.replace(small, **{name: column}).digest != small.digest


@given(low=st.floats(0, 4), high=st.floats(0, 4))
def test_a_window_holds_what_lies_in_it(low: float, high: float) -> None:
    trace = demo(seed=5, seconds=4.0)
    window = trace.window(low, high)
    inside = (trace.time >= low) & (trace.time < high)
    assert np.array_equal(window.time, trace.time[inside] if low <= high else [])
    assert np.array_equal(window.outcome, trace.outcome[inside] if low <= high else [])


def test_columns_must_fit_together(small: DecisionTrace) -> None:
    with pytest.raises(TraceError, match="'ok'"):
        dataclasses.replace(small, ok=small.ok[:-1])
    with pytest.raises(TraceError, match="order of time"):
        dataclasses.replace(small, time=small.time[::-1])
    with pytest.raises(TraceError, match="n x 3"):
        dataclasses.replace(small, members=small.members[:3])


def test_too_little_data_is_refused(small: DecisionTrace) -> None:
    checked(small.rows(slice(0, 200)))
    with pytest.raises(TraceError, match="199 decisions.*too little data"):
        checked(small.rows(slice(0, 199)))


def test_a_trace_sampled_per_call_is_refused_and_whole_windows_are_not(
    small: DecisionTrace,
) -> None:
    columns = DecisionTrace.COLUMNS

    def keep(rows: np.ndarray) -> DecisionTrace:
        return dataclasses.replace(small, **{name: getattr(small, name)[rows] for name in columns})

    assert broken_share(small) == 0.0
    per_call = np.random.default_rng(0).random(len(small)) < 0.7
    with pytest.raises(TraceError, match="sampled per call"):
        checked(keep(per_call))
    windows = (small.time % 2.0) < 1.2
    assert len(checked(keep(windows))) == windows.sum()


def decision(
    seq: int, time_ns: int, action: int, n_items: int, rows: tuple[float, ...]
) -> Decision:
    head = (seq, time_ns, -1, "", "incumbent", "static", "", "incumbent", 0, -1)
    return Decision(*head, action, n_items, rows, 1.0, "sampled", 0, 0)


def records(trace: DecisionTrace, process: int) -> list[Record]:
    """Return what a process of the trace would have recorded."""
    made: list[Record] = [Workload(0, START, "members", (("names", "\n".join(trace.members)),))]
    for seq, index in enumerate(np.flatnonzero(trace.instance == process).tolist()):
        time_ns = START + round(trace.time[index] * 1e9)
        rows = tuple(trace.features[index].ravel().tolist())
        made.append(decision(seq, time_ns, int(trace.action[index]), len(trace.members), rows))
        if index % 50 == 7:  # one in fifty is never answered
            late = time_ns + 5_000_000_000
            made.append(Outcome(seq, late, False, "missing", (), "incumbent", -1, time_ns))
            continue
        values = (("latency_ms", float(trace.outcome[index])),)
        later = time_ns + int(trace.outcome[index] * 1e6)
        made.append(Outcome(seq, later, True, "reported", values, "incumbent", -1, time_ns))
    return made


def stored(trace: DecisionTrace, folder: Path) -> TraceStore:
    store = TraceStore(folder)
    for process, name in enumerate(trace.instances):
        source = Source(name, "router", "router.pick", "load_balancer", 1)
        store.write_records(source, records(trace, process))
    return store


def test_a_store_gives_the_trace_that_was_recorded(small: DecisionTrace, tmp_path: Path) -> None:
    stored(small, tmp_path)
    trace = load_trace(tmp_path)
    assert (trace.hook, trace.kind) == ("router.pick", "load_balancer")
    assert (trace.members, trace.instances) == (small.members, small.instances)
    assert np.allclose(trace.time, small.time - small.time[0], atol=1e-8)
    assert np.array_equal(trace.action, small.action)
    assert np.array_equal(trace.features, small.features)
    assert np.array_equal(trace.instance, small.instance)
    missing = np.arange(len(small)) % 50 == 7
    assert np.array_equal(trace.ok, ~missing)
    assert (trace.outcome[missing] == 2000.0).all()
    assert np.allclose(trace.outcome[~missing], small.outcome[~missing])


def test_what_was_still_open_when_the_recording_stopped_is_no_failure(
    small: DecisionTrace, tmp_path: Path
) -> None:
    made = [each for each in records(small, 1) if getattr(each, "status", "") != "missing"]
    own = np.flatnonzero(small.instance == 1)
    TraceStore(tmp_path).write_records(
        Source(small.instances[1], "router", "router.pick", "load_balancer", 1), made
    )
    trace = load_trace(tmp_path)
    unanswered = own % 50 == 7
    still_open = unanswered & (small.time[own] > small.time[own][-1] - 5.0)
    assert 0 < still_open.sum() <= unanswered.sum()
    assert len(trace) == len(own) - still_open.sum()
    assert (~trace.ok).sum() == (unanswered & ~still_open).sum()


def test_what_is_written_twice_counts_once(small: DecisionTrace, tmp_path: Path) -> None:
    stored(small, tmp_path)
    stored(small, tmp_path)
    assert len(load_trace(tmp_path)) == len(small)


def test_a_change_of_members_leaves_the_longest_stretch(
    small: DecisionTrace, tmp_path: Path
) -> None:
    source = Source(small.instances[0], "router", "router.pick", "load_balancer", 1)
    made = records(small, 0)
    when = START + 3_000_000_000
    names = "\n".join([*small.members[:3], "replacement"])
    store = TraceStore(tmp_path)
    store.write_records(source, [*made, Workload(1, when, "members", (("names", names),))])
    trace = load_trace(tmp_path, "router.pick")
    assert trace.members == small.members
    assert len(trace) == ((small.time < 3.0) & (small.instance == 0)).sum()


def test_a_canary_is_not_what_the_incumbent_did(small: DecisionTrace, tmp_path: Path) -> None:
    source = Source(small.instances[0], "router", "router.pick", "load_balancer", 1)
    later = START + 3_000_000_000
    made = [
        each._replace(policy="f" * 64)
        if isinstance(each, Decision) and each.time_ns >= later
        else each
        for each in records(small, 0)
    ]
    TraceStore(tmp_path).write_records(source, made)
    trace = load_trace(tmp_path, "router.pick")
    assert len(trace) == ((small.time < 3.0) & (small.instance == 0)).sum()


def test_a_pause_leaves_the_longest_stretch(small: DecisionTrace, tmp_path: Path) -> None:
    source = Source(small.instances[0], "router", "router.pick", "load_balancer", 1)
    later, pause = START + 3_000_000_000, 31_000_000_000
    made = [
        each._replace(time_ns=each.time_ns + pause) if each.time_ns >= later else each
        for each in records(small, 0)
    ]
    TraceStore(tmp_path).write_records(source, made)
    trace = load_trace(tmp_path, "router.pick")
    early = int(((small.time < 3.0) & (small.instance == 0)).sum())
    assert len(trace) == max(early, int((small.instance == 0).sum()) - early)
    assert trace.span_s < 30.0


def test_an_unsampled_record_is_left_out(small: DecisionTrace, tmp_path: Path) -> None:
    source = Source(small.instances[0], "router", "router.pick", "load_balancer", 1)
    fallback = [
        each._replace(inclusion="fallback") if isinstance(each, Decision) else each
        for each in records(small, 0)
    ]
    TraceStore(tmp_path).write_records(source, fallback)
    with pytest.raises(TraceError, match="no sampled decisions"):
        load_trace(tmp_path)


def test_a_store_with_nothing_or_several_hooks_asks_which(
    small: DecisionTrace, tmp_path: Path
) -> None:
    with pytest.raises(TraceError):
        load_trace(tmp_path / "nowhere")
    stored(small, tmp_path)
    other = Source("00000000000000ff", "router", "other", "load_balancer", 1)
    TraceStore(tmp_path).write_records(other, records(small, 0))
    with pytest.raises(TraceError, match="--hook"):
        load_trace(tmp_path)


def test_another_version_of_the_kind_is_refused(small: DecisionTrace, tmp_path: Path) -> None:
    source = Source(small.instances[0], "router", "router.pick", "load_balancer", 2)
    TraceStore(tmp_path).write_records(source, records(small, 0))
    with pytest.raises(TraceError, match=r"version \[2\]"):
        load_trace(tmp_path)
