"""The trace store: what is written is read, also by others, and damage is named and never guessed at."""

from __future__ import annotations

import re
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from gnomon.recorder import files as files_module
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.recorder.summary import summarise
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Outcome, Record, Workload

from .fakes import accesses, decision, decisions, outcome, outcomes, workloads
from .test_encode import exact

_HOUR = 3_600 * 10**9
_START = 1_700_000_000_000_000_000 // _HOUR * _HOUR
SOURCE = Source("00c0ffee00c0ffee", "router", "router.pick", "load_balancer", 1)


def filled(path: Path, n: int = 6) -> TraceStore:
    """Return a store with ``n`` decisions, ten minutes apart, all with outcomes."""
    store = TraceStore(path)
    made = [decision(i, _START + i * _HOUR // 6) for i in range(n)]
    store.write_records(SOURCE, [*made, *map(outcome, made)])
    return store


def files(store: TraceStore, table: str = "decisions") -> list[Path]:
    return [Path(path) for path, _ in store.files.parquet(table)]


@given(
    st.lists(decisions(), max_size=6, unique_by=lambda d: d.seq),
    st.lists(outcomes(), max_size=4, unique_by=lambda o: o.seq),
    st.lists(workloads(), max_size=4, unique_by=lambda w: w.seq),
)
def test_every_field_is_read_as_it_was_written(
    made: list[Any], late: list[Any], events: list[Any]
) -> None:
    store = TraceStore("store", fs._MockFileSystem())
    store.write(tables(SOURCE, Joined([(each, None) for each in made], late, events)))
    if not (made or late or events):
        return
    rows = {row["decision_id"]: row for row in store.read("decisions").table.to_pylist()}
    for each in made:
        row = rows[bytes.fromhex(SOURCE.process) + each.seq.to_bytes(8, "big")]
        got = each._replace(
            time_ns=row["time"],
            duration_ns=row["duration"],
            features=tuple(row["features"]),
            trace_id=int.from_bytes(row["trace_id"] or b"", "big"),
            span_id=int.from_bytes(row["span_id"] or b"", "big"),
            **{
                name: row[name]
                for name in (
                    *("unit", "arm", "reason", "detail", "policy", "epoch", "block", "action"),
                    *("n_items", "propensity", "inclusion"),
                )
            },
        )
        assert exact(got) == exact(each)
    stored = store.outcomes().to_pylist() if late else []
    assert sorted(row["outcome_time"] for row in stored) == sorted(each.time_ns for each in late)
    read = store.workload().to_pylist() if events else []
    assert sorted(len(row["numbers"]) + len(row["texts"]) for row in read) == sorted(
        len(each.values) for each in events
    )


def test_rows_come_in_order_and_within_the_span(tmp_path: Path) -> None:
    store = filled(tmp_path, 30)
    assert len(files(store)) == 5  # one an hour
    times = store.decisions("router.pick")["time"].to_pylist()
    assert times == sorted(times) and len(times) == 30
    since, until = times[4], times[17]
    assert store.decisions("router.pick", since, until)["time"].to_pylist() == times[4:17]
    assert store.decisions("router.pick", until=_START).num_rows == 0


def test_late_outcomes_are_joined_when_read(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    made = [decision(i, _START + i) for i in range(4)]
    store.write_records(SOURCE, [*made[:3], outcome(made[0], ok=False)])
    store.write_records(SOURCE, [outcome(made[1]), outcome(made[0]), outcome(made[3])])
    store.write_records(SOURCE, [made[3]])
    table = store.decisions("router.pick")
    assert table["ok"].to_pylist() == [False, True, None, True]
    assert table["values"].to_pylist()[1] == [("latency_ms", 30.0)]
    assert table["outcome_time"].to_pylist()[3] == made[3].time_ns + 30_000_000
    summary = summarise(store, "router.pick")
    assert (summary.matched, summary.open, summary.late, summary.orphans) == (3, 1, 3, 0)


@given(st.permutations(range(12)), st.lists(st.integers(1, 11), max_size=3))
def test_outcomes_find_their_decisions_in_any_order(order: list[int], cuts: list[int]) -> None:
    """However records are ordered and cut into files, each decision ends with its own outcome."""
    made = [decision(i, _START + i) for i in range(6)]
    records: list[Record] = [*made, *(outcome(each, 1000 + each.seq) for each in made)]
    shuffled = [records[i] for i in order]
    store = TraceStore("store", fs._MockFileSystem())
    bounds = [0, *sorted(cuts), 12]
    for low, high in pairwise(bounds):
        store.write_records(SOURCE, shuffled[low:high])
    table = store.decisions()
    delays = [
        b - a
        for a, b in zip(*(table[c].to_pylist() for c in ("time", "outcome_time")), strict=True)
    ]
    assert delays == [1000 + i for i in range(6)]


def test_a_repeated_record_is_read_once(tmp_path: Path) -> None:
    store = filled(tmp_path)
    filled(tmp_path)
    reading = store.read("decisions", "router.pick")
    assert (reading.table.num_rows, reading.duplicates) == (6, 6)


def test_a_repeated_name_replaces_the_file(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    for _ in range(2):
        store.write(tables(SOURCE, Joined([(decision(0), None)])), "segment-1")
    assert [path.stem for path in files(store)] == ["segment-1"]


def test_hook_names_may_hold_anything(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "store")
    names = ["a/b", "../up", "x=y z", "ünï☃", "."]
    for name in names:
        store.write_records(Source(SOURCE.process, "s", name, "k", 1), [decision(0)])
    assert store.hooks() == sorted(names)
    for name in names:
        assert store.decisions(name)["hook"].to_pylist() == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_several_writers_at_once(tmp_path: Path) -> None:
    def work(number: int) -> None:
        own = TraceStore(tmp_path)
        source = Source(f"{number:016x}", "s", "router.pick", "load_balancer", 1)
        for i in range(5):
            own.write_records(source, [decision(i * 10 + j, _START + j) for j in range(10)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = TraceStore(tmp_path).decisions("router.pick")
    assert table.num_rows == 200
    assert not list(tmp_path.rglob("*.tmp"))


def test_duckdb_reads_it(tmp_path: Path) -> None:
    store = filled(tmp_path, 12)
    pattern = str(tmp_path / "decisions" / "**" / "*.parquet")
    rows = duckdb.sql(
        f"select hook, count(*), avg(values['latency_ms']), sum(features[2]), min(date) "
        f"from read_parquet('{pattern}', hive_partitioning = true) group by hook"
    ).fetchall()
    assert rows[0][:4] == ("router.pick", 12, 30.0, 12 * 20.5)
    assert str(rows[0][4]) == "2023-11-14"
    assert store.decisions().num_rows == 12


def test_the_documented_query_joins_late_outcomes(tmp_path: Path) -> None:
    """All columns of all tables are read by another engine, and the manual's SQL does what it says."""
    store = TraceStore(tmp_path)
    made = [decision(i, _START + i, trace_id=i, span_id=i) for i in range(50)]
    store.write_records(SOURCE, [*made, *map(outcome, made[:20])])
    event = Workload(0, _START, "members", (("names", "a,b"), ("n", 2.0)))
    store.write_records(SOURCE, [*map(outcome, made[20:40]), event])
    manual = Path(__file__).parents[2] / "docs" / "reference" / "trace-store.md"
    found = re.findall(r"```sql\n(.*?);\n```", manual.read_text("utf-8"), re.DOTALL)
    query, ratio = (each.replace("STORE", str(tmp_path)) for each in found)
    relation = duckdb.sql(query)
    values = relation.columns.index("values")
    rows = relation.fetchall()
    assert len(rows) == 50
    assert sum(row[values] == {"latency_ms": 30.0} for row in rows) == 40
    ids = {bytes(row[relation.columns.index("decision_id")]) for row in rows}
    assert ids == set(store.decisions()["decision_id"].to_pylist())
    events = duckdb.sql(f"select * from '{tmp_path}/workload/**/*.parquet'")
    assert events.fetchall()[0][events.columns.index("numbers")] == {"n": 2.0}
    store.write_records(SOURCE, [accesses(0, 30)])
    assert duckdb.sql(ratio).fetchall() == [("router.pick", 2 / 3)]


def test_encodings_are_explicit(tmp_path: Path) -> None:
    (path,) = files(filled(tmp_path))
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "DELTA_BINARY_PACKED" in columns["time"].encodings
    assert "BYTE_STREAM_SPLIT" in columns["values.key_value.value"].encodings
    assert "RLE_DICTIONARY" in columns["arm"].encodings
    assert not any("DICTIONARY" in name for name in columns["features.list.element"].encodings)
    filled(tmp_path).write_records(SOURCE, [accesses(0, 10)])
    (path,) = files(TraceStore(tmp_path), "workload")
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "RLE_DICTIONARY" in found["numbers.key_value.value"].encodings


# --- damage -------------------------------------------------------------------------------------


def test_missing_store_and_unknown_hook_are_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no trace store at .*nowhere; record one with"):
        TraceStore(tmp_path / "nowhere").decisions()
    with pytest.raises(TraceError, match=r"no hook 'other' in .*; it has: router\.pick"):
        filled(tmp_path).decisions("other")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"router.pick") if b"router.pick" in data else 200
    data[at] ^= 0xFF
    path.write_bytes(data)


def _other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def _lacks_a_column(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(table.drop_columns(["features"]), path)


def _future(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    metadata = {**table.schema.metadata, b"gnomon.schema_version": b"2"}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def _wrong_table(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    metadata = {**table.schema.metadata, b"gnomon.table": b"outcomes"}
    pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "is damaged"),
        (_empty, "is damaged"),
        (_flip, "is damaged"),
        (_other_columns, "states no schema version"),
        (_lacks_a_column, "is damaged"),
        (_future, "has schema version 2 and this Gnomon reads up to 1; upgrade gnomon"),
        (_wrong_table, "holds outcomes and not decisions"),
    ],
)
def test_a_bad_file_is_one_line_or_left_out(tmp_path: Path, damage: Any, words: str) -> None:
    store = filled(tmp_path, 12)
    bad, good = files(store)
    damage(bad)
    with pytest.raises(TraceError) as caught:
        store.decisions("router.pick")
    message = str(caught.value)
    assert str(bad) in message and words in message and "\n" not in message
    reading = store.read("decisions", "router.pick", skip_damaged=True)
    assert reading.table.num_rows == pq.read_metadata(good).num_rows == 6
    assert len(reading.damaged) == 1 and str(bad) in reading.damaged[0]
    assert summarise(store, "router.pick").damaged == reading.damaged


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "decisions").write_text("in the way")
    with pytest.raises(TraceError, match="cannot write .*; nothing was published"):
        filled(tmp_path)
    assert (tmp_path / "decisions").read_text() == "in the way"


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    """A folder where the file should be makes the last step fail; the temporary file goes too."""
    store = filled(tmp_path / "a")
    (path,) = files(store)
    blocked = tmp_path / "b" / path.relative_to(tmp_path / "a").parent / "segment.parquet"
    (blocked / "x").mkdir(parents=True)
    with pytest.raises(TraceError, match="cannot write"):
        TraceStore(tmp_path / "b").write(
            tables(SOURCE, Joined([(decision(0, _START), None)])), "segment"
        )
    assert [p for p in blocked.parent.iterdir() if p != blocked] == []


def test_what_is_published_is_durable_with_all_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it is renamed, its folder after that, and every folder that had to be made."""
    synced: list[str] = []
    real = files_module.sync

    def noted(path: str) -> None:
        synced.append(path)
        real(path)

    monkeypatch.setattr(files_module, "sync", noted)
    (path,) = files(filled(tmp_path / "new" / "store"))
    made = [each for each in path.parents if each.is_relative_to(tmp_path / "new")]
    assert {str(each.parent) for each in made} <= set(synced)
    assert synced[-1] == str(path.parent)
    assert synced[-2].endswith(".tmp")
    synced.clear()
    filled(tmp_path / "new" / "store")
    assert len(synced) == 2  # the folders are there


def test_summary_counts(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    made = [decision(i, _START + i * 10**9) for i in range(11)]
    missing = outcome(made[0], ok=False, status="missing", values=())
    reported: list[Outcome] = [outcome(each, 10**6 * (each.seq + 1)) for each in made[1:10]]
    store.write_records(SOURCE, [*made, missing, *reported])
    summary = summarise(store, "router.pick")
    assert (summary.decisions, summary.rate, summary.processes) == (11, 1.0, 1)
    assert (summary.matched, summary.missing, summary.open, summary.failures) == (9, 1, 1, 1)
    assert summary.shares == {0: 6 / 11, 1: 5 / 11}
    assert summary.metrics["latency_ms"].p50 == 6.0
    assert summary.kinds == ("load_balancer/1",)
    assert summary.bytes == sum(path.stat().st_size for path in files(store))
