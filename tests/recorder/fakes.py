"""A hook as a sink sees it, and Hypothesis strategies for every record type."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from gnomon.sdk.records import Decision, Outcome, Workload, WorkloadBatch


@dataclass
class FakeHook:
    """Has what a sink reads of a hook."""

    name: str = "router.pick"
    kind: Any = field(default_factory=lambda: SimpleNamespace(name="load_balancer", version=1))
    process_id: str = "00c0ffee00c0ffee"
    counters: dict[str, int] = field(default_factory=dict)
    killed: str = ""


def decision(seq: int, time_ns: int = 1_700_000_000_000_000_000, **changes: Any) -> Decision:
    """Return an ordinary decision among two items."""
    base = Decision(
        seq=seq,
        time_ns=time_ns,
        duration_ns=-1,
        unit="",
        arm="incumbent",
        reason="static",
        detail="",
        policy="incumbent",
        epoch=0,
        block=-1,
        action=seq % 2,
        n_items=2,
        features=(1.0, 20.5, 1.0, 3.0, 0.25, 0.0, 31.5, 2.0, 1.0, 0.75),
        propensity=1.0,
        inclusion="sampled",
        trace_id=0,
        span_id=0,
    )
    return base._replace(**changes)


def outcome(of: Decision, delay_ns: int = 30_000_000, **changes: Any) -> Outcome:
    """Return an ordinary outcome of a decision."""
    base = Outcome(
        seq=of.seq,
        time_ns=of.time_ns + delay_ns,
        ok=True,
        status="reported",
        values=(("latency_ms", delay_ns / 1e6),),
        arm=of.arm,
        block=of.block,
        decision_ns=of.time_ns,
    )
    return base._replace(**changes)


def accesses(
    seq: int, n: int, time_ns: int = 1_700_000_000_000_000_000, spacing_ns: int = 10_000
) -> WorkloadBatch:
    """Return a batch of a cache's accesses: ten keys in turn, every third lookup a miss."""
    numbers = range(seq, seq + n)
    return packed(
        seq,
        "access",
        [time_ns + spacing_ns * i for i in numbers],
        {
            "key": [float(2**53 - 1 - i % 10) for i in numbers],
            "size": [100.0 * (i % 10) for i in numbers],
            "op": [float(i % 3 != 0) for i in numbers],
        },
    )


def packed(
    seq: int, event: str, times_ns: Sequence[int], fields: dict[str, list[float]]
) -> WorkloadBatch:
    """Return a batch from plain numbers."""
    n = len(times_ns)
    values = tuple((name, struct.pack(f"<{n}d", *column)) for name, column in fields.items())
    return WorkloadBatch(seq, event, struct.pack(f"<{n}q", *times_ns), values)


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
words = st.sampled_from(["", "incumbent", "stable", "candidate", "ünïcode/☃", "x" * 200])
int64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, 2**63 - 1])
times = st.integers(0, 2**63 - 1) | st.just(1_700_000_000_000_000_000)
floats = st.floats(allow_nan=True, allow_infinity=True, width=64)
seqs = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**64 - 1])


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Any decision that the types allow."""
    n_items = draw(st.integers(0, 6))
    width = draw(st.integers(0, 5)) * n_items
    trace_id = draw(st.integers(0, 2**128 - 1) | st.just(0))
    return Decision(
        seq=draw(seqs),
        time_ns=draw(times),
        duration_ns=draw(int64),
        unit=draw(texts),
        arm=draw(words),
        reason=draw(st.sampled_from(["static", "split", "fallback", "explore", "shadow"])),
        detail=draw(texts),
        policy=draw(words),
        epoch=draw(int64),
        block=draw(int64),
        action=draw(st.integers(-1, n_items - 1)),
        n_items=n_items,
        features=tuple(draw(st.lists(floats, min_size=width, max_size=width))),
        propensity=draw(floats),
        inclusion=draw(st.sampled_from(["sampled", "violation", "fallback"])),
        trace_id=trace_id,
        span_id=draw(st.integers(1, 2**64 - 1)) if trace_id else 0,
    )


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    """Any outcome that the types allow."""
    values = draw(st.dictionaries(texts, floats, max_size=4))
    return Outcome(
        seq=draw(seqs),
        time_ns=draw(times),
        ok=draw(st.booleans()),
        status=draw(st.sampled_from(["reported", "error", "cancelled", "missing"])),
        values=tuple(values.items()),
        arm=draw(words),
        block=draw(int64),
        decision_ns=draw(times),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Any workload event that the types allow."""
    values = draw(st.dictionaries(texts, texts | floats, max_size=4))
    return Workload(draw(seqs), draw(times), draw(texts), tuple(values.items()))


@st.composite
def batches(draw: st.DrawFn, most: int = 20) -> WorkloadBatch:
    """Any batch of workload events that the recorder takes."""
    n = draw(st.integers(1, most))
    start = draw(st.integers(0, 2**63 - 1 - 10**12) | st.just(1_700_000_000_000_000_000))
    column = st.lists(floats, min_size=n, max_size=n)
    return packed(
        draw(st.integers(0, 2**64 - n) | st.just(2**64 - n)),
        draw(texts),
        [start + draw(st.integers(0, 10**12)) for _ in range(n)],
        draw(st.dictionaries(texts.filter(lambda t: len(t.encode()) <= 64), column, max_size=4)),
    )


records = decisions() | outcomes() | workloads() | batches()
