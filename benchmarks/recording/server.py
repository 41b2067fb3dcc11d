"""What the recorder costs per record: from the socket to the acknowledgement, and on to Parquet."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import grpc
from results import Peer, Row

from gnomon.recorder.decode import decode, one_by_one
from gnomon.sdk.records import Outcome, Record
from gnomon.sdk.telemetry.delivery import METHOD
from gnomon.sdk.telemetry.encode import Encoder, request, resource
from recording.client import cpu_per_second, row
from recording.data import HOOK, SERVICE, decisions, mixed
from recording.receivers import Receiver, State, receiver

DECISIONS = 30_000
REPEATS = 7
BATCH = 1460  # a mebibyte of decisions, where the client closes a request
UNDER_WAY = 4


def rows(scale: float) -> list[Row]:
    """Measure, and return the rows; ``scale`` is that of the targets."""
    records = mixed(decisions(DECISIONS))
    found = []
    for gzip in (False, True):
        how = "gzip" if gzip else "no compression"
        parsed, _ = serve("parse", records, gzip)
        beside = Peer(
            "a receiver that parses with protobuf (upb) and keeps nothing",
            version("protobuf"),
            statistics.median(parsed),
        )
        acknowledged, _ = serve("spool", records, gzip)
        note = "decoded, checked and synced to the spool before each answer"
        found.append(
            row(f"recorder: to the acknowledgement, {how}", acknowledged, beside, note, scale)
        )
        stored, state = serve("store", records, gzip)
        note = "the same, and joined and written as Parquet"
        found.append(
            row(f"recorder: to the store, {how}", stored, beside, note, scale, aimed=False)
        )
    return [*found, _memory(state), *_decoding(records)]


def serve(mode: str, records: Sequence[Record], gzip: bool) -> tuple[list[float], State]:
    """Return records per CPU second of a receiver's process, per repeat, and its last state."""
    encoded = _encoded(records)
    found = []
    with receiver(mode) as other:
        state = other.state()
        for repeat in range(REPEATS + 1):
            before = state
            send(other, list(requests(encoded, repeat)), gzip)
            state = other.after(before.records + len(records))
            assert not state.problems, state.problems
            found.append(len(records) / (state.cpu_s - before.cpu_s))
        assert state.records == (REPEATS + 1) * len(records), state
    return found[1:], state


def _encoded(records: Sequence[Record]) -> list[bytes]:
    """Return records encoded, those of one type side by side within a request, as the sink sends them."""
    encoder = Encoder(HOOK)
    parts = (records[at : at + BATCH] for at in range(0, len(records), BATCH))
    return [
        encoder.encode(record)
        for part in parts
        for record in sorted(part, key=lambda record: isinstance(record, Outcome))
    ]


def requests(encoded: Sequence[bytes], repeat: int) -> Iterator[bytes]:
    """Yield requests of one batch each, as a client makes them; no two have the same id."""
    where = resource({"service.name": SERVICE})
    for at in range(0, len(encoded), BATCH):
        batch_id = repeat.to_bytes(8, "big") + at.to_bytes(8, "big")
        yield request(where, encoded[at : at + BATCH], batch_id)


def send(other: Receiver, payloads: Sequence[bytes], gzip: bool) -> None:
    """Send requests, a few at a time, and wait for the answers."""
    compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(other.address, options) as channel:
        export = channel.unary_unary(METHOD)
        waiting = []
        for payload in payloads:
            waiting.append(export.future(payload, compression=compression, timeout=60.0))
            if len(waiting) >= UNDER_WAY:
                waiting.pop(0).result()
        for answer in waiting:
            answer.result()


def _memory(state: State) -> Row:
    peak = state.peak_mib
    note = f"after {state.records} records, requests of {BATCH}"
    return Row("recorder: peak memory", peak, "MiB", "lower", None, (peak, peak), None, note)


def _decoding(records: Sequence[Record]) -> list[Row]:
    made = list(requests(_encoded(records), 0))
    slow = statistics.median(cpu_per_second(lambda: [*map(one_by_one, made[:4])], 4 * BATCH))
    fast = cpu_per_second(lambda: [*map(decode, made)], len(records))
    beside = Peer("the same, one record at a time", "", slow)
    return [row("recorder: decoding alone", fast, beside, "", 1.0, aimed=False)]
