"""What recording costs the service: from drained records to acknowledged ones, CPU time of its process."""

from __future__ import annotations

import contextlib
import logging
import statistics
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from results import REFERENCE_CALL_NS, Peer, Row

from gnomon.sdk.records import Decision, Record
from gnomon.sdk.telemetry import names
from gnomon.sdk.telemetry.encode import Encoder, request, resource
from gnomon.sdk.telemetry.export import Limits, OtlpSink
from gnomon.sdk.telemetry.settings import Settings
from recording.data import HOOK, SERVICE, decisions, mixed
from recording.receivers import Receiver, receiver

RECORDS = 40_000
PEER_RECORDS = 10_000
REPEATS = 7
ROUND = 4096  # records that a drainer hands over at once
TARGET = 250_000.0


def rows(scale: float) -> list[Row]:
    """Measure, and return the rows; ``scale`` is that of the targets."""
    made = decisions(RECORDS)
    both = mixed(made[: RECORDS // 2])
    with receiver("parse") as other:
        peers = {gzip: peer(other, made[:PEER_RECORDS], gzip) for gzip in (False, True)}
        found = []
        for what, records in (("decisions", made), ("decisions and outcomes", both)):
            for gzip in (False, True):
                found.append(_throughput(other, what, records, gzip, peers[gzip], scale))
        return [*found, *_encoding(made), *losses(other, made)]


def bare_call_ns() -> float:
    """Return the CPU cost of a bare three-argument call here, in ns: best of fifteen."""

    def bare(a: int, b: int, c: int) -> int:
        return a

    timer = timeit.Timer("f(1, 2, 3)", globals={"f": bare}, timer=time.process_time)
    return min(timer.repeat(15, 100_000)) / 100_000 * 1e9


def cpu_per_second(work: Callable[[], object], n: int) -> list[float]:
    """Return records per CPU second of this process, one figure per repeat."""
    work()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(n / (time.process_time() - start))
    return found


def row(
    name: str,
    found: Sequence[float],
    peer: Peer | None,
    note: str,
    scale: float,
    *,
    aimed: bool = True,
) -> Row:
    """Return a row of records per second of one core; ``scale`` is that of its target."""
    if aimed:
        note += f"; target scaled by a bare call of {REFERENCE_CALL_NS / scale:.0f} ns"
    return Row(
        name,
        statistics.median(found),
        "records/s/core",
        "higher",
        TARGET if aimed else None,
        (min(found), max(found)),
        peer,
        note,
        scale,
    )


@contextlib.contextmanager
def sink(other: Receiver, gzip: bool, limits: Limits | None = None) -> Iterator[OtlpSink]:
    """Return an OTLP sink that is closed again."""
    made = OtlpSink(
        attributes={"service.name": SERVICE},
        settings=Settings(other.address, gzip=gzip),
        limits=limits,
    )
    try:
        yield made
    finally:
        made.close()


def send(to: OtlpSink, records: Sequence[Record]) -> None:
    """Hand records over as fast as there is room, and wait for the last acknowledgement."""
    for at in range(0, len(records), ROUND):
        while to.account().pending > 32_768:
            time.sleep(0.001)
        to.write(HOOK, records[at : at + ROUND])
    to.flush(30.0)


def _throughput(
    other: Receiver, what: str, records: Sequence[Record], gzip: bool, beside: Peer, scale: float
) -> Row:
    with sink(other, gzip) as to:
        found = cpu_per_second(lambda: send(to, records), len(records))
        account = to.account()
    assert account.acknowledged == account.recorded, account
    how = "gzip, the default" if gzip else "no compression, as OpenTelemetry's default"
    return row(
        f"client: {what}, {how}", found, beside, "encoding and gRPC included; none lost", scale
    )


def attributes(made: Decision) -> dict[str, Any]:
    """Return a decision's attributes as a user of OpenTelemetry would give them."""
    return {
        names.FLAG_KEY: HOOK.name,
        names.SCHEMA: "load_balancer/1",
        names.FLAG_PROVIDER: names.SCOPE,
        names.FLAG_VARIANT: made.arm,
        names.FLAG_REASON: made.reason,
        names.FLAG_VERSION: made.policy,
        names.DECISION_REASON: made.reason,
        names.DECISION_EPOCH: made.epoch,
        names.DECISION_BLOCK: made.block,
        names.DECISION_ACTION: made.action,
        names.DECISION_ITEMS: made.n_items,
        names.DECISION_ID: made.seq.to_bytes(16, "big"),
        names.DECISION_FEATURES: made.seq.to_bytes(64, "big"),
        names.DECISION_DURATION: made.duration_ns,
        names.DECISION_UNIT: made.unit,
        names.DECISION_PROPENSITY: made.propensity,
    }


@contextlib.contextmanager
def otel_logger(other: Receiver, gzip: bool, queue: int) -> Iterator[tuple[Any, Any]]:
    """Return OpenTelemetry's logger, exporting to a receiver, and its provider."""
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    logging.disable(logging.WARNING)  # it warns of every record that it loses
    exporter = OTLPLogExporter(
        endpoint=other.address,
        insecure=True,
        compression=Compression.Gzip if gzip else Compression.NoCompression,
    )
    provider = LoggerProvider(resource=Resource.create({"service.name": SERVICE}))
    processor = BatchLogRecordProcessor(exporter, max_queue_size=queue, schedule_delay_millis=200)
    provider.add_log_record_processor(processor)
    try:
        yield provider.get_logger("bench"), provider
    finally:
        provider.shutdown()
        logging.disable(logging.NOTSET)


def emit(logger: Any, made: Sequence[Decision], given: Sequence[dict[str, Any]]) -> None:
    """Emit decisions as OpenTelemetry log records."""
    from opentelemetry._logs import SeverityNumber

    for each, values in zip(made, given, strict=True):
        logger.emit(
            timestamp=each.time_ns,
            severity_number=SeverityNumber.INFO,
            event_name=names.DECISION,
            attributes=values,
        )


def peer(other: Receiver, made: Sequence[Decision], gzip: bool) -> Peer:
    """Return what OpenTelemetry's SDK does with the same attributes and a queue that loses nothing."""
    given = [attributes(each) for each in made]
    with otel_logger(other, gzip, 1_000_000) as (logger, provider):

        def work() -> None:
            emit(logger, made, given)
            provider.force_flush()

        found = cpu_per_second(work, len(made))
    name = "OpenTelemetry SDK, batch processor, OTLP exporter"
    return Peer(name, version("opentelemetry-sdk"), statistics.median(found))


def _encoding(made: Sequence[Decision]) -> list[Row]:
    encoder, few = Encoder(HOOK), made[:PEER_RECORDS]
    where = resource({"service.name": SERVICE})
    built = statistics.median(cpu_per_second(lambda: build(few), len(few)))
    found = cpu_per_second(lambda: request(where, encoder.encode_all(few), b"b" * 16), len(few))
    beside = Peer("the same request from protobuf objects (upb)", version("protobuf"), built)
    return [row("client: encoding alone, decisions", found, beside, "", 1.0, aimed=False)]


def build(made: Sequence[Decision]) -> bytes:
    """Return the request built from protobuf objects."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    message = ExportLogsServiceRequest()
    logs = message.resource_logs.add().scope_logs.add().log_records
    for each in made:
        log = logs.add(time_unix_nano=each.time_ns, severity_number=9, event_name=names.DECISION)
        for key, value in attributes(each).items():
            holder = log.attributes.add(key=key).value
            kind = {str: "string", int: "int", float: "double", bytes: "bytes"}[type(value)]
            setattr(holder, f"{kind}_value", value)
    return message.SerializeToString()


def losses(other: Receiver, made: Sequence[Decision]) -> list[Row]:
    """Return what is lost of a burst, at the default bounds and far beyond them."""
    before = other.state().records
    given = [attributes(each) for each in made]
    with otel_logger(other, False, 2048) as (logger, provider):
        emit(logger, made, given)
        provider.force_flush()
    theirs = len(made) - (other.state().records - before)
    beside = Peer("OpenTelemetry SDK, default queue", version("opentelemetry-sdk"), theirs)
    ours, _ = _burst(other, made, Limits())
    lost, unexplained = _burst(other, made, Limits(backlog=4096))
    note = f"{lost} of {len(made)} were dropped, each of them counted"
    return [
        _count("client: lost of a burst of 40,000 decisions, default bounds", ours, beside, ""),
        _count(
            "client: records that nobody can account for, backlog of 4,096", unexplained, None, note
        ),
    ]


def _burst(other: Receiver, made: Sequence[Decision], limits: Limits) -> tuple[int, int]:
    """Return how many records of one write did not arrive, and how many of those are not counted."""
    before = other.state().records
    with sink(other, True, limits) as to:
        to.write(HOOK, made)
        to.flush(30.0)
        account = to.account()
    arrived = other.state().records - before
    return len(made) - arrived, abs(account.dropped - (len(made) - arrived)) + account.unknown


def _count(name: str, value: float, beside: Peer | None, note: str) -> Row:
    return Row(name, value, "records", "lower", 0.0, (value, value), beside, note)
