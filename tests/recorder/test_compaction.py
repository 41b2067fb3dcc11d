"""Merging an hour's files changes what there is to open and nothing that is read."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

import gnomon
from gnomon.recorder import compaction, merge
from gnomon.recorder import files as files_module
from gnomon.recorder.compaction import Compacted, When, compact
from gnomon.recorder.files import Files, Found
from gnomon.recorder.lineage import HOLDS_KEY, Lineage, replaced, stated, written
from gnomon.recorder.rows import Source
from gnomon.recorder.store import TraceStore
from gnomon.recorder.summary import summarise
from gnomon.sdk.errors import TraceError

from .fakes import accesses, decision, outcome
from .faulty import Faulty, at
from .test_store import SOURCE, _flip, _future, _truncate, files

_HOUR = 3_600 * 10**9
_START = 1_700_000_000_000_000_000 // _HOUR * _HOUR


def filled(path: Path | str, parts: int = 5, filesystem: fs.FileSystem | None = None) -> TraceStore:
    """Return a store of one hour in parts of ten decisions: five with outcomes, four with late ones."""
    store = TraceStore(path, filesystem)
    for part in range(parts):
        made = [decision(10 * part + i, _START + part * 10**9 + i) for i in range(10)]
        store.write_records(
            SOURCE, [*made, *map(outcome, made[:5]), accesses(10 * part, 10, _START)]
        )
        store.write_records(SOURCE, [*map(outcome, made[5:9])])
    return store


def merged(store: TraceStore, **options: Any) -> Compacted:
    return compact(store, When(time.time_ns(), 0.0), **options)


def content(store: TraceStore) -> tuple[pa.Table, pa.Table]:
    return store.decisions(), store.workload()


def test_an_hour_becomes_one_file_a_table(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = content(store)
    done = merged(store)
    assert content(store) == before
    assert [len(files(store, table)) for table in ("decisions", "outcomes", "workload")] == [1] * 3
    joint, events = done.hours
    assert (joint.hook, joint.hour, joint.tables) == (
        "router.pick",
        _START,
        ("decisions", "outcomes"),
    )
    assert (joint.files_before, joint.files_after, joint.joined) == (10, 2, 20)
    assert joint.bytes_after == sum(
        path.stat().st_size for table in joint.tables for path in files(store, table)
    )
    assert (events.tables, events.files_before, events.rows) == (("workload",), 5, 50)
    assert store.outcomes().num_rows == 0  # they are at their decisions
    assert merged(store) == Compacted()


def test_a_merged_file_is_written_as_the_others_are(tmp_path: Path) -> None:
    """Same columns, encodings, checksums and metadata, in order of time, and its origin."""
    store = filled(tmp_path)
    names = {f"{path.name}:{path.stat().st_size}" for path in files(store)}
    late = {f"{path.name}:{path.stat().st_size}" for path in files(store, "outcomes")}
    one = pq.ParquetFile(files(store)[0])
    merged(store)
    file = pq.ParquetFile(files(store)[0])
    assert file.schema_arrow.equals(one.schema_arrow, check_metadata=True)
    group, other = file.metadata.row_group(0), one.metadata.row_group(0)
    for i in range(group.num_columns):
        assert set(group.column(i).encodings) == set(other.column(i).encodings)
    times = file.read()["time"].to_pylist()
    assert times == sorted(times) and len(times) == 50
    assert stated(file.metadata.metadata) == Lineage(frozenset(names), frozenset(late))


def test_other_engines_read_it(tmp_path: Path) -> None:
    store = filled(tmp_path)
    merged(store)
    found = duckdb.sql(
        f"select count(*), count(distinct decision_id), count(values['latency_ms']) "
        f"from read_parquet('{tmp_path}/decisions/**/*.parquet', hive_partitioning = true)"
    ).fetchall()
    assert found == [(50, 50, 45)]
    events = f"select count(distinct workload_id) from '{tmp_path}/workload/**/*.parquet'"
    assert duckdb.sql(events).fetchall() == [(50,)]
    assert duckdb.sql(f"select * from '{tmp_path}/outcomes/**/*.parquet'").fetchall() == []


def test_an_hour_that_is_not_closed_is_left(tmp_path: Path) -> None:
    """Its end and its newest file must both be old enough."""
    store = filled(tmp_path)
    now = time.time_ns()
    assert compact(store, When(_START + _HOUR - 1, 0.0)) == Compacted()
    assert compact(store, When(now, 3600.0)) == Compacted()  # the files are new
    for path in tmp_path.rglob("*.parquet"):
        os.utime(path, (now / 1e9 - 7200, now / 1e9 - 7200))
    assert compact(store, When(_START + _HOUR + 3599 * 10**9, 3600.0)) == Compacted()
    assert len(compact(store, When(now, 3600.0)).hours) == 2


def test_what_comes_later_is_merged_into_it(tmp_path: Path) -> None:
    store = filled(tmp_path)
    merged(store)
    made = [decision(i, _START + i) for i in (1000, 1001)]
    store.write_records(SOURCE, [*made, outcome(made[0])])
    store.write_records(SOURCE, [outcome(made[1]), outcome(decision(9, _START + 9))])
    before = content(store)
    assert before[0].num_rows == 52 and before[0]["ok"].null_count == 4
    done = merged(store)
    assert content(store) == before
    assert done.hours[0].joined == 2
    assert [len(files(store, table)) for table in ("decisions", "outcomes")] == [1, 1]


def test_an_outcome_whose_decision_comes_later_waits(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    early = decision(77, _START + 77)
    store.write_records(SOURCE, [outcome(early)])
    merged(store)
    assert store.outcomes().num_rows == 1
    store.write_records(SOURCE, [early])
    merged(store)
    assert store.outcomes().num_rows == 0
    row = store.decisions(since=_START + 77, until=_START + 78).to_pylist()[0]
    assert row["outcome_time"] == early.time_ns + 30_000_000


def test_a_written_file_that_comes_again_counts_once(tmp_path: Path) -> None:
    """A recorder that died after it had stored a segment stores it again under the same name."""
    store = filled(tmp_path, 3)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    before = content(store)
    merged(store)
    for path, data in kept.items():
        path.write_bytes(data)
    assert content(store) == before
    reading = store.read("decisions")
    assert reading.duplicates == 0
    summary = summarise(store, "router.pick")
    assert (summary.layout.merged, summary.layout.replaced) == (3, 9)
    assert merged(store).removed == 9
    assert content(store) == before


def test_memory_holds_a_stretch_of_the_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 40)
    before = store.decisions()
    largest = 0
    real = merge._combined

    def measured(stretch: dict[str, pa.Table], so_far: Any) -> dict[str, pa.Table]:
        nonlocal largest
        largest = max(largest, sum(table.nbytes for table in stretch.values()))
        return real(stretch, so_far)

    monkeypatch.setattr(merge, "_combined", measured)
    one = store.read("decisions", until=_START + 10**9).table.nbytes
    monkeypatch.setattr(merge, "BUDGET", 4 * one)
    monkeypatch.setattr(
        merge.merge, "__kwdefaults__", merge.merge.__kwdefaults__ | {"budget": 4 * one}
    )
    merged(store)
    assert 2 * one < largest < 8 * one
    assert store.decisions() == before
    assert pq.read_metadata(files(store)[0]).num_row_groups > 3


def test_a_damaged_row_group_costs_that_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "GROUP_ROWS", 10)
    store = filled(tmp_path)
    merged(store)
    (path,) = files(store)
    column = pq.read_metadata(path).row_group(2).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TraceError, match=r"merged-.* is damaged"):
        store.decisions()
    reading = store.read("decisions", skip_damaged=True)
    assert [
        row // 10**9 for row in sorted(t - _START for t in reading.table["time"].to_pylist())
    ] == [
        *[0] * 10,
        *[1] * 10,
        *[3] * 10,
        *[4] * 10,
    ]
    (line,) = reading.damaged
    assert str(path) in line and "row groups 2 of 5 are left out" in line


@pytest.mark.parametrize("damage", [_truncate, _flip, _future])
def test_a_file_that_cannot_be_read_is_left_and_named(tmp_path: Path, damage: Any) -> None:
    store = filled(tmp_path)
    bad = files(store)[2]
    damage(bad)
    before = store.read("decisions", skip_damaged=True)
    done = merged(store)
    assert len(done.damaged) == 1 and str(bad) in done.damaged[0]
    assert len(files(store)) == 2 and bad.exists()
    assert store.read("decisions", skip_damaged=True).table == before.table
    again = merged(store)
    assert (again.hours, again.damaged) == ([], done.damaged)


def test_what_a_damaged_merged_file_replaces_is_kept(tmp_path: Path) -> None:
    """It died before it removed the files, and the disk has spoilt the merged one since."""
    store = filled(tmp_path)
    kept = {path: path.read_bytes() for path in files(store)}
    before = store.decisions()
    merged(store)
    (bad,) = files(store)
    column = pq.read_metadata(bad).row_group(0).column(0)
    data = bytearray(bad.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    bad.write_bytes(data)
    for path, good in kept.items():
        path.write_bytes(good)
    done = merged(store)
    assert f"{bad} is damaged" in done.damaged[0] and "remove it" in done.damaged[0]
    assert all(path.exists() for path in kept)
    bad.unlink()
    assert store.decisions()["time"].equals(before["time"])


def test_what_cannot_be_read_back_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    names = files(store)
    monkeypatch.setattr(compaction, "unreadable", lambda *_: ["it is spoilt"])
    done = merged(store)
    assert (done.hours, done.damaged) == ([], ["it is spoilt"] * 2)
    assert set(names) < set(files(store))


def test_one_at_a_time_on_one_machine(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with (tmp_path / ".compaction.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TraceError, match=f"another compaction of {tmp_path} is under way"):
            merged(store)
        assert merged(store, dry_run=True).hours
    assert merged(store).hours


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = sorted((path, path.read_bytes()) for path in tmp_path.rglob("*.parquet"))
    found = gnomon.compact(tmp_path, older_than_s=0.0, dry_run=True)
    assert sorted((path, path.read_bytes()) for path in tmp_path.rglob("*.parquet")) == before
    assert [hour.files_before for hour in found.hours] == [10, 5]
    assert "10 would become 2" in str(found)
    done = gnomon.compact(tmp_path, older_than_s=0.0)
    assert [hour.files_after for hour in done.hours] == [2, 1]
    assert "10 became 2" in str(done)
    assert json.loads(json.dumps(done.as_json()))["hours"][0]["joined"] == 20
    assert "nothing to compact" in str(gnomon.compact(tmp_path, older_than_s=0.0))
    assert store.decisions().num_rows == 50


def test_only_one_hook(tmp_path: Path) -> None:
    store = filled(tmp_path)
    other = Source(SOURCE.process, "router", "other", "load_balancer", 1)
    for i in range(2):
        store.write_records(other, [decision(i, _START + i)])
    assert {hour.hook for hour in merged(store, hook="other").hours} == {"other"}
    assert len(files(store)) == 5 + 1
    with pytest.raises(TraceError, match="no hook 'nobody'"):
        merged(store, hook="nobody")
    with pytest.raises(TraceError, match="no trace store"):
        merged(TraceStore(tmp_path / "none"))


def test_it_stops_when_told(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert merged(store, stop=lambda: True) == Compacted()
    asked = iter([False, True])  # before the hour, then within
    assert merged(store, stop=lambda: next(asked, True)) == Compacted(changed=1)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(("merged", ".router"))]


def test_a_full_disk_stops_it_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    before = content(store)

    def full(_self: Any) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files_module._Rename, "commit", full)
        with pytest.raises(TraceError, match="No space left"):
            merged(store)
    assert not list(tmp_path.rglob("*.tmp"))
    assert content(store) == before
    assert len(merged(store).hours) == 2


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path: Path) -> None:
    store = filled(tmp_path)
    folder = files(store)[0].parent
    old, new = folder / ".a.1.tmp", folder / ".b.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    past = time.time() - 25 * 3600
    os.utime(old, (past, past))
    done = merged(store)
    assert (done.removed, old.exists(), new.exists()) == (1, False, True)


def test_on_an_object_store_a_file_is_uploaded_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "_OBJECT_STORES", ("mock",))
    store = filled("store", filesystem=fs._MockFileSystem())
    before = content(store)
    assert len(merged(store).hours) == 2
    assert content(store) == before
    assert len(store.files.parquet()) == 3 and not store.files.hidden()


def test_below_a_subtree(tmp_path: Path) -> None:
    store = filled("store", filesystem=fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()))
    before = content(store)
    merged(store)
    assert content(store) == before
    assert len(list((tmp_path / "store").rglob("*.parquet"))) == 3


# --- who counts -----------------------------------------------------------------------------------

_leaves = st.frozensets(st.sampled_from(["a:1", "b:1", "c:1", "a:2"]), max_size=4)


@given(st.lists(st.tuples(_leaves.filter(len), _leaves), max_size=4, unique=True), _leaves)
def test_whatever_is_merged_some_file_that_counts_holds_it(
    stated_by: list[tuple[frozenset[str], frozenset[str]]], there: frozenset[str]
) -> None:
    known = {}
    for holds, joined in stated_by:
        each = Lineage(holds, joined)
        known[Found(each.name(), 1, 0)] = each
    others = [Found(leaf[:-2], int(leaf[-1]), 0) for leaf in sorted(there)]
    gone = replaced(known, others)
    living = [each for each in known if each not in gone]
    for leaf in (leaf for each in known.values() for leaf in each.holds):
        assert any(leaf in known[each].holds for each in living)
    for mine in known.values():  # and what it was joined with is not forgotten
        assert any(known[other].covers(mine) for other in living)
    held = {leaf for each in known.values() for leaf in each.holds}
    assert {written(each) for each in others if each not in gone} == there - held


@given(_leaves.filter(len), _leaves)
def test_an_origin_is_read_as_it_was_stated(holds: frozenset[str], joined: frozenset[str]) -> None:
    each = Lineage(holds, joined)
    metadata = {key.encode(): value.encode() for key, value in each.metadata().items()}
    assert stated(metadata) == each
    assert each.name() != Lineage(holds, joined | {"more:1"}).name()
    assert stated({}) is None


@pytest.mark.parametrize("text", [b"\xff", b"abc", b"AAAAA", b"c$}e~0RR9"])
def test_an_origin_that_is_damaged_is_no_origin(text: bytes) -> None:
    with pytest.raises(ValueError, match="states its origin wrongly"):
        stated({HOLDS_KEY: text})


def test_a_writer_whose_folder_was_removed_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pruning between the making of the folder and the making of the file."""
    place = Files(tmp_path)
    real = files_module._Rename.__init__
    times = iter([1, 2])

    def racing(self: Any, filesystem: Any, path: str, local: bool) -> None:
        if next(times, None):
            Path(path).parent.rmdir()
        real(self, filesystem, path, local)

    monkeypatch.setattr(files_module._Rename, "__init__", racing)
    path = Path(place.publish("decisions/hour=01", "name", b"data"))
    assert path.read_bytes() == b"data"


@pytest.mark.parametrize(
    "moment", [("close", 1), ("move", 1), ("move", 2), ("create", 1), ("create", 2)]
)
def test_a_slow_merger_takes_no_outcome_back(moment: tuple[str, int]) -> None:
    """It has read the hour; before it publishes, an outcome comes and a faster one merges all of it."""
    faulty = Faulty(fs._MockFileSystem(), "renames")
    store = TraceStore("/store", faulty.filesystem())
    made = [decision(i, _START + i) for i in range(4)]
    store.write_records(SOURCE, made)
    store.write_records(SOURCE, [outcome(made[0])])

    def overtake() -> None:
        faulty.at = None
        other = TraceStore("/store", faulty.filesystem())
        other.write_records(SOURCE, [outcome(made[1])])
        merged(other)

    faulty.watch(at(moment, overtake))
    merged(store)
    assert faulty.at is None  # it came to that
    for _ in range(2):
        assert store.decisions()["outcome_status"].null_count == 2
        merged(store)
    assert len(store.files.parquet("decisions")) == len(store.files.parquet("outcomes")) == 1
