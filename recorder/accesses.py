"""What a trace store holds of a cache: its accesses, counted."""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Events and values of ``op`` as the ``cache`` kind declares them, which this room may not import.
_ACCESS, _CACHE = "access", "cache"
_MISS, _HIT, _INSERTION, _REMOVAL = range(4)

FloatArray: TypeAlias = npt.NDArray[np.float64]
#: A map as a plain list of its entries, which more functions take.
ENTRIES = pa.list_(pa.struct([("key", pa.string()), ("value", pa.float64())]))


@dataclass(frozen=True, slots=True)
class Accesses:
    """The recorded accesses of a cache.

    Attributes:
        lookups, hits: how many, and how many found something.
        insertions, removals: insertions or replacements, and deletions or expiries.
        hit_ratio: hits by lookups; 0 without lookups.
        distinct: different keys.
        size: of all of them together, each at the largest size recorded, as ``getsizeof`` gives it.
        rate: accesses per second between the first and the last; 0 when they are at one time.
        sampled: share of the keys that is recorded, as last stated; 1 when nobody did.
        capacity: of the cache, as last stated; 0 when nobody did.
        policy: name of the policy in the service's own source, as last stated.
    """

    lookups: int
    hits: int
    insertions: int
    removals: int
    hit_ratio: float
    distinct: int
    size: float
    rate: float
    sampled: float
    capacity: float
    policy: str


def accesses(workload: pa.Table) -> Accesses | None:
    """Return what a table of workload events, in order of time, says of a cache; None without any access."""
    rows = workload.filter(pc.equal(workload["event"], _ACCESS))
    if not rows.num_rows:
        return None
    counts = np.bincount(_ops(numbers(rows["numbers"], "op")), minlength=_REMOVAL + 2)
    misses, hits, insertions, removals = (int(n) for n in counts[: _REMOVAL + 1])
    distinct, size = _objects(numbers(rows["numbers"], "key"), numbers(rows["numbers"], "size"))
    stated = workload.filter(pc.equal(workload["event"], _CACHE))
    return Accesses(
        lookups=misses + hits,
        hits=hits,
        insertions=insertions,
        removals=removals,
        hit_ratio=hits / (misses + hits) if misses + hits else 0.0,
        distinct=distinct,
        size=size,
        rate=_rate(rows["time"].to_numpy()),
        sampled=_last(numbers(stated["numbers"], "sampled"), 1.0),
        capacity=_last(numbers(stated["numbers"], "capacity"), 0.0),
        policy=_text(stated["texts"], "policy"),
    )


def numbers(column: pa.ChunkedArray, field: str) -> FloatArray:
    """Return one field of the ``numbers`` of workload events, f8[n]; NaN where an event lacks it."""
    found = np.full(len(column), np.nan)
    first = 0
    for chunk in column.chunks:
        entries = chunk.cast(ENTRIES)
        flat = pc.list_flatten(entries)
        named = pc.equal(pc.struct_field(flat, 0), field).to_numpy(zero_copy_only=False)
        at = pc.list_parent_indices(entries).to_numpy()[named]
        found[first + at] = pc.struct_field(flat, 1).to_numpy(zero_copy_only=False)[named]
        first += len(chunk)
    return found


def _ops(values: FloatArray) -> npt.NDArray[np.int64]:
    """Return operations as integers; whatever is none as the number after the last."""
    known = np.isin(values, (_MISS, _HIT, _INSERTION, _REMOVAL))
    return np.where(known, values, _REMOVAL + 1).astype(np.int64)


def _objects(keys: FloatArray, sizes: FloatArray) -> tuple[int, float]:
    """Return how many different keys there are, and their sizes together."""
    distinct, of = np.unique(keys[~np.isnan(keys)], return_inverse=True)
    largest = np.zeros(len(distinct))
    np.maximum.at(largest, of, np.nan_to_num(sizes[~np.isnan(keys)]))
    return len(distinct), float(largest.sum())


def _rate(times: npt.NDArray[np.int64]) -> float:
    span_ns = int(times.max()) - int(times.min())
    return (len(times) - 1) / span_ns * 1e9 if span_ns else 0.0


def _last(values: FloatArray, default: float) -> float:
    stated = values[~np.isnan(values)]
    return float(stated[-1]) if len(stated) else default


def _text(column: pa.ChunkedArray, field: str) -> str:
    stated: list[Any] = [dict(row).get(field) for row in column[-1:].to_pylist()]
    return str(stated[0]) if stated and stated[0] is not None else ""
