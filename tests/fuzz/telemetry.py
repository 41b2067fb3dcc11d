"""Requests as the sdk's encoder makes them."""

from __future__ import annotations

import struct
from types import SimpleNamespace

from gnomon.sdk.records import Decision, Outcome, Record, Workload, WorkloadBatch
from gnomon.sdk.telemetry.encode import Encoder, request, resource

NOW = 1_700_000_000_000_000_000
HOOK = SimpleNamespace(
    name="router.pick",
    kind=SimpleNamespace(name="load_balancer", version=1),
    process_id="00c0ffee00c0ffee",
)


def decision(seq: int) -> Decision:
    """Return a decision among two items."""
    return Decision(
        seq=seq, time_ns=NOW + seq, duration_ns=1200, unit="u", arm="incumbent", reason="static",
        detail="", policy="incumbent", epoch=1, block=-1, action=seq % 2, n_items=2,
        features=(1.0, 20.5, 1.0, 3.0, 0.25, 0.0, 31.5, 2.0, 1.0, 0.75), propensity=0.5,
        inclusion="sampled", trace_id=seq, span_id=seq,
    )  # fmt: skip


def outcome(seq: int) -> Outcome:
    """Return what came of it."""
    values = (("latency_ms", 30.0 + seq),)
    return Outcome(
        seq, NOW + seq + 30_000_000, True, "reported", values, "incumbent", -1, NOW + seq
    )


def records(n: int) -> list[Record]:
    """Return records of every kind, so many of those that come in columns."""
    times = struct.pack("<3q", NOW, NOW + 1, NOW + 2)
    columns = (("key", struct.pack("<3d", 1.0, 2.0, 1.0)), ("op", struct.pack("<3d", 0, 1, 1)))
    return [
        *(decision(seq) for seq in range(n)),
        *(outcome(seq) for seq in range(n)),
        Workload(n, NOW, "cache", (("capacity", 10.0), ("policy", "lru"))),
        WorkloadBatch(n + 1, "access", times, columns),
    ]


def payload(found: list[Record]) -> bytes:
    """Return one request."""
    encoder = Encoder(HOOK)
    about = resource({"service.name": "router", "service.instance.id": HOOK.process_id})
    return request(about, [encoder.encode(each) for each in found], b"b" * 16)
