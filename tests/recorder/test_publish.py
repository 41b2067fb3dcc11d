"""What a segment comes to in the store: the same whether its batches were read at once or one by one."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.recorder import blocks as reading
from gnomon.recorder.decode import Batch, decode, one_by_one
from gnomon.recorder.publish import Seen, publish
from gnomon.recorder.schema import DECISIONS, OUTCOMES, TABLES
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Record

from .fakes import FakeHook, decision, decisions, outcome, outcomes, workloads
from .test_encode import encoded


def stored(folder: Path, batches: list[Batch]) -> dict[str, pa.Table]:
    """Publish batches as one segment; return the tables."""
    store = TraceStore(folder)
    publish(store, "segment", batches, Seen())
    return {table: store.read(table).table for table in TABLES} if store.files.is_folder() else {}


def same(one: pa.Table, other: pa.Table) -> bool:
    """Return whether tables agree; NaN agrees with NaN."""
    return one.schema.equals(other.schema) and all(
        repr(a) == repr(b) for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)
    )


@given(records=st.lists(decisions() | outcomes() | workloads(), min_size=1, max_size=8))
def test_blocks_and_singles_come_to_the_same_rows(
    records: list[Record], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = encoded(records)
    with mock.patch.multiple(reading, _FEW=1, _LEFT=1):
        fast = stored(tmp_path_factory.mktemp("fast"), decode(data).batches)
    slow = stored(tmp_path_factory.mktemp("slow"), one_by_one(data).batches)
    assert all(same(fast[table], slow[table]) for table in TABLES)


def test_decisions_and_outcomes_meet_across_batches_and_ways(tmp_path: Path) -> None:
    """Half come in blocks, half singly; of each half the outcomes come the other way."""
    made = [decision(i, time_ns=10**18 + i) for i in range(120)]
    ends = [outcome(each) for each in made]
    batches = decode(encoded(list(made[:60]), batch_id=b"1" * 16)).batches
    batches += one_by_one(encoded([*made[60:], *ends[:60]], batch_id=b"2" * 16)).batches
    batches += decode(encoded(list(ends[60:]), batch_id=b"3" * 16)).batches
    assert [len(batch.blocks) for batch in batches] == [1, 0, 1]
    tables = stored(tmp_path, batches)
    assert tables[DECISIONS].num_rows == 120
    assert tables[DECISIONS]["ok"].null_count == 0
    assert tables[OUTCOMES].num_rows == 0
    want = [[("latency_ms", 30.0)]] * 120
    assert tables[DECISIONS]["values"].to_pylist() == want


def test_the_first_outcome_counts_and_the_second_is_kept(tmp_path: Path) -> None:
    """Also when they are of different shape, so that they come in different blocks."""
    made = [decision(i) for i in range(60)]
    first = [outcome(each, values=(("latency_ms", 1.0),)) for each in made]
    second = [outcome(each, ok=False, status="error", values=()) for each in made]
    order = [*made, *(end for pair in zip(first, second, strict=True) for end in pair)]
    tables = stored(tmp_path, decode(encoded(list(order))).batches)
    assert tables[DECISIONS]["outcome_status"].to_pylist() == ["reported"] * 60
    assert tables[OUTCOMES]["outcome_status"].to_pylist() == ["error"] * 60


def test_processes_of_one_service_are_told_apart(tmp_path: Path) -> None:
    """Their records begin alike; the resource names the wrong process, as a gateway might leave it."""
    made: list[Record] = [decision(i) for i in range(60)]
    one, two = FakeHook(), FakeHook(process_id="00c0ffee00c0fff0")
    batches = [
        batch
        for number, hook in enumerate((one, two, one))
        for batch in decode(encoded(made, hook, batch_id=bytes((number,)) * 16)).batches
    ]
    assert [sum(len(block.rows) for block in batch.blocks) for batch in batches] == [60, 60, 60]
    assert [next(iter(batch.records)).process for batch in batches] == [
        *(one.process_id, two.process_id, one.process_id)
    ]
    tables = stored(tmp_path, batches[:2])
    assert tables[DECISIONS].num_rows == 120
    assert set(tables[DECISIONS]["process"].to_pylist()) == {one.process_id, two.process_id}
