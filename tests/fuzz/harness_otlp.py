"""OTLP requests: the fast decoder reads what the slow one reads, and nothing in a request stops the recorder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from gnomon.recorder.decode import Decoded, decode, one_by_one
from gnomon.recorder.redaction import Redaction
from gnomon.recorder.rows import Joined, tables, whole
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Decision, Outcome

from . import mutate as _mutate
from . import telemetry

REDACTION = Redaction(
    {"unit": "hash", "items": "hash", "trace": "drop", "workload.key": "hash"}, b"k" * 32
)


def TestOneInput(data: bytes) -> None:
    try:
        found = decode(data)
    except TraceError as error:
        assert "\n" not in str(error), error
        for read in (one_by_one, REDACTION.apply):
            try:
                read(data)
            except TraceError:
                continue
            raise AssertionError(f"{read} reads what the decoder refuses")
        return
    wanted = one_by_one(data)
    assert found.foreign == wanted.foreign
    assert found.malformed == wanted.malformed
    assert _said(found) == _said(wanted)
    _stored(found)
    redacted = REDACTION.apply(data)
    again = decode(redacted.payload)
    assert not again.foreign
    # An identifier of a wrong size is left out, so that its record can be read.
    assert again.malformed.total() <= found.malformed.total()
    assert _told(again) == _told(found)


def _told(decoded: Decoded) -> int:
    """Return how many log records were Gnomon's."""
    return decoded.malformed.total() + sum(
        len(made) for batch in decoded.batches for made in batch.records.values()
    )


def _said(decoded: Decoded) -> Counter[str]:
    """Return what was read, whatever the order of the sources."""
    return Counter(
        repr((source, record, batch.rejected))
        for batch in decoded.batches
        for source, made in batch.records.items()
        for record in made
    )


def _stored(decoded: Decoded) -> None:
    """Make the tables that would be written."""
    for batch in decoded.batches:
        columns = [part for _, part in batch.columns()]
        assert sum(map(len, columns)) <= batch.count
        for source, made in batch.records.items():
            decisions = [(each, None) for each in made if isinstance(each, Decision)]
            outcomes = [each for each in made if isinstance(each, Outcome)]
            rest = [each for each in made if not isinstance(each, Decision | Outcome)]
            whole(tables(source, Joined(decisions, outcomes, rest)))  # type: ignore[arg-type]


def seeds() -> Iterator[bytes]:
    for n in (1, 3, 20):
        yield telemetry.payload(telemetry.records(n))
    for record in telemetry.records(1):
        yield telemetry.payload([record])


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.message(ExportLogsServiceRequest, data, random)
