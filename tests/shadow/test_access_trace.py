"""The trace of a cache: from stored accesses to columns, and windows that keep what came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.recorder.rows import Source
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Record, Workload
from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET, AccessTrace, access_trace
from gnomon.shadow.traces.trace import LEAST_DECISIONS, load_trace

from .accesses import Access, accessed, lookups

MISSED, HIT = 0, 1
_START = 1_700_000_000_000_000_000
#: Lookups that follow what a test is about, so that there are enough.
REST = [(900 + index % 7, 1.0, HIT) for index in range(LEAST_DECISIONS)]

Recorded = tuple[int, float, int]  # (key, size, op)


def begin(seq: int, time_ns: int, **given: Any) -> Workload:
    """Return the event of a cache that begins."""
    settings: dict[str, Any] = {"capacity": 4.0, "sampled": 1.0, "policy": "lru"}
    return Workload(seq, time_ns, "cache", tuple((settings | given).items()))


def records(accesses: Sequence[Recorded], seq: int = 1, step: int = 10**6) -> list[Record]:
    """Return one event per access, a millisecond apart."""
    return [
        Workload(
            seq + index,
            _START + (seq + index) * step,
            "access",
            (("key", float(key)), ("size", size), ("op", float(op))),
        )
        for index, (key, size, op) in enumerate(accesses)
    ]


def stored(folder: Path, processes: Sequence[Sequence[Record]], **source: Any) -> TraceStore:
    """Return a store with the records of some processes."""
    store = TraceStore(folder / "traces")
    for index, made in enumerate(processes):
        about: dict[str, Any] = {
            "service": "shop",
            "hook": "things",
            "kind": "cache",
            "kind_version": 1,
        } | source
        store.write_records(Source(f"{index:016x}", **about), list(made))
    return store


def read(folder: Path, accesses: Sequence[Recorded], **given: Any) -> AccessTrace:
    made: list[Record] = [begin(0, _START, **given), *records([*accesses, *REST])]
    return access_trace(stored(folder, [made]), "things")


def test_a_set_completes_the_lookup_that_missed_and_gives_it_its_size(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        [
            (1, 0.0, MISSED), (2, 0.0, MISSED), (1, 7.0, SET),  # 2 is never stored
            (1, 7.0, HIT), (1, 3.0, SET), (3, 2.0, SET),  # a replacement, and an insertion of its own
            (1, 3.0, DELETE), (1, 0.0, MISSED), (1, 3.0, DELETE), (1, 5.0, SET),  # not its completion
            (4, 0.0, MISSED), (4, 6.0, HIT),  # the set was lost on the way
        ],
    )  # fmt: skip
    ops = [LOOKUP, LOOKUP, LOOKUP, SET, SET, DELETE, LOOKUP, DELETE, SET, LOOKUP, LOOKUP]
    sizes = [7.0, np.nan, 7.0, 3.0, 2.0, 3.0, np.nan, 3.0, 5.0, 6.0, 6.0]
    assert trace.op[: len(ops)].tolist() == ops
    np.testing.assert_array_equal(trace.size[: len(sizes)], sizes)
    assert trace.key[:11].tolist() == [0, 1, 0, 0, 2, 0, 0, 0, 0, 3, 3]
    assert trace.hit[:11].tolist() == [0, 0, 1, -1, -1, -1, 0, -1, -1, 0, 1]
    assert trace.outcome[:6].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    assert (trace.policy, trace.capacity.tolist(), trace.recorded) == ("lru", [4.0], True)
    assert trace.time[:3].tolist() == pytest.approx([0.0, 0.001, 0.003])


def test_an_import_has_outcomes_that_nobody_knows(tmp_path: Path) -> None:
    trace = read(tmp_path, [(1, 3.0, MISSED), (2, 0.0, MISSED), (1, 3.0, MISSED)], policy="")
    assert not trace.recorded
    assert np.isnan(trace.outcome).all()
    assert trace.size[:3].tolist() == [3.0, 1.0, 3.0]  # every miss brings its object


def test_the_longest_stretch_under_one_setting_is_taken_of_every_process(tmp_path: Path) -> None:
    rest = len(REST)
    first = [begin(0, _START, capacity=9.0), *records([(1, 1.0, HIT)] * 5)]
    second = [begin(6, _START + 6 * 10**6), *records(REST, seq=7)]
    third = [begin(7 + rest, _START + (7 + rest) * 10**6, capacity=8.0)]
    lonely = records([(1, 1.0, HIT)] * 9)  # its beginning was not recorded
    other = [begin(0, _START, policy="fifo"), *records([(1, 1.0, HIT)] * 50)]
    more = [begin(0, _START, capacity=5.0), *records([(1, 1.0, HIT)] * 50)]
    store = stored(tmp_path, [[*first, *second, *third], lonely, other, more])
    trace = access_trace(store, "things")
    assert trace.instances == (f"{0:016x}", f"{3:016x}")
    assert trace.capacity.tolist() == [4.0, 5.0]
    assert len(trace) == rest + 50
    assert np.bincount(trace.instance).tolist() == [rest, 50]
    assert set(trace.key[trace.instance == 0]).isdisjoint(trace.key[trace.instance == 1])
    assert (np.diff(trace.at) >= 0).all()


def test_order_is_that_of_the_process_and_not_of_its_clock(tmp_path: Path) -> None:
    made = records([*[(key, 1.0, MISSED) for key in range(9)], *REST])
    assert isinstance(made[3], Workload)
    made[3] = made[3]._replace(time_ns=_START)
    trace = access_trace(stored(tmp_path, [[begin(0, _START - 1), *made]]), "things")
    assert trace.key[:9].tolist() == list(range(9))
    assert (np.diff(trace.at) >= 0).all()


@pytest.mark.parametrize(
    ("made", "about", "message"),
    [
        ([*records(REST)], {}, "no event that says"),
        ([begin(0, _START), *records(REST[:20])], {}, "20 lookups.*at least 200"),
        ([begin(0, _START)], {}, "0 lookups.*at least 200"),
        ([begin(0, _START, capacity=0.0), *records(REST)], {}, "a cache of capacity 0"),
        ([begin(0, _START, sampled=1.5), *records(REST)], {}, "with 1.5 of the keys"),
        ([begin(0, _START), *records(REST)], {"kind_version": 7}, r"version \[7\].*capture again"),
        ([begin(0, _START), *records(REST), *records(REST, seq=300)], {}, "lost 99 accesses"),
    ],
)
def test_traces_that_no_replay_can_be_faithful_to_are_refused(
    tmp_path: Path, made: list[Record], about: dict[str, object], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        access_trace(stored(tmp_path, [made], **about), "things")


def test_the_store_gives_a_cache_its_own_trace(tmp_path: Path) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    trace = load_trace(store.files.root)
    assert isinstance(trace, AccessTrace)
    assert (trace.hook, trace.kind, len(trace)) == ("things", "cache", len(REST))


_ROW: st.SearchStrategy[Access] = st.tuples(
    st.integers(0, 1),
    st.sampled_from([LOOKUP, LOOKUP, SET, DELETE]),
    st.integers(0, 5),
    st.just(1.0),
)


@given(rows=st.lists(_ROW, min_size=1, max_size=60), low=st.floats(0, 6), span=st.floats(0, 6))
def test_a_window_counts_its_own_lookups_and_keeps_all_before_them(
    rows: list[Access], low: float, span: float
) -> None:
    trace = accessed(rows, [2.0, 3.0])
    window = trace.window(low, low + span)
    inside = (trace.time >= low) & (trace.time < low + span)
    assert window.time.tolist() == trace.time[inside].tolist()
    assert len(window) == int(inside.sum())
    if len(window):
        assert window.at.tolist() == trace.at[trace.at <= window.time[-1]].tolist()
        assert window.op[window.first] == LOOKUP and window.at[window.first] == window.time[0]
        assert window.rows(slice(0, None)).digest == window.digest
    assert trace.rows(slice(0, None)).time.tolist() == trace.time.tolist()


def test_a_trace_is_saved_and_read_back_and_changes_are_noticed(tmp_path: Path) -> None:
    trace = lookups([1, 2, 1, 3], 2.0).rows(slice(1, 3))
    trace.save(tmp_path / "t.npz")
    again = AccessTrace.load(tmp_path / "t.npz")
    assert again.digest == trace.digest
    assert (again.first, len(again), again.instances) == (1, 2, trace.instances)
    longer = lookups([1, 2, 1, 3], 3.0).rows(slice(1, 3))
    assert longer.digest != trace.digest
    assert trace.block_s == pytest.approx(trace.span_s / 50)
    assert lookups([], 1.0).block_s > 0.0


@pytest.mark.parametrize(
    ("rows", "capacity", "message"),
    [
        ([(0, 9, 1, 1.0)], [1.0], "accesses that are none"),
        ([(0, LOOKUP, 1, -1.0)], [1.0], "accesses that are none"),
        ([(0, LOOKUP, 1, np.inf)], [1.0], "accesses that are none"),
        ([(3, LOOKUP, 1, 1.0)], [1.0], "accesses that are none"),
        ([(0, LOOKUP, 1, 1.0)], [0.0], "without a capacity"),
    ],
)
def test_columns_that_would_break_a_replay_are_refused(
    rows: list[Access], capacity: list[float], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        accessed(rows, capacity)


def test_no_two_caches_share_a_key_and_all_columns_are_as_long() -> None:
    trace = accessed([(0, LOOKUP, 1, 1.0), (1, LOOKUP, 1, 1.0)], [1.0, 1.0])
    with pytest.raises(TraceError, match="accesses that are none"):
        replace(trace, key=np.zeros(2, np.int32))
    with pytest.raises(TraceError, match="'hit' of trace 'things' is not 2 long"):
        replace(trace, hit=np.zeros(3, np.int8))
    with pytest.raises(TraceError, match="not in order of time"):
        replace(trace, at=np.array([1.0, 0.0]))
