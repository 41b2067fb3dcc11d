"""Requests made to cost much: bounded in what they take, keep and say, and read as the slow path reads them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from gnomon.recorder import decode as decoding
from gnomon.recorder.decode import count_reasons, decode, one_by_one
from gnomon.recorder.frames import frames
from gnomon.recorder.layout import partitions
from gnomon.recorder.publish import Seen, publish
from gnomon.recorder.redaction import without
from gnomon.recorder.rows import Source
from gnomon.recorder.schema import DECISIONS, TABLES
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Outcome, WorkloadBatch
from gnomon.sdk.telemetry.encode import Encoder, request, resource
from gnomon.sdk.telemetry.wire import field

from .fakes import FakeHook, decision
from .fakes import outcome as outcome_of

ROOT = Path(__file__).resolve().parents[2]
MANY = 5_000
HOOK = FakeHook()


def outcome(seq: int) -> Outcome:
    return outcome_of(decision(seq))


def scope(content: bytes) -> bytes:
    return field(1, field(2, content))


@pytest.mark.parametrize(
    "data",
    [
        scope(b"\x0a\x00" * MANY),
        scope(b"\x1a\x00" * MANY),
        scope(field(1, b"\x0a\x03" + b"abc") * MANY),
        field(1, b"\x1a\x00" * MANY * 4),
        field(1, field(2, b"") * MANY),
        field(1, b"") * MANY,
    ],
)
def test_what_repeats_what_is_beside_the_records_is_read_the_slow_way(data: bytes) -> None:
    assert frames(data) is None
    fast, slow = decode(data), one_by_one(data)
    assert (fast.foreign, fast.malformed, len(fast.batches)) == (
        slow.foreign,
        slow.malformed,
        len(slow.batches),
    )


def test_reasons_fit_a_line_and_are_few() -> None:
    told: Counter[str] = Counter()
    for i in range(1000):
        count_reasons(told, {f"{i} \n\x1b[31mFORGED {'x' * 10_000}": 2})
    assert told.total() == 2000
    assert len(told) <= 65
    assert all(reason.isprintable() and len(reason) <= 200 for reason in told)


def test_what_is_remembered_of_large_records_is_nothing() -> None:
    decoding._known.cache_clear()
    encoder = Encoder(HOOK)
    large = decision(0)._replace(features=tuple(map(float, range(3000))), n_items=1, action=0)
    for count, each in ((60, large), (60, decision(1))):
        parts = [encoder.encode(each._replace(seq=i)) for i in range(count)]
        data = request(resource({"service.instance.id": HOOK.process_id}), parts, b"b" * 16)
        assert decode(data).batches[0].count == count
    known = decoding._known("", HOOK.process_id)
    assert all(len(example.features) < 1000 for _, example in known.values())


def sent(service: str, records: list[bytes]) -> bytes:
    return request(resource({"service.name": service}), records, b"same batch id 16")


def test_the_same_batch_of_another_service_is_another(tmp_path: Path) -> None:
    parts = [Encoder(HOOK).encode(decision(i)) for i in range(3)]
    refused, taken = decode(sent("s" * 251, parts)), decode(sent("s", parts))
    assert refused.malformed.total() == 3
    done = publish(TraceStore(tmp_path), "x", [*refused.batches, *taken.batches], Seen())
    assert (done.decisions, done.duplicates) == (3, 0)


def test_names_of_a_batch_are_bounded_together() -> None:
    hook = FakeHook(name="h" * 240)
    batch = WorkloadBatch(0, "e" * 200, b"\0" * 80, ())
    decoded = decode(sent("s", [Encoder(hook).encode(batch)]))
    assert list(decoded.malformed) == [
        "gnomon.workload: names of a batch have more than 256 bytes together"
    ]


def test_outcomes_leave_a_batch_in_the_order_in_which_they_came() -> None:
    encoder = Encoder(HOOK)
    records = [outcome(i)._replace(values=(("m", float(i)),)) for i in range(70)]
    records[20] = records[20]._replace(status="odd" * 50)
    records[41] = records[41]._replace(values=(("other", 1.0),))
    data = sent("s", [encoder.encode(each) for each in records])
    for read in (decode, one_by_one):
        (batch,) = read(data).batches
        ((_, columns),) = batch.columns()
        assert columns.seq.tolist() == list(range(70))


def test_hooks_and_hours_are_parted_in_order_of_time(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    hour = 3_600 * 10**9
    for name in ("b", "a/c"):
        source = Source("0" * 16, "s", name, "k", 1)
        rows = [decision(i)._replace(time_ns=(5 - i) * hour // 2 + 10**18) for i in range(5)]
        store.write_records(source, rows)
    table = store.decisions()
    parts = list(partitions(TABLES[DECISIONS], table))
    assert sum(part.num_rows for _, part in parts) == table.num_rows == 10
    assert len({folder for folder, _ in parts}) == len(parts) == 6
    for _, part in parts:
        times = part["time"].to_pylist()
        assert times == sorted(times)
        assert len({*part["hook"].to_pylist()}) == 1
        assert len({time // hour for time in times}) == 1


def test_records_are_judged_without_what_lies_beside_them() -> None:
    seen: list[int] = []
    data = sent("s" * 100, [Encoder(HOOK).encode(decision(i)) for i in range(4)])
    large = request(resource({"service.name": "s", "more": "x" * 100_000}), [data[:0]], b"b" * 16)

    def good(one: bytes) -> bool:
        seen.append(len(one))
        return True

    assert decode(without(data, good)).batches[0].count == 4
    assert max(seen) < 2_000
    assert without(large, good)
    too_long = sent("s" * 10_000, [Encoder(HOOK).encode(decision(0))])
    assert decode(without(too_long, good)).batches == []


def test_the_documented_query_reads_each_decision_once_with_its_outcome(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    source = Source("0" * 16, "s", "router.pick", "k", 1)
    for _ in range(2):  # repeated
        store.write_records(source, [decision(0), decision(1), decision(2), outcome(2)])
    store.write_records(source, [outcome(0)])
    store.write_records(source, [outcome(0)._replace(ok=False, time_ns=outcome(0).time_ns + 5)])
    page = (ROOT / "docs/reference/trace-store.md").read_text()
    (query,) = (
        found for found in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) if "coalesce" in found
    )
    rows = duckdb.sql(query.strip().rstrip(";").replace("STORE", str(tmp_path)))
    columns = ["decision_id", "ok", "outcome_status", "outcome_time"]
    ours = store.decisions().select(columns).to_pylist()
    theirs = rows.select(*columns).order("decision_id").fetchall()
    assert len(theirs) == 3
    assert theirs == [
        tuple(row.values()) for row in sorted(ours, key=lambda row: row["decision_id"])
    ]
