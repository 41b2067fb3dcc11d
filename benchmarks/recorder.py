"""What recording costs, from drained records to Parquet, and what a decision and an access weigh.

Rates are records per CPU second of the process that is named, sender or recorder, over gRPC on loopback,
medians of seven. The pinned generator's decisions have eight features of mixed precision, one of 10,000
users, propensity, duration, and an outcome each; the demo's capture is what its two routers send in 40 s.
Absolute targets are scaled by the cost of a bare call in the same run.

A cache's accesses are made up: Zipf-distributed keys (exponent 1.1) hashed to 53 bits, log-normal sizes,
seven lookups of ten a hit, Poisson arrivals at 100,000 a second, in batches of 8,192. The peers hold the
same four columns.
"""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from recording import client, server
from recording import weights as recording_weights
from results import REFERENCE_CALL_NS, Peer, Row

from gnomon.recorder.decode import decode
from gnomon.recorder.join import join
from gnomon.recorder.rows import Source, tables
from gnomon.recorder.store import TraceStore
from gnomon.sdk.batches import unpacked
from gnomon.sdk.records import WorkloadBatch
from gnomon.sdk.telemetry.encode import Encoder, request, resource

EVENTS = 2**18
BATCH = 8192
REPEATS = 5
SOURCE = Source("00c0ffee00c0ffee", "service", "thumbnails", "cache", 1)
HOOK = SimpleNamespace(
    name=SOURCE.hook, kind=SimpleNamespace(name="cache", version=1), process_id=SOURCE.process
)


def accesses() -> dict[str, Any]:
    """Return the columns of the accesses."""
    rng = np.random.default_rng(0)
    objects = np.minimum(rng.zipf(1.1, EVENTS), 10**6)
    distinct, of = np.unique(objects, return_inverse=True)
    return {
        "time": 1_700_000_000 * 10**9 + np.cumsum(rng.exponential(1e4, EVENTS)).astype(np.int64),
        "key": rng.integers(0, 2**53, len(distinct)).astype(float)[of],
        "size": np.round(rng.lognormal(8.0, 1.5, len(distinct)))[of],
        "op": (rng.random(EVENTS) < 0.7).astype(float),
    }


def batches(columns: dict[str, Any]) -> Iterator[WorkloadBatch]:
    """Yield the accesses as a hook records them."""
    fields = ("key", "size", "op")
    for at in range(0, EVENTS, BATCH):
        part = {name: column[at : at + BATCH].tobytes() for name, column in columns.items()}
        yield WorkloadBatch(at, "access", part["time"], tuple((f, part[f]) for f in fields))


def rate(work: Callable[[], object], events: int = EVENTS) -> tuple[float, tuple[float, float]]:
    """Return events per CPU second in millions: median, and smallest and largest repeat."""
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(events / (time.process_time() - start) / 1e6)
    return float(np.median(found)), (min(found), max(found))


def parquet_bytes(table: pa.Table, **how: Any) -> float:
    """Return bytes per row of a table as Parquet."""
    out = pa.BufferOutputStream()
    pq.write_table(table, out, **how)
    return float(out.getvalue().size) / table.num_rows


def run() -> list[Row]:
    """Measure, and return the rows; absolute targets are scaled by a bare call."""
    scale = REFERENCE_CALL_NS / client.bare_call_ns()
    return [*client.rows(scale), *server.rows(scale), *recording_weights.rows(), *_accesses()]


def _accesses() -> list[Row]:
    columns = accesses()
    made = list(batches(columns))
    encoder = Encoder(HOOK)
    payloads = [request(resource({}), [encoder.encode(each)], b"b" * 16) for each in made]
    return [*speeds(made, encoder, payloads), *weights(columns, made, payloads)]


def speeds(made: list[WorkloadBatch], encoder: Encoder, payloads: list[bytes]) -> list[Row]:
    """Return rows of events per second of one core."""
    few = list(unpacked(made[0]))
    encode_peer, _ = rate(lambda: [encoder.encode(each) for each in few], len(few))
    single = [request(resource({}), map(encoder.encode, few), b"b" * 16)]
    decode_peer, _ = rate(lambda: [*map(decode, single)], len(few))
    store_peer, _ = rate(lambda: store(few), len(few))
    measured = (
        ("encode", lambda: [encoder.encode(each) for each in made], encode_peer),
        ("decode", lambda: [*map(decode, payloads)], decode_peer),
        ("store", lambda: store(made), store_peer),
        ("read back", reading(made), None),
    )
    rows = []
    for name, work, peer in measured:
        value, spread = rate(work)
        beside = None if peer is None else Peer("one record per event", "", peer)
        rows.append(Row(f"{name}, accesses", value, "M events/s", "higher", None, spread, beside))
    return rows


def store(records: Any) -> None:
    """Write records to a new trace store, synced."""
    with tempfile.TemporaryDirectory() as folder:
        TraceStore(folder).write(tables(SOURCE, join(records)))


def reading(made: list[WorkloadBatch]) -> Callable[[], object]:
    """Return what reads the accesses from a trace store."""
    folder = tempfile.TemporaryDirectory()
    kept = TraceStore(folder.name)
    kept.write(tables(SOURCE, join(made)))
    return lambda: (kept.workload(SOURCE.hook), folder)


def weights(columns: dict[str, Any], made: list[WorkloadBatch], payloads: list[bytes]) -> list[Row]:
    """Return rows of bytes per access."""
    plain = b"".join(np.ascontiguousarray(column).tobytes() for column in columns.values())
    wire = sum(len(gzip.compress(payload, 6)) for payload in payloads) / EVENTS
    bare = len(gzip.compress(plain, 6)) / EVENTS
    with tempfile.TemporaryDirectory() as folder:
        kept = TraceStore(folder)
        kept.write(tables(SOURCE, join(made)))
        stored = sum(size for _, size in kept.files.parquet("workload")) / EVENTS
    defaults = parquet_bytes(pa.table(columns))
    return [
        weight("OTLP gzip, accesses", wire, Peer("the four columns, gzip", "", bare)),
        weight(
            "Parquet, accesses",
            stored,
            Peer("the four columns, pyarrow's defaults", pa.__version__, defaults),
        ),
    ]


def weight(name: str, value: float, peer: Peer) -> Row:
    """Return a row of bytes; they do not vary from run to run."""
    return Row(name, value, "bytes/access", "lower", None, (value, value), peer)
