"""Many workload events in one record: cut, sent, refused, stored and counted as so many events."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest as Request,
)
from pyarrow import fs

from gnomon import api
from gnomon.recorder.decode import decode
from gnomon.recorder.rows import Source
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.recorder.summary import summarise
from gnomon.sdk.batches import MOST_EVENTS, check_batch, events, pieces, unpacked
from gnomon.sdk.records import Workload, WorkloadBatch
from gnomon.sdk.telemetry import OtlpSink, names
from gnomon.testing import recording

from .fakes import FakeHook, accesses, batches, decision, outcome, packed
from .test_decode import attribute, one, reason
from .test_encode import encoded, exact
from .test_export import Scripted, partial, serving, sink_for
from .test_wire import recorder

SOURCE = Source("00c0ffee00c0ffee", "router", "thumbnails", "cache", 1)
_CACHE = FakeHook(name="thumbnails")
_CACHE.kind.name = "cache"


def stored(store: TraceStore) -> list[Workload]:
    """Return what a store holds, as records again, in order of their number."""
    rows = store.workload().to_pylist()
    made = [
        Workload(
            int.from_bytes(row["workload_id"][8:], "big"),
            row["time"],
            row["event"],
            tuple(row["numbers"] + row["texts"]),
        )
        for row in rows
    ]
    return sorted(made, key=lambda each: each.seq)


# --- cutting and unpacking --------------------------------------------------------------------------


@given(batches(), st.integers(0, 300))
def test_pieces_are_small_and_together_the_whole(batch: WorkloadBatch, most: int) -> None:
    parts = [*pieces(batch, most)]
    alone = [event for part in parts for event in unpacked(part)]
    assert [exact(each) for each in alone] == [exact(each) for each in unpacked(batch)]
    assert events(parts) == events([batch]) == len(alone)
    row = 8 * (1 + len(batch.values))
    assert all(len(part.times) // 8 * row <= max(most, row) for part in parts)


def test_no_piece_has_more_events_than_a_recorder_takes() -> None:
    batch = WorkloadBatch(7, "access", b"\0" * 8 * (2 * MOST_EVENTS + 1), ())
    assert [(part.seq, len(part.times) // 8) for part in pieces(batch, 1 << 30)] == [
        (7, MOST_EVENTS),
        (7 + MOST_EVENTS, MOST_EVENTS),
        (7 + 2 * MOST_EVENTS, 1),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        WorkloadBatch(0, "access", b"", ()),
        WorkloadBatch(0, "access", b"x" * 12, ()),
        WorkloadBatch(0, "access", b"x" * 16, (("key", b"x" * 8),)),
    ],
)
def test_columns_that_do_not_fit_are_refused(bad: WorkloadBatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bytes"):
        check_batch(bad)
    sink = StoreSink(TraceStore(tmp_path))
    sink.write(_CACHE, [bad, accesses(0, 5)])
    sink.close()
    account = sink.account()
    assert (account.acknowledged, account.dropped) == (5, events([bad]))
    assert account.recorded == 5 + events([bad])
    assert len(stored(TraceStore(tmp_path))) == 5


def test_a_recording_shows_the_events() -> None:
    with recording() as made:
        made.write(_CACHE, [accesses(0, 3), Workload(3, 5, "cache", ())])  # type: ignore[arg-type]
        assert [(each.seq, each.event) for each in made.workload] == [
            *((i, "access") for i in range(3)),
            (3, "cache"),
        ]
        assert made.workload[2].values == (("key", 2.0**53 - 3), ("size", 200.0), ("op", 1.0))


# --- what anybody may send ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "field", "value", "words"),
    [
        (names.WORKLOAD_COUNT, "int_value", 0, "0 is not 1 to 65536"),
        (names.WORKLOAD_COUNT, "int_value", -1, "-1 is not 1 to 65536"),
        (names.WORKLOAD_COUNT, "int_value", 2**62, "is not 1 to 65536"),
        (names.WORKLOAD_COUNT, "int_value", 4, "24 bytes, not 32"),
        (names.WORKLOAD_COUNT, "double_value", 3.0, "is of type float, not int"),
        (names.WORKLOAD_TIMES, "bytes_value", b"x" * 23, "23 bytes, not 24"),
        (names.WORKLOAD_TIMES, "string_value", "now", "is of type str, not bytes"),
        (names.WORKLOAD_TIMES, "bytes_value", struct.pack("<3q", 1, -1, 2), "before 1970"),
        (names.WORKLOAD_TIMES, "bytes_value", struct.pack("<3q", 1, 2**62, 2), "more than a day"),
        (names.WORKLOAD_COLUMN + "key", "bytes_value", b"", "0 bytes, not 24"),
        (names.WORKLOAD_COLUMN + "key", "double_value", 1.0, "is of type float"),
        (names.WORKLOAD_EVENT, "string_value", "x" * 251, "has 251 bytes, more than 250"),
        (names.WORKLOAD_ID, "bytes_value", b"\xff" * 16, "leads out of range"),
    ],
)
def test_a_batch_that_makes_no_sense_is_named(key: str, field: str, value: Any, words: str) -> None:
    message, log = one(accesses(0, 3))
    setattr(attribute(log, key), field, value)
    assert words in reason(message)


@pytest.mark.parametrize("key", [names.WORKLOAD_COUNT, names.WORKLOAD_TIMES])
def test_a_batch_needs_its_parts(key: str) -> None:
    message, log = one(accesses(0, 3))
    kept = [pair for pair in log.attributes if pair.key != key]
    del log.attributes[:]
    log.attributes.extend(kept)
    assert reason(message) == f"gnomon.workload: no {key}"


def test_names_that_every_row_repeats_are_bounded() -> None:
    """Otherwise a few bytes on the wire were gigabytes of rows."""
    message, log = one(accesses(0, 3))
    log.attributes.add(key=names.WORKLOAD_COLUMN + "x" * 65).value.bytes_value = b"x" * 24
    assert "one of more than 64 bytes" in reason(message)
    message, log = one(accesses(0, 3))
    for i in range(30):
        log.attributes.add(key=f"{names.WORKLOAD_COLUMN}{i}").value.bytes_value = b"x" * 24
    assert "more than 32 fields" in reason(message)


def test_a_refused_batch_leaves_its_neighbours() -> None:
    message = Request.FromString(encoded([accesses(0, 3), accesses(3, 4)]))
    logs = message.resource_logs[0].scope_logs[0].log_records
    attribute(logs[0], names.WORKLOAD_COUNT).int_value = 9
    decoded = decode(message.SerializeToString())
    assert [(batch.count, batch.rejected) for batch in decoded.batches] == [(4, 1)]


@given(batches(6), st.data())
def test_what_survives_a_spoilt_message_can_be_stored(
    batch: WorkloadBatch, data: st.DataObject
) -> None:
    message = Request.FromString(encoded([batch]))
    (log,) = message.resource_logs[0].scope_logs[0].log_records
    pair = data.draw(st.sampled_from(list(log.attributes)))
    which = pair.value.WhichOneof("value")
    strategies: dict[str, Any] = {
        "bytes_value": st.binary(max_size=60),
        "int_value": st.integers(-(2**63), 2**63 - 1),
        "string_value": st.text(st.characters(exclude_categories=("Cs",)), max_size=300),
    }
    setattr(pair.value, which, data.draw(strategies[which]))
    decoded = decode(message.SerializeToString())
    assert decoded.malformed.total() + sum(b.count > 0 for b in decoded.batches) == 1
    store = TraceStore("store", fs._MockFileSystem())
    for each in decoded.batches:
        for source, found in each.records.items():
            store.write_records(source, found)
            assert len(stored(store)) == each.count


# --- the store -----------------------------------------------------------------------------------


@given(st.lists(batches(8), min_size=1, max_size=3))
def test_a_batch_is_stored_as_its_events(made: list[WorkloadBatch]) -> None:
    """The rows of a batch are those of its events, one by one, bit for bit."""
    apart = [batch._replace(seq=100 * i) for i, batch in enumerate(made)]
    together, singly = (TraceStore(name, fs._MockFileSystem()) for name in ("a", "b"))
    together.write_records(SOURCE, apart)
    singly.write_records(SOURCE, [event for batch in apart for event in unpacked(batch)])
    assert together.workload().schema == singly.workload().schema
    assert [exact(each) for each in stored(together)] == [exact(each) for each in stored(singly)]


def test_duckdb_reads_batches(tmp_path: Path) -> None:
    sink = StoreSink(TraceStore(tmp_path), "router")
    sink.write(_CACHE, [accesses(0, 30)])
    sink.close()
    query = (
        "select event, count(*), count(distinct workload_id), count(distinct numbers['key']), "
        "avg(numbers['op']), max(time) - min(time) "
        f"from read_parquet('{tmp_path}/workload/**/*.parquet') group by event"
    )
    assert duckdb.sql(query).fetchall() == [("access", 30, 30, 10, 2 / 3, 290_000)]


def test_repeated_and_overlapping_batches_are_read_once(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    store.write_records(SOURCE, [accesses(0, 100)])
    store.write_records(SOURCE, [accesses(50, 100)])
    reading = store.read("workload")
    assert (reading.table.num_rows, reading.duplicates) == (150, 50)


# --- over the wire ---------------------------------------------------------------------------------


def test_batches_arrive_and_every_event_is_accounted_for(tmp_path: Path) -> None:
    """More than a request may hold and more than a backlog of single records; with other records."""
    with recorder(tmp_path) as running:
        sink = OtlpSink(f"http://{running.address}")
        made = [decision(i) for i in range(100)]
        # beyond any receiver's 16 MiB in one piece, and two receivers' limit of events
        sink.write(_CACHE, [*made, accesses(0, 600_000), *map(outcome, made), accesses(600_000, 7)])
        sink.close(60)
        account = sink.account()
    assert (account.recorded, account.acknowledged, account.pending) == (600_207, 600_207, 0)
    assert running.counts.records == 600_207
    assert running.counts.workload == 600_007
    table = running.store.workload("thumbnails")
    seqs = table["workload_id"].to_numpy(zero_copy_only=False)
    assert [int.from_bytes(each[8:], "big") for each in seqs[::60_000]] == [
        *range(0, 600_007, 60_000)
    ]
    assert len(np.unique(seqs)) == table.num_rows == 600_007


def test_requests_stay_below_the_limit() -> None:
    servicer = Scripted([])
    with serving(servicer) as target:
        sink = sink_for(target, timeout_s=20.0)
        sink.write(_CACHE, [accesses(0, 100_000), *(decision(i) for i in range(10))])
        sink.close(20)
    assert sink.account().acknowledged == 100_010
    assert max(map(len, servicer.requests)) < 2 << 20
    assert len(servicer.requests) > 3


def test_a_rejected_batch_counts_as_its_events() -> None:
    servicer = Scripted([partial(1)])
    with serving(servicer) as target:
        sink = sink_for(target, timeout_s=20.0)
        sink.write(_CACHE, [accesses(0, 50)])
        sink.flush(20)
        sink.write(_CACHE, [accesses(50, 7)])
        sink.close(20)
    account = sink.account()
    assert (account.recorded, account.acknowledged, account.dropped) == (57, 7, 50)
    assert account.reasons == {"rejected": 50}


def test_a_backlog_is_bounded_in_bytes_too() -> None:
    sink = sink_for("127.0.0.1:1", timeout_s=0.2, backlog_bytes=1 << 20, batch_bytes=1 << 18)
    sink.write(_CACHE, [accesses(0, 200_000)])
    reasons = sink.account().reasons
    assert 200_000 - (3 << 20) // 32 < reasons["backlog full"] < 200_000
    sink.close(5)
    account = sink.account()
    assert account.recorded == account.dropped == 200_000


def test_a_batch_of_wrong_types_costs_only_itself(tmp_path: Path) -> None:
    bad: Any = accesses(0, 5)._replace(values=(("key", b"x" * 40), (7, b"x" * 40)))
    sink = sink_for("127.0.0.1:1", timeout_s=0.2)
    sink.write(_CACHE, [bad])
    assert sink.account().reasons == {"not encodable": 5}
    sink.close(1)


# --- what a store says of a cache -------------------------------------------------------------------


def test_a_summary_counts_the_accesses_of_a_cache(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    begin = Workload(
        0,
        1_700_000_000_000_000_000,
        "cache",
        (("capacity", 5.0), ("sampled", 0.25), ("policy", "lru")),
    )
    changes = packed(
        31,
        "access",
        [1_700_000_001_000_000_000] * 3,
        {"key": [1.0, 2.0, 1.0], "size": [10.0, 20.0, 0.0], "op": [2.0, 2.0, 3.0]},
    )
    store.write_records(SOURCE, [begin, accesses(1, 30), changes])
    summary = summarise(store, "thumbnails")
    assert summary.kinds == ("cache/1",)
    assert (summary.processes, summary.decisions) == (1, 0)
    assert summary.workload == {"cache": 1, "access": 33}
    found = summary.accesses
    assert found is not None
    assert (found.lookups, found.hits, found.insertions, found.removals) == (30, 20, 2, 1)
    assert found.hit_ratio == pytest.approx(2 / 3)
    assert (found.distinct, found.size) == (12, 4500.0 + 30.0)
    assert (found.sampled, found.capacity, found.policy) == (0.25, 5.0, "lru")
    shown = str(api.traces(tmp_path))
    assert "30, 20 of them hits: 66.67%" in shown
    assert "12 different, of size 4530 together" in shown
    assert "capacity 5, policy lru" in shown and "25.0%" in shown
    assert found.rate == pytest.approx(32 / (1 - 10_000e-9), rel=1e-6)


def test_a_summary_without_accesses_says_so(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    store.write_records(SOURCE, [decision(0), Workload(0, 5, "members", (("names", "a"),))])
    assert summarise(store, "thumbnails").accesses is None
