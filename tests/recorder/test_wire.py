"""Sink to receiver to store, over real gRPC on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gnomon.recorder.intake import Counts, Intake, Limits
from gnomon.recorder.receiver import Listening, Receiver
from gnomon.recorder.spool import Spool
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.records import Record, Workload
from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.settings import Settings

from .fakes import FakeHook, decision, outcome


@pytest.mark.parametrize("address", ["0.0.0.0:4317", "[::]:4317", "recorder.example:4317"])
def test_plain_text_beyond_this_machine_needs_a_word(address: str) -> None:
    assert Listening(address).exposed
    assert not Listening(address, insecure=True).exposed
    assert not Listening(address, Path("cert.pem"), Path("key.pem")).exposed
    assert not Listening("127.0.0.1:4317").exposed
    assert not Listening("[::1]:4317").exposed


class Running:
    """A recorder in a thread of its own."""

    def __init__(self, folder: Path, limits: Limits, listening: Listening) -> None:
        self.store = TraceStore(folder)
        self.address = ""
        self.counts = Counts()
        self.error: Exception | None = None
        self._folder, self._limits, self._listening = folder, limits, listening
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        """Stop gracefully; everything is in the store afterwards."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        intake = Intake(self.store, Spool(self._folder / ".spool"), self._limits)
        receiver = Receiver(intake, self._listening)
        await intake.start()
        try:
            await receiver.start()
        except ConfigurationError as error:
            self.error = error
        else:
            self.address, self.counts = receiver.address, intake.counts
            self._ready.set()
            await self._stop.wait()
            await receiver.stop()
        self._ready.set()
        await intake.close()


@contextmanager
def recorder(
    folder: Path, limits: Limits | None = None, listening: Listening | None = None
) -> Iterator[Running]:
    running = Running(folder, limits or Limits(), listening or Listening("127.0.0.1:0"))
    try:
        yield running
    finally:
        running.stop()


def traffic(n: int, start: int = 0) -> list[Record]:
    made = [
        decision(i, time_ns=1_700_000_000_000_000_000 + i * 10**6) for i in range(start, start + n)
    ]
    rest: list[Record] = [outcome(each) for each in made]
    return [*made, *rest]


def test_records_arrive_in_the_store(tmp_path: Path) -> None:
    events = [Workload(0, 1_700_000_000_000_000_000, "members", (("names", "a,b"), ("n", 2.0)))]
    with recorder(tmp_path) as running:
        sink = OtlpSink(f"http://{running.address}", {"service.name": "router"})
        sink.write(FakeHook(), traffic(500) + events)
        sink.close(20)
        account = sink.account()
    assert (account.recorded, account.acknowledged) == (1001, 1001)
    table = running.store.decisions("router.pick")
    assert table.num_rows == 500
    assert table["outcome_status"].null_count == 0
    row = table.slice(7, 1).to_pylist()[0]
    assert row["decision_id"] == bytes.fromhex("00c0ffee00c0ffee") + (7).to_bytes(8, "big")
    assert (row["process"], row["service"]) == ("00c0ffee00c0ffee", "router")
    assert row["values"] == [("latency_ms", 30.0)]
    assert row["features"] == list(decision(7).features)
    assert running.store.workload("router.pick")["texts"].to_pylist() == [[("names", "a,b")]]
    assert not list((tmp_path / ".spool").glob("*.spool"))


def test_what_is_sent_twice_is_stored_once(tmp_path: Path) -> None:
    from gnomon.sdk.telemetry.delivery import METHOD
    from gnomon.sdk.telemetry.encode import Encoder, request, resource

    encoder = Encoder(FakeHook())
    payload = request(resource({}), map(encoder.encode, traffic(10)), b"x" * 16)
    for _ in range(2):  # within one life of the recorder, and in the next
        with (
            recorder(tmp_path, Limits(roll_s=0.1)) as running,
            grpc.insecure_channel(running.address) as channel,
        ):
            for _ in range(3):
                channel.unary_unary(METHOD)(payload, timeout=10)
    assert running.counts.duplicates == 60
    assert running.counts.decisions == 0
    assert running.store.read("decisions").duplicates == 0
    assert running.store.decisions().num_rows == 10


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with (
        recorder(tmp_path / "a") as first,
        recorder(tmp_path / "b", listening=Listening(first.address)) as second,
    ):
        assert first.address in str(second.error)
        assert "--listen" in str(second.error)


def test_health_and_reflection(tmp_path: Path) -> None:
    with recorder(tmp_path) as running, grpc.insecure_channel(running.address) as channel:
        check = health_pb2.HealthCheckRequest()
        answer = health_pb2_grpc.HealthStub(channel).Check(check, timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        (listed,) = stub.ServerReflectionInfo(iter([ask]), timeout=10)
        names = {service.name for service in listed.list_services_response.service}
        assert "opentelemetry.proto.collector.logs.v1.LogsService" in names


def test_nonsense_is_refused_and_hurts_nobody(tmp_path: Path) -> None:
    from gnomon.sdk.telemetry.delivery import METHOD

    with recorder(tmp_path) as running, grpc.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(METHOD)(b"\xff\xff\xff", timeout=10)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        sink = OtlpSink(f"http://{running.address}")
        sink.write(FakeHook(), traffic(1))
        sink.close()
        assert sink.account().acknowledged == 2


def test_backpressure_refuses_and_the_sender_comes_back(tmp_path: Path) -> None:
    """A recorder whose spool is full says so; the sink waits as told and loses nothing it can hold."""
    limits = Limits(roll_s=0.1, spool_bytes=40_000, retry_s=0.05)
    with recorder(tmp_path, limits) as running:
        from gnomon.sdk.telemetry.export import Limits as SinkLimits

        sink = OtlpSink(
            settings=Settings(running.address, timeout_s=20.0), limits=SinkLimits(batch=20)
        )
        for start in range(0, 300, 20):
            sink.write(FakeHook(), traffic(20, start))
        sink.close(20)
        account = sink.account()
    assert running.counts.refused > 0
    assert account.acknowledged == account.recorded == 600
    assert running.store.decisions().num_rows == 300


def test_a_refusal_says_when_to_come_back(tmp_path: Path) -> None:
    """As OTLP has it: RESOURCE_EXHAUSTED with a RetryInfo, which a client of another make reads."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    from gnomon.sdk.telemetry.delivery import METHOD
    from gnomon.sdk.telemetry.retry import STATUS_DETAILS

    with (
        recorder(tmp_path, Limits(queue_bytes=0, retry_s=1.5)) as running,
        grpc.insecure_channel(running.address) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(METHOD)(b"some bytes", timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = Status.FromString(dict(caught.value.trailing_metadata())[STATUS_DETAILS])
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert info.retry_delay.ToTimedelta().total_seconds() == 1.5


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_request_beyond_the_limit_is_refused_whatever_it_was_on_the_wire(
    tmp_path: Path, compression: grpc.Compression
) -> None:
    """What counts is its size unpacked: a few kilobytes of gzip may be megabytes. Others are served."""
    from gnomon.sdk.telemetry.delivery import METHOD

    listening = Listening("127.0.0.1:0", message_bytes=1 << 20)
    with recorder(tmp_path, listening=listening) as running:
        with grpc.insecure_channel(running.address, compression=compression) as channel:
            export = channel.unary_unary(METHOD)
            with pytest.raises(grpc.RpcError) as caught:
                export(bytes(2 << 20), timeout=10)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        sink = OtlpSink(f"http://{running.address}")
        sink.write(FakeHook(), traffic(1))
        sink.close()
        assert sink.account().acknowledged == 2
