"""Whole hours go, oldest first; what is within the limits, and what has not ended, never does."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

import gnomon
from gnomon.recorder.compaction import When, compact
from gnomon.recorder.files import Files
from gnomon.recorder.retention import Keep, prune
from gnomon.recorder.rows import Joined, Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError

from .fakes import accesses, decision, outcome
from .test_store import SOURCE

_HOUR = 3_600 * 10**9
_START = 1_700_000_000_000_000_000 // _HOUR * _HOUR
OTHER = Source("0000000000000bad", "router", "other", "load_balancer", 1)


def filled(path: Path | str, hours: int = 4, filesystem: fs.FileSystem | None = None) -> TraceStore:
    """Return a store of two hooks with a decision, a late outcome and accesses in each hour."""
    store = TraceStore(path, filesystem)
    for source in (SOURCE, OTHER):
        for hour in range(hours):
            made = decision(hour, _START + hour * _HOUR)
            store.write_records(source, [made, accesses(10 * hour, 3, made.time_ns)])
            store.write_records(source, [outcome(made)])
    return store


def hours(store: TraceStore, hook: str = "router.pick") -> list[int]:
    return [(t - _START) // _HOUR for t in store.decisions(hook)["time"].to_pylist()]


def test_what_is_older_goes_and_nothing_else(tmp_path: Path) -> None:
    store = filled(tmp_path)
    done = prune(store, Keep(_START + 3 * _HOUR + 1, older_than_s=3600.0))
    assert [(hour.hook, (hour.hour - _START) // _HOUR, hour.files) for hour in done.hours] == [
        *(("other", 0, 3), ("router.pick", 0, 3)),
        *(("other", 1, 3), ("router.pick", 1, 3)),
    ]
    assert hours(store) == hours(store, "other") == [2, 3]
    assert store.workload().num_rows == 12 and store.outcomes().num_rows == 4
    assert done.files == len(store.files.parquet()) == 12
    assert done.bytes == sum(size for _, size in store.files.parquet())
    empty = [path for path in tmp_path.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert empty == []
    assert not (tmp_path / ".removed").exists()


def test_an_hour_is_as_old_as_its_end(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    assert prune(store, Keep(_START + 2 * _HOUR - 1, older_than_s=3600.0)).hours == ()
    assert len(prune(store, Keep(_START + 2 * _HOUR, older_than_s=3600.0)).hours) == 2


def test_the_oldest_go_until_the_size_fits(tmp_path: Path) -> None:
    store = filled(tmp_path)
    sizes = [size for _, size in store.files.parquet()]
    half = sum(sizes) // 2
    done = prune(store, Keep(_START + 9 * _HOUR, max_bytes=half))
    assert done.bytes <= half
    assert done.bytes + max(hour.bytes for hour in done.hours) > half  # and no more than need be
    left = [*hours(store), *hours(store, "other")]
    gone = [(hour.hour - _START) // _HOUR for hour in done.hours]
    assert max(gone) <= min(left)


def test_the_hour_that_has_not_ended_stays(tmp_path: Path) -> None:
    store = filled(tmp_path)
    done = prune(store, Keep(_START + 3 * _HOUR + 5, older_than_s=0.0, max_bytes=0))
    assert hours(store) == [3] and done.bytes > 0


def test_only_one_hook(tmp_path: Path) -> None:
    store = filled(tmp_path)
    prune(store, Keep(_START + 9 * _HOUR, max_bytes=0), hook="other")
    assert hours(store) == [0, 1, 2, 3]
    assert store.hooks() == ["router.pick"]
    with pytest.raises(TraceError, match="no hook 'other'"):
        prune(store, Keep(0, max_bytes=0), hook="other")


def test_limits_that_say_nothing_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing says what to keep; give an age"):
        Keep(0)
    with pytest.raises(ConfigurationError, match=r"an age of -1\.0 s is negative"):
        Keep(0, older_than_s=-1.0)
    with pytest.raises(ConfigurationError, match="a size of -5 is negative"):
        Keep(0, max_bytes=-5)


def test_what_lies_in_no_hour_is_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path)
    note = tmp_path / "decisions" / "hook=router.pick" / "note.parquet"
    note.write_bytes(b"mine")
    (tmp_path / "README").write_text("mine")
    prune(store, Keep(_START + 9 * _HOUR, max_bytes=0))
    assert note.read_bytes() == b"mine" and (tmp_path / "README").exists()


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = store.files.parquet()
    found = gnomon.prune(tmp_path, older_than_s=0.0, dry_run=True)
    assert store.files.parquet() == before
    assert len(found.hours) == 8 and "would be removed" in str(found)
    done = gnomon.prune(tmp_path, "other", older_than_s=0.0)
    assert len(done.hours) == 4 and "0 bytes in 0 files stay" in str(done)
    assert json.loads(json.dumps(done.as_json()))["hours"][0]["hook"] == "other"
    assert "nothing to prune" in str(gnomon.prune(tmp_path, max_bytes=1 << 40))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.none() | st.integers(0, 6),
    st.none() | st.integers(0, 60_000),
    st.integers(0, 7),
)
def test_what_stays_is_newer_than_what_goes(
    at: list[int], older: int | None, most: int | None, now: int
) -> None:
    if older is None and most is None:
        return
    store = TraceStore("store", fs._MockFileSystem())
    for number, hour in enumerate(at):
        store.write_records(SOURCE, [decision(number, _START + hour * _HOUR)])
    keep = Keep(_START + now * _HOUR, None if older is None else older * 3600.0, most)
    done = prune(store, keep)
    gone = {(hour.hour - _START) // _HOUR for hour in done.hours}
    left = {hour for hour in at if hour not in gone}
    assert sorted(hours(store)) == sorted(hour for hour in at if hour in left)
    assert all(hour < now for hour in gone)
    if older is not None:
        assert all(hour + 1 + older > now for hour in left)
    if most is None:
        assert older is not None and all(hour + 1 + older <= now for hour in gone)
    elif any(hour < now for hour in left):
        assert done.bytes <= most
    assert not gone or not left or max(gone) < min(left)


def test_on_an_object_store_what_does_not_count_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would count again once its merged file is gone, when a pruning dies half-way."""
    store = TraceStore("store", fs._MockFileSystem())
    for number, name in enumerate(["a", "z"]):  # listed before and after what will be merged
        made = [(decision(number, _START + number), None)]
        store.write(tables(SOURCE, Joined(made)), name)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "delete", lambda *_: False)  # it dies before it removes anything
        compact(store, When(_START + 2 * _HOUR + 2**62, 0.0))
    removed: list[str] = []
    real = Files.delete

    def noted(self: Files, path: str, size: int | None = None) -> bool:
        removed.append(path)
        assert store.read("decisions").table.num_rows in (0, 1, 2, 3)
        assert len({*(i for i in store.read("decisions").table["decision_id"].to_pylist())}) == (
            store.read("decisions").table.num_rows
        )
        return real(self, path, size)

    monkeypatch.setattr(Files, "delete", noted)
    prune(store, Keep(_START + 9 * _HOUR, older_than_s=0.0), hook="router.pick")
    merged = [i for i, path in enumerate(removed) if "/decisions/" in path and "merged-" in path]
    written = [
        i for i, path in enumerate(removed) if "/decisions/" in path and "merged-" not in path
    ]
    assert len(merged) == 1 and len(written) == 2 and max(written) < merged[0]


