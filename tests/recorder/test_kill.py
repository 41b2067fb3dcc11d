"""Processes that merge and prune are killed at random, rivals beside them, disks full: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gnomon
from gnomon.recorder.schema import TABLES
from gnomon.recorder.store import TraceStore
from gnomon.sdk.telemetry.delivery import METHOD
from gnomon.sdk.telemetry.encode import Encoder, request, resource

from .fakes import FakeHook, accesses, decision, outcome
from .test_process import gnomon as command
from .test_process import recording
from .test_store import SOURCE

_HOUR = 3_600 * 10**9
_START = 1_700_000_000_000_000_000 // _HOUR * _HOUR
#: Hours before this one are pruned, again and again.
_KEPT = _START + _HOUR

_UPKEEP = f"""
import sys, time
from gnomon.recorder.compaction import When, compact
from gnomon.recorder.retention import Keep, prune
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
store = TraceStore(sys.argv[1])
print("ready", flush=True)
while True:
    try:
        compact(store, When(time.time_ns(), 0.0))
    except TraceError as error:
        assert "another compaction" in str(error), error
    prune(store, Keep({_KEPT}, older_than_s=0.0))
"""


@contextmanager
def upkeep(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Merge and prune in another process, without a pause; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _UPKEEP, str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    try:
        yield process
        assert process.poll() is None, process.communicate()[1]
    finally:
        process.kill()
        process.communicate()


class Writer(threading.Thread):
    """Writes decisions, their outcomes later, and events, into three hours of which one is pruned."""

    def __init__(self, store: Path, first: int) -> None:
        super().__init__()
        self.store = TraceStore(store)
        self.next = first
        self.written: set[int] = set()
        self.stop = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.write()
        except BaseException as error:  # noqa: BLE001 - told by the test's thread
            self.failed = error

    def write(self) -> None:
        made = [decision(i, _START + i % 3 * _HOUR + i) for i in range(self.next, self.next + 6)]
        self.store.write_records(SOURCE, [*made, accesses(self.next, 6, _START + 2 * _HOUR)])
        self.store.write_records(SOURCE, [outcome(each) for each in made])
        self.written |= {each.seq for each in made}
        self.next += 6


def check(store: TraceStore, written: set[int]) -> None:
    """See that what was written is read, each row once, with its outcome."""
    kept = {i for i in written if i % 3}
    table = store.decisions(since=_KEPT)
    ids = [int.from_bytes(i[8:], "big") for i in table["decision_id"].to_pylist()]
    assert len(ids) == len(set(ids))
    rows = dict(zip(ids, table["outcome_time"].to_pylist(), strict=True))
    assert kept <= rows.keys()
    assert all(rows[i] == _START + i % 3 * _HOUR + i + 30_000_000 for i in kept)
    events = store.workload()["workload_id"].to_pylist()
    assert len(events) == len(set(events)) and len(events) >= len(written)


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.soak)])
def test_merging_and_pruning_killed_at_random_lose_and_double_nothing(
    tmp_path: Path, rounds: int
) -> None:
    """While others write and read."""
    luck = random.Random(rounds)
    written: set[int] = set()
    first = Writer(tmp_path, 0)
    first.write()
    written |= first.written
    for number in range(rounds):
        with upkeep(tmp_path), upkeep(tmp_path):
            writer = Writer(tmp_path, 6 + number * 1_000_000)
            writer.start()
            until = time.monotonic() + 0.2 + luck.random() * 0.4
            while time.monotonic() < until:
                check(TraceStore(tmp_path), written | set(writer.written))
            writer.stop.set()
            writer.join()
            assert writer.failed is None
            written |= writer.written
        check(TraceStore(tmp_path), written)
    gnomon.compact(tmp_path, older_than_s=0.0)
    gnomon.prune(tmp_path, older_than_s=(time.time_ns() - _KEPT) / 1e9 - 1e-3)
    check(TraceStore(tmp_path), written)
    for table, each_hook_and_hour in (("decisions", 2), ("outcomes", 2), ("workload", 1)):
        paths = list((tmp_path / table).rglob("*.parquet"))
        assert len(paths) == each_hook_and_hour
        ids = pa.concat_tables(pq.read_table(path) for path in paths)[TABLES[table].key]
        assert len(ids) == len(ids.unique())


def send(
    address: str, first: int, most: int, size: int = 0
) -> tuple[set[int], grpc.RpcError | None]:
    """Send decisions one a request until one is refused; return what was acknowledged, and the refusal."""
    encoder = Encoder(FakeHook())
    acknowledged: set[int] = set()
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(METHOD)
        for i in range(first, first + most):
            made = decision(i, _START + _HOUR + i, detail=os.urandom(size // 2).hex())
            records = map(encoder.encode, (made, outcome(made)))
            try:
                export(request(resource({}), records, i.to_bytes(16, "big")), timeout=20)
            except grpc.RpcError as error:
                return acknowledged, error
            acknowledged.add(i)
    return acknowledged, None


def test_two_recorders_on_one_store(tmp_path: Path) -> None:
    """Both merge and prune what the other has stored; a batch that was sent to both is read once."""
    store = tmp_path / "store"
    options = ("--compact-after", "0s", "--keep-bytes", "1G")
    for number in range(2):
        ones = [
            recording(
                store,
                *options,
                "--spool",
                str(tmp_path / f"spool-{i}"),
                ready=tmp_path / f"ready-{i}",
            )
            for i in range(2)
        ]
        with ones[0] as (one, here), ones[1] as (other, there):
            assert send(here, 100 * number, 20)[1] is None
            assert send(there, 100 * number + 10, 20)[1] is None
            for process in (one, other):
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
    table = TraceStore(store).decisions()
    ids = [int.from_bytes(i[8:], "big") for i in table["decision_id"].to_pylist()]
    assert sorted(ids) == [*range(30), *range(100, 130)]
    gnomon.compact(store, older_than_s=0.0)
    assert len(list(store.rglob("*.parquet"))) == 1
    assert TraceStore(store).decisions() == table


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes, or a skip where none can be made."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here; injected faults are tested in test_faults.py")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_refuses_senders_and_loses_nothing(
    small_disk: Path, tmp_path: Path
) -> None:
    """Spool and store share it; when there is room again, recording goes on without a restart."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(6 << 20))
    store = small_disk / "store"
    with recording(store, ready=tmp_path / "ready") as (process, address):
        acknowledged, refusal = send(address, 0, 10_000, 4000)
        assert refusal is not None and refusal.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "cannot write its spool" in (refusal.details() or "")
        assert len(acknowledged) > 50
        filler.unlink()
        more, refusal = send(address, 20_000, 50, 4000)
        assert refusal is None and len(more) == 50
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0 and "No space left on device" in told
    reading = TraceStore(store).read("decisions")
    ids = {int.from_bytes(i[8:], "big") for i in reading.table["decision_id"].to_pylist()}
    assert ids == acknowledged | more
    assert (reading.duplicates, reading.damaged) == (0, ())


def test_a_merge_for_which_the_disk_has_no_room_changes_nothing(small_disk: Path) -> None:
    store = TraceStore(small_disk / "store")
    for part in range(8):
        made = [
            decision(100 * part + i, _START + part, detail=os.urandom(900).hex())
            for i in range(100)
        ]
        store.write_records(SOURCE, made)
    before = store.decisions()
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - (100 << 10))))
    done = command("traces", "compact", str(small_disk / "store"), "--older-than", "0s")
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert store.decisions() == before
    assert not store.files.hidden()
    (small_disk / "filler").unlink()
    done = command("traces", "compact", str(small_disk / "store"), "--older-than", "0s")
    assert done.returncode == 0 and "8 became 1" in done.stdout
    assert store.decisions() == before
