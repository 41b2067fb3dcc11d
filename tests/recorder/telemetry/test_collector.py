"""Against a Collector that this project did not write: rotel, in Rust, from the package registry.

The service's exporter sends to it, and it sends on: to opentelemetry-proto's servicer, where every record
must be equal bit for bit, and to ``gnomon record``.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gnomon.recorder.decode import decode
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.records import Record
from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.accounting import Account
from gnomon.sdk.telemetry.delivery import METHOD
from gnomon.sdk.telemetry.export import Limits
from gnomon.sdk.telemetry.settings import Settings

from ..fakes import FakeHook, accesses, decision, outcome, records
from ..test_process import recording
from .receivers import Receiver, Request, Response, free_port, sequence, serving, until


def agent() -> Path | None:
    """Return the Collector's program, where it is installed and runs."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "rotel-agent"
    try:
        subprocess.run([path, "--version"], capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):  # it needs glibc 2.34 and this Python's library
        return None
    return path


_AGENT = agent()
pytestmark = pytest.mark.skipif(
    _AGENT is None, reason="no Collector: rotel is not installed, or does not run here"
)


@contextmanager
def collecting(
    target: str, folder: Path, *more: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a Collector that sends on to ``target``; yield its process and its address."""
    port = free_port()
    arguments = {
        "--otlp-grpc-endpoint": f"127.0.0.1:{port}",
        "--otlp-http-endpoint": f"127.0.0.1:{free_port()}",
        "--pid-file": str(folder / "pid"),
        "--log-file": str(folder / "log"),
        "--exporter": "otlp",
        "--otlp-exporter-endpoint": f"http://{target}",
        "--otlp-exporter-protocol": "grpc",
        "--otlp-exporter-retry-initial-backoff": "50ms",
        "--otlp-exporter-retry-max-backoff": "200ms",
        "--batch-timeout": "20ms",
    }
    flat = [part for pair in arguments.items() for part in pair]
    process = subprocess.Popen(
        [str(_AGENT), "start", *flat, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _listens(port))
        yield process, f"127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def exported(target: str, items: list[Record], hook: FakeHook | None = None) -> Account:
    """Send records and return the account, closed."""
    sink = OtlpSink(target, {"service.name": "router"}, rng=Random(1))
    sink.write(hook or FakeHook(), items)
    sink.close(20)
    return sink.account()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Receiver]]:
    """Yield a Collector's address, and the receiver behind it."""
    receiver = Receiver()
    with ExitStack() as stack:
        target = stack.enter_context(serving(receiver))
        folder = tmp_path_factory.mktemp("rotel")
        _, address = stack.enter_context(collecting(target, folder))
        yield address, receiver


_numbers = count()


@hypothesis_settings(max_examples=25)
@given(items=st.lists(records, min_size=1, max_size=12))
def test_every_record_comes_through_bit_for_bit(
    line: tuple[str, Receiver], items: list[Record]
) -> None:
    address, receiver = line
    hook = FakeHook(name=f"through-{next(_numbers)}")
    receiver.requests.clear()
    account = exported(address, items, hook)
    assert account.acknowledged == account.recorded
    until(lambda: len(receiver.logs) >= len(items))
    back: list[Record] = []
    for request in receiver.requests:
        for batch in decode(request.SerializeToString()).batches:
            for source, found in batch.records.items():
                assert (source.hook, source.service) == (hook.name, "router")
                back += found
    # the Collector may send two batches in either order
    assert sorted(map(exact, back)) == sorted(map(exact, items))


def exact(value: Any) -> str:
    """Make records comparable: floats by their bits."""
    if isinstance(value, float):
        return struct.pack("<d", value).hex()
    if isinstance(value, tuple):
        return f"{type(value).__name__}({','.join(map(exact, value))})"
    return repr(value)


def everything(n: int) -> list[Record]:
    made = [decision(i, trace_id=i + 1, span_id=i + 1) for i in range(n)]
    return [*made, *map(outcome, made), accesses(0, 20 * n)]


def test_through_a_collector_the_store_is_the_one_that_a_local_sink_writes(tmp_path: Path) -> None:
    items = everything(2_500)
    with recording(tmp_path / "store", "--json") as (recorder, target):
        with collecting(target, tmp_path) as (collector, address):
            account = exported(address, items)
            collector.send_signal(signal.SIGTERM)  # it hands on what it holds
            assert collector.wait(30) == 0
        recorder.send_signal(signal.SIGTERM)
        out, _ = recorder.communicate(timeout=30)
    assert account.acknowledged == account.recorded == 2 * 2_500 + 50_000
    totals = json.loads(out)
    assert (totals["decisions"], totals["workload"]) == (2_500, 50_000)
    local = StoreSink(TraceStore(tmp_path / "local"), "router")
    local.write(FakeHook(), items)
    local.close()
    for table in ("decisions", "workload"):
        assert sorted_rows(tmp_path / "store", table) == sorted_rows(tmp_path / "local", table)


def sorted_rows(store: Path, table: str) -> list[Any]:
    reading = TraceStore(store).read(table)
    assert (reading.duplicates, reading.damaged) == (0, ())
    rows: list[dict[str, Any]] = reading.table.to_pylist()
    return sorted(rows, key=lambda row: row[f"{table.removesuffix('s')}_id"])


def test_what_a_collector_sends_twice_is_stored_once(tmp_path: Path) -> None:
    """The recorder has it, its answer is lost, and the Collector comes again."""
    lost: set[bytes] = set()

    with ExitStack() as stack:
        recorder, target = stack.enter_context(recording(tmp_path / "store", "--json"))
        onward = stack.enter_context(grpc.insecure_channel(target)).unary_unary(METHOD)

        def losing(request: Request, context: Any) -> Response:
            data = request.SerializeToString()
            answer = Response.FromString(onward(data, timeout=10))
            if data not in lost:
                lost.add(data)
                context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
            return answer

        between = Receiver(losing)
        middle = stack.enter_context(serving(between))
        _, address = stack.enter_context(collecting(middle, tmp_path))
        assert exported(address, everything(500)).acknowledged == 1_000 + 10_000
        until(lambda: len(between.requests) >= 2 * len(lost) > 0)
        until(
            lambda: (
                len({sequence(log) for log in between.logs if log.event_name == "gnomon.decision"})
                == 500
            )
        )
        time.sleep(0.3)  # whatever else comes
        recorder.send_signal(signal.SIGTERM)
        out, _ = recorder.communicate(timeout=30)
    totals = json.loads(out)
    assert totals["duplicates"] > 0
    assert len(sorted_rows(tmp_path / "store", "decisions")) == 500
    assert len(sorted_rows(tmp_path / "store", "workload")) == 10_000


def stopped(process: int) -> bool:
    """Return whether every thread of a process stands still."""
    states = (task / "stat" for task in Path(f"/proc/{process}/task").iterdir())
    return all(state.read_text().rpartition(")")[2].split()[0] == "T" for state in states)


def test_a_frozen_collector_leaves_unknown_what_it_takes_later(tmp_path: Path) -> None:
    receiver = Receiver()
    with serving(receiver) as target, collecting(target, tmp_path) as (collector, address):
        sink = OtlpSink(
            settings=Settings(address, timeout_s=0.5), limits=Limits(batch=10), rng=Random(1)
        )
        sink.write(FakeHook(), [decision(i) for i in range(20)])
        sink.flush(20)
        assert sink.account().acknowledged == 20
        collector.send_signal(signal.SIGSTOP)
        until(lambda: stopped(collector.pid))
        sink.write(FakeHook(), [decision(20 + i) for i in range(40)])
        sink.close(20)
        account = sink.account()
        collector.send_signal(signal.SIGCONT)
        assert (account.acknowledged, account.dropped, account.unknown) == (20, 0, 40)
        until(lambda: {sequence(log) for log in receiver.logs} >= set(range(20)))
    arrived = {sequence(log) for log in receiver.logs}
    assert arrived <= set(range(60))


def test_a_collector_that_is_killed_costs_no_account(tmp_path: Path) -> None:
    receiver = Receiver()
    with serving(receiver) as target, collecting(target, tmp_path) as (collector, address):
        sink = OtlpSink(
            settings=Settings(address, timeout_s=0.4), limits=Limits(batch=5), rng=Random(1)
        )
        kill = threading.Timer(0.15, collector.kill)
        kill.start()
        for start in range(0, 2_000, 20):
            sink.write(FakeHook(), [decision(start + i) for i in range(20)])
            time.sleep(0.004)
        kill.join()
        sink.close(1.0)
    account = sink.account()
    assert account.recorded == 2_000
    assert account.recorded == account.acknowledged + account.dropped + account.unknown
    assert account.pending == 0
    assert 0 < account.acknowledged < 2_000
    assert set(account.reasons) <= {"unreachable", "closed"}
    # A Collector acknowledges what it holds in memory: what dies with it is not in this account.
    assert len({sequence(log) for log in receiver.logs}) <= account.acknowledged + account.unknown


def test_a_collector_whose_way_on_is_blocked_holds_up_nobody(tmp_path: Path) -> None:
    """It acknowledges until it is full; then the exporter waits, and the service does not."""
    release = threading.Event()

    def stuck(_: Request, __: Any) -> Response:
        release.wait(60)
        return Response()

    receiver = Receiver(stuck)
    made = [decision(i) for i in range(20)]
    with (
        serving(receiver) as target,
        collecting(target, tmp_path, "--disable-batching") as (_, address),
    ):
        sink = OtlpSink(
            settings=Settings(address, timeout_s=0.5), limits=Limits(batch=2), rng=Random(1)
        )
        until(lambda: fill(sink, made), 60)
        sink.close(2.0)
        release.set()
    account = sink.account()
    assert account.recorded == account.acknowledged + account.dropped + account.unknown
    assert account.unknown > 0
    assert set(account.reasons) <= {"closed", "backlog full"}


def fill(sink: OtlpSink, made: list[Record]) -> bool:
    """Send some more; return whether the Collector no longer takes any."""
    sink.write(FakeHook(), made)
    return sink.account().unknown > 0
