"""Columns of a cache's trace: against plain code, on disk, and by several processes at once."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.recorder import streaming
from gnomon.recorder.retention import Keep, prune
from gnomon.recorder.rows import Source
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Record, Workload, WorkloadBatch
from gnomon.shadow.traces import access_cache as _access_cache
from gnomon.shadow.traces import access_columns as _access_columns
from gnomon.shadow.traces import access_spool as _access_spool
from gnomon.shadow.traces.access_trace import DELETE, LOOKUP, SET, AccessTrace, access_trace
from gnomon.shadow.traces.trace import load_trace

from .test_access_trace import _START, HIT, MISSED, REST, begin, records, stored

COLUMNS = ("at", "instance", "key", "size", "op", "hit", "capacity", "sampled")
Access = tuple[int, float, int, int]  # key, size, op, ns since the access before


def same(one: AccessTrace, other: AccessTrace) -> bool:
    alike = (one.hook, one.start_ns, one.instances, one.policy, one.first)
    return alike == (
        other.hook,
        other.start_ns,
        other.instances,
        other.policy,
        other.first,
    ) and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "size")
        for name in COLUMNS
    )


def plain(processes: Sequence[Sequence[Access]], policy: str) -> list[list[float]]:
    """Return (time, process, key as text, size, op, hit) of every access, in plain code."""
    rows: list[list[Any]] = []
    for index, accesses in enumerate(processes):
        latest, own = 0, []
        for seq, (key, size, op, step) in enumerate(accesses, 1):
            latest = max(latest, _START + seq + step)
            own.append([latest, index, (index, key), size, op])
        kept = []
        for at, row in enumerate(own):
            if policy and row[4] == MISSED:
                after = next((each for each in own[at + 1 :] if each[2] == row[2]), None)
                brought = after is not None and after[4] in (SET, HIT)
                kept.append([*row[:3], after[3] if after and brought else math.nan, MISSED])
            elif policy and row[4] == SET:
                before = [each for each in own[:at] if each[2] == row[2]][-1:]
                if not (before and before[0][4] == MISSED):
                    kept.append(row)
            else:
                kept.append(row if policy or row[3] > 0.0 else [*row[:3], 1.0, row[4]])
        rows += kept
    rows.sort(key=lambda row: (row[0], row[1]))
    return rows


_ACCESS = st.tuples(
    st.integers(0, 5),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([MISSED, MISSED, HIT, SET, DELETE]),
    st.integers(-20, 200),
)


@settings(max_examples=40)
@given(
    processes=st.lists(st.lists(_ACCESS, min_size=1, max_size=40), min_size=1, max_size=3),
    policy=st.sampled_from(["", "lru"]),
    batch=st.sampled_from([1, 7, 1 << 16]),
    shuffle=st.randoms(use_true_random=False),
    again=st.booleans(),
)
def test_columns_are_those_of_plain_code_however_the_rows_lie(
    processes: list[list[Access]], policy: str, batch: int, shuffle: Any, again: bool
) -> None:
    processes[0].append((9, 1.0, MISSED, 300))
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "ROWS", batch)
        patch.setattr(_access_columns, "LEAST_DECISIONS", 1)
        patch.setattr(_access_spool, "CHUNK", max(batch, 5))
        store = TraceStore(Path(name) / "traces")
        for index, accesses in enumerate(processes):
            made: list[Record] = [begin(0, _START, policy=policy)]
            for seq, (key, size, op, step) in enumerate(accesses, 1):
                values = (("key", float(key)), ("size", size), ("op", float(op)))
                made.append(Workload(seq, _START + seq + step, "access", values))
            source = Source(f"{index:016x}", "shop", "things", "cache", 1)
            if again:
                store.write_records(source, made[: len(made) // 2])
            shuffle.shuffle(made)
            for part in (made[::2], made[1::2]):
                store.write_records(source, part)
        trace = access_trace(store, "things")
        mapped = access_trace(store, "things")
        assert same(trace, mapped)
    expected = plain(processes, policy)
    known: dict[Any, int] = {}
    assert trace.at.tolist() == [(row[0] - expected[0][0]) / 1e9 for row in expected]
    assert trace.instance.tolist() == [row[1] for row in expected]
    np.testing.assert_array_equal(trace.size, [row[3] for row in expected])
    assert trace.op.tolist() == [LOOKUP if row[4] == HIT else row[4] for row in expected]
    hits = [int(row[4] == HIT) if policy and row[4] in (MISSED, HIT) else -1 for row in expected]
    assert trace.hit.tolist() == hits
    for row, key in zip(expected, trace.key.tolist(), strict=True):
        assert known.setdefault(row[2], key) == key
    assert sorted(known.values()) == list(range(len(known)))


def published(store: TraceStore) -> list[Path]:
    return sorted(Path(store.files.root, ".columns").glob("*/*"))


def test_columns_are_made_once_for_a_state_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    first = access_trace(store, "things")
    with monkeypatch.context() as patch:
        patch.setattr(_access_cache, "write_columns", None)
        assert same(access_trace(TraceStore(store.files.root), "things"), first)
        assert same(load_trace(store.files.root), first)  # type: ignore[arg-type]
    (place,) = published(store)
    more = stored(tmp_path, [[begin(300, _START), *records(REST * 2, seq=301)]])
    assert len(access_trace(more, "things")) == 2 * len(REST)
    assert len(first.at) == int((first.op >= 0).sum()) == len(REST)  # mapped, though removed
    assert [place] != published(store) and len(published(store)) == 1


def test_a_store_that_changes_meanwhile_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    write = _access_columns.write_columns

    def meanwhile(*args: Any) -> Any:
        head = write(*args)
        stored(tmp_path, [records(REST, seq=201)])
        return head

    monkeypatch.setattr(_access_cache, "write_columns", meanwhile)
    assert len(access_trace(store, "things")) == len(REST)
    assert published(store) == []


def test_a_store_without_room_for_columns_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    Path(store.files.root, ".columns").write_text("in the way")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    trace = access_trace(store, "things")
    assert len(trace) == len(REST) and trace.key.max() == 6
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("damage", ["head.json", "key.npy", "size.npy", "at.npy"])
def test_columns_that_are_damaged_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    expected = access_trace(store, "things").key.tolist()
    (place,) = published(store)
    (place / damage).unlink()
    if damage == "at.npy":
        np.save(place / damage, np.full(len(REST), -1.0)[::-1].cumsum())  # sound, but no times
    else:
        (place / damage).write_bytes(b"not this")
    assert access_trace(store, "things").key.tolist() == expected
    monkeypatch.setattr(_access_cache, "write_columns", None)
    assert access_trace(store, "things").key.tolist() == expected


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path: Path) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    place = Path(store.files.root, ".columns", "hook=things")
    for name, age in (("old", 90_000.0), ("new", 60.0)):
        folder = place / f".{name}.tmp"
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    access_trace(store, "things")
    assert [each.name for each in place.glob(".*")] == [".new.tmp"]


def test_pruning_removes_what_was_made_of_it(tmp_path: Path) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    access_trace(store, "things")
    keep = Keep(now_ns=_START + 10**15, older_than_s=0.0)
    prune(store, keep, dry_run=True)
    assert len(published(store)) == 1
    assert len(prune(store, keep).hours) == 1
    assert published(store) == [] and not Path(store.files.root, ".columns").exists()


_LOADS = """
import sys
from gnomon.recorder.store import TraceStore
from gnomon.shadow.traces.access_trace import access_trace
print(access_trace(TraceStore(sys.argv[1]), "things").key.tolist())
"""


def test_several_processes_make_the_same_columns_at_once(tmp_path: Path) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    command = [sys.executable, "-c", _LOADS, store.files.root]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {child.communicate(timeout=60)[0] for child in children}
    assert said == {f"{access_trace(store, 'things').key.tolist()}\n"}
    assert len(published(store)) == 1


def test_memory_does_not_grow_with_accesses(tmp_path: Path) -> None:
    """Traced allocations of ten times the accesses over the same keys stay about the same."""
    peaks = []
    for many in (20_000, 200_000):
        folder = tmp_path / str(many)
        store = stored(folder, [[begin(0, _START, policy="")]])
        columns = {"key": np.arange(many) % 50, "size": np.ones(many), "op": np.zeros(many)}
        batch = WorkloadBatch(
            1,
            "access",
            (_START + 1 + np.arange(many)).astype("<i8").tobytes(),
            tuple((name, column.astype("<f8").tobytes()) for name, column in columns.items()),
        )
        store.write_records(Source(f"{0:016x}", "shop", "things", "cache", 1), [batch])  # type: ignore[list-item]
        tracemalloc.start()
        assert len(access_trace(store, "things")) == many
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 3 * peaks[0] + 8_000_000, peaks