def test_a_removal_that_was_cut_short_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies when the folder has left the store and its files are still there."""
    store = filled(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Files, "finish_removals", lambda _self: None)
        prune(store, Keep(_START + _HOUR, older_than_s=0.0))
    assert hours(store) == [1, 2, 3]
    assert len(list((tmp_path / ".removed").rglob("*.parquet"))) == 6
    prune(store, Keep(_START + _HOUR, older_than_s=0.0))
    assert not (tmp_path / ".removed").exists()


def test_a_filesystem_that_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)

    def refusing(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Files, "delete_folder", refusing)
    with pytest.raises(TraceError, match="cannot remove from .*Permission denied"):
        prune(store, Keep(_START + 9 * _HOUR, older_than_s=0.0))


def test_recorders_write_into_hours_that_are_pruned(tmp_path: Path) -> None:
    """Folders come and go under the writers; nothing of what is within the limits is lost."""
    store = filled(tmp_path)
    failed: list[BaseException] = []

    def write() -> None:
        own = TraceStore(tmp_path)
        try:
            for i in range(100, 160):
                own.write_records(SOURCE, [decision(i, _START + i % 4 * _HOUR + i)])
        except BaseException as error:  # noqa: BLE001 - told by the test's thread
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    keep = Keep(_START + 2 * _HOUR, older_than_s=0.0)
    while any(writer.is_alive() for writer in writers):
        prune(store, keep)
    for writer in writers:
        writer.join()
    assert not failed
    ids = store.decisions("router.pick", since=_START + 2 * _HOUR)["decision_id"].to_pylist()
    assert {int.from_bytes(i[8:], "big") for i in ids} == {
        *(2, 3),
        *(i for i in range(100, 160) if i % 4 >= 2),
    }
    prune(store, keep)
    assert hours(store)[0] == 2


def test_a_reader_whose_hour_is_pruned_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path)
    real = Files.open
    once = [True]

    def racing(self: Files, path: str) -> object:
        if once and once.pop():
            prune(TraceStore(tmp_path), Keep(_START + _HOUR, older_than_s=0.0))
        return real(self, path)

    monkeypatch.setattr(Files, "open", racing)
    assert hours(store) == [1, 2, 3]
