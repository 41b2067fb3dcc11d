"""Traces of caches for tests: made by hand, by Hypothesis, or imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gnomon.recorder.importers import Request, import_trace
from gnomon.recorder.store import TraceStore
from gnomon.sdk.cache.cell import Cell
from gnomon.shadow.traces.access_trace import (
    DELETE,
    LOOKUP,
    SET,
    UNKNOWN,
    AccessTrace,
    access_trace,
)

#: (cache, op, key, size)
Access = tuple[int, int, int, float]


def accessed(
    accesses: Sequence[Access],
    capacity: Sequence[float],
    hit: Sequence[int] | None = None,
    **head: Any,
) -> AccessTrace:
    """Return a trace of these accesses, a tenth of a second apart."""
    names: dict[tuple[int, int], int] = {}
    rows = [
        (cache, op, names.setdefault((cache, key), len(names)), size)
        for cache, op, key, size in accesses
    ]
    columns = np.array(rows, np.float64).reshape(-1, 4)
    given: dict[str, Any] = {
        "hook": "things",
        "kind": "cache",
        "start_ns": 0,
        "policy": "",
        "first": 0,
    }
    return AccessTrace(
        **(given | head),
        instances=tuple(f"{index:016x}" for index in range(len(capacity))),
        at=np.arange(len(rows)) / 10.0,
        instance=columns[:, 0].astype(np.int32),
        key=columns[:, 2].astype(np.int32),
        size=columns[:, 3],
        op=columns[:, 1].astype(np.int8),
        hit=np.full(len(rows), UNKNOWN, np.int8) if hit is None else np.array(hit, np.int8),
        capacity=np.array(capacity, np.float64),
        sampled=np.ones(len(capacity)),
    )


def lookups(keys: Sequence[int], capacity: float) -> AccessTrace:
    """Return a trace of lookups of objects of size 1 in one cache."""
    return accessed([(0, LOOKUP, key, 1.0) for key in keys], [capacity])


_OPS = st.sampled_from([LOOKUP, LOOKUP, LOOKUP, LOOKUP, SET, DELETE])
_SIZES = st.sampled_from([1.0, 1.0, 2.0, 0.5, 3.25, 0.0, 99.0])


def traces(most: int = 120, caches: int = 1) -> st.SearchStrategy[AccessTrace]:
    """Return traces with sets, deletions, objects of many sizes, and misses that bring nothing."""
    sizes = st.one_of(_SIZES, st.just(float("nan")))
    lookup = st.tuples(st.integers(0, caches - 1), st.just(LOOKUP), st.integers(0, 9), sizes)
    other = st.tuples(st.integers(0, caches - 1), _OPS, st.integers(0, 9), _SIZES)
    capacity = st.sampled_from([1.0, 2.0, 3.0, 4.5, 7.0])
    return st.builds(
        accessed,
        st.lists(st.one_of(lookup, other), min_size=1, max_size=most),
        st.lists(capacity, min_size=caches, max_size=caches),
    )


def plain(trace: AccessTrace) -> list[tuple[int, int, float]]:
    """Return (op, key, size) of every access."""
    columns = (trace.op.tolist(), trace.key.tolist(), trace.size.tolist())
    return list(zip(*columns, strict=True))


def served(trace: AccessTrace, cell: Cell) -> list[int]:
    """Return for each lookup whether a service's cell missed."""
    found = []
    for op, key, size in plain(trace):
        if op == DELETE:
            cell.remove(key)
        elif op == SET:
            cell.put(key, None, size)
        else:
            found.append(int(key not in cell))
            cell.lookup(key)
            if found[-1] and not math.isnan(size):
                cell.put(key, None, size, completes=True)
    return found


def imported(data: Path, folder: Path, name: str, capacity: str, **options: Any) -> AccessTrace:
    """Return a public trace, by way of a trace store."""
    form, file = {
        "cloudPhysicsIO": ("oracleGeneral", "cloudPhysicsIO.oracleGeneral.bin.gz"),
        "OLTP": ("arc", "OLTP.lis.zst"),
        "web07": ("ids", "cache2k__web07.trace.xz"),
        "orm-night": ("ids", "cache2k__orm-night.trace.xz"),
    }[name]
    store = TraceStore(folder / "traces")
    import_trace(store, Request(form, data / "cache" / file, name, capacity, **options))
    return access_trace(store, name)
