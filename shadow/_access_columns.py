"""From the trace store's workload table to the columns of a cache's trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..policies.cache import cache
from ..sdk.errors import TraceError
from ._expiry import refuse_expiry
from .access_trace import DELETE, LOOKUP, SET, UNKNOWN, AccessTrace
from .trace import LEAST_DECISIONS, FloatArray

IntArray = npt.NDArray[np.int64]

_HIT = 1  # op of a lookup that hit, in the records
#: A stretch of which more accesses are missing is not replayed: every one of them changes contents.
MOST_LOST = 0.01


class _Settings(NamedTuple):
    """What a ``cache`` event says."""

    capacity: float
    sampled: float
    policy: str
    ttl: float


class _Stretch(NamedTuple):
    """Accesses of one process under one ``cache`` event: rows [low, high) of the ordered table."""

    process: str
    settings: _Settings
    low: int
    high: int


class _Part(NamedTuple):
    """Accesses of one stretch; times never go back."""

    time: IntArray
    key: FloatArray
    size: FloatArray
    op: FloatArray


@dataclass
class _Rows:
    """Accesses as recorded, in order."""

    time: IntArray
    instance: IntArray
    key: IntArray
    size: FloatArray
    op: IntArray

    def taken(self, rows: npt.NDArray[Any]) -> _Rows:
        return _Rows(*(column[rows] for column in vars(self).values()))


def trace(workload: pa.Table, hook: str) -> AccessTrace:
    """Return the longest stretch of accesses of each process, all under one policy."""
    table = _ordered(workload, hook)
    stretches = _under_one_policy(_longest(_stretches(table, hook)))
    rows = _rows(table, stretches)
    if not len(rows.time) or not stretches[0].settings.policy:
        return _made(rows, stretches, hook)
    made = _made(_completed(rows), stretches, hook)
    refuse_expiry(made, np.array([each.settings.ttl for each in stretches]))
    return made


def _ordered(workload: pa.Table, hook: str) -> pa.Table:
    """Return the rows of the kind in the order in which each process made them."""
    if not workload.num_rows:
        raise TraceError(f"hook {hook!r} has no accesses; record or import some first")
    kinds = pc.unique(workload["kind"]).to_pylist()
    versions = pc.unique(workload["kind_version"]).to_pylist()
    if kinds != [cache.name] or versions != [cache.version]:
        raise TraceError(
            f"hook {hook!r} was recorded as {kinds} of version {versions}, this is {cache.name!r} of "
            f"version {cache.version}; capture again"
        )
    order = np.lexsort((_seq(workload["workload_id"]), _ranks(workload["process"])))
    return workload.take(pa.array(order)) if (np.diff(order) != 1).any() else workload


def _codes(column: Any) -> IntArray:
    codes: IntArray = pc.dictionary_encode(_flat(column)).indices.to_numpy()
    return codes.astype(np.int64)


def _ranks(column: Any) -> IntArray:
    """Return texts as numbers in the order of the texts."""
    coded = pc.dictionary_encode(_flat(column))
    rank: IntArray = np.argsort(np.argsort(np.array(coded.dictionary.to_pylist())))
    ranks: IntArray = rank[coded.indices.to_numpy()]
    return ranks


def _flat(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _seq(ids: Any) -> npt.NDArray[np.uint64]:
    """Return the sequence numbers that end the ids, u8[n]."""
    flat = _flat(ids)
    words = np.frombuffer(flat.buffers()[1], ">u8")
    return words[2 * flat.offset + 1 : 2 * (flat.offset + len(flat)) : 2].astype(np.uint64)


def _stretches(table: pa.Table, hook: str) -> list[_Stretch]:
    """Return what lies between one ``cache`` event of a process and its next."""
    process = _codes(table["process"])
    said = np.flatnonzero(pc.equal(table["event"], "cache").to_numpy(zero_copy_only=False))
    if not len(said):
        raise TraceError(
            f"hook {hook!r} has no event that says the cache's settings; they come within half a "
            "minute of traffic, record longer"
        )
    begins = said[_boundaries(table, process, said)]
    ends = np.concatenate((begins[1:], [len(process)]))
    last = np.searchsorted(process, process[begins], side="right")
    events = table.take(pa.array(begins)).to_pylist()
    return [
        _Stretch(str(event["process"]), _settings(event, hook), int(low) + 1, int(high))
        for event, low, high in zip(events, begins, np.minimum(ends, last), strict=True)
    ]


def _boundaries(table: pa.Table, process: IntArray, said: IntArray) -> npt.NDArray[np.bool_]:
    """Return which of the ``cache`` events begin a stretch: those that say so, and a process's first.

    A store that began after the cache holds it with unknown contents; lookups that hit tell of them.
    """
    numbers = table["numbers"].take(pa.array(said))
    found = pc.map_lookup(numbers, pa.scalar("begins"), "first")
    again = found.to_numpy(zero_copy_only=False).astype(np.float64) == 0.0
    first = np.concatenate(([True], np.diff(process[said]) != 0))
    boundaries: npt.NDArray[np.bool_] = first | ~again
    return boundaries


def _settings(event: dict[str, Any], hook: str) -> _Settings:
    numbers, texts = dict(event["numbers"] or ()), dict(event["texts"] or ())
    settings = _Settings(
        numbers.get("capacity", 0.0),
        numbers.get("sampled", 1.0),
        texts.get("policy", ""),
        numbers.get("ttl", 0.0),
    )
    if not (settings.capacity > 0.0 and 0.0 < settings.sampled <= 1.0):
        raise TraceError(
            f"hook {hook!r} recorded a cache of capacity {settings.capacity:g} with "
            f"{settings.sampled:g} of the keys; capture again"
        )
    return settings


def _longest(stretches: list[_Stretch]) -> list[_Stretch]:
    longest: dict[str, _Stretch] = {}
    for each in stretches:
        best = longest.get(each.process)
        if best is None or each.high - each.low > best.high - best.low:
            longest[each.process] = each
    return list(longest.values())


def _under_one_policy(stretches: list[_Stretch]) -> list[_Stretch]:
    """Return those under the policy with most accesses."""
    counts: dict[str, int] = {}
    for each in stretches:
        policy = each.settings.policy
        counts[policy] = counts.get(policy, 0) + each.high - each.low
    most = max(counts, key=lambda policy: counts[policy])
    return [each for each in stretches if each.settings.policy == most and each.high > each.low]


def _rows(table: pa.Table, stretches: list[_Stretch]) -> _Rows:
    """Return the accesses of all stretches, by process."""
    parts = [_part(table, stretch) for stretch in stretches]
    if not parts:
        none = np.zeros(0, np.int64)
        return _Rows(none, none, none, np.zeros(0), none)
    key = np.concatenate([part.key for part in parts])
    instance = np.concatenate([np.full(len(part.time), i) for i, part in enumerate(parts)])
    return _Rows(
        time=np.concatenate([part.time for part in parts]),
        instance=instance,
        key=_dense(instance, key),
        size=np.concatenate([part.size for part in parts]),
        op=np.concatenate([part.op for part in parts]).astype(np.int64),
    )


def _part(table: pa.Table, stretch: _Stretch) -> _Part:
    rows = table.slice(stretch.low, stretch.high - stretch.low)
    _refuse_gaps(rows, stretch)
    rows = rows.filter(pc.equal(rows["event"], "access"))  # settings that were only said again
    time = np.maximum.accumulate(rows["time"].to_numpy())
    return _Part(time, _number(rows, "key"), _number(rows, "size"), _number(rows, "op"))


def _refuse_gaps(part: pa.Table, stretch: _Stretch) -> None:
    seq = _seq(part["workload_id"])
    lost = int(seq[-1] - seq[0]) + 1 - len(seq)
    if lost > MOST_LOST * len(seq):
        raise TraceError(
            f"process {stretch.process} lost {lost} accesses beside {len(seq)} that were recorded; "
            "record a smaller share of the keys"
        )


def _number(part: pa.Table, name: str) -> FloatArray:
    """Return a field of the accesses; a field that is missing counts as 0."""
    found = pc.map_lookup(part["numbers"], pa.scalar(name), "first")
    values: FloatArray = np.nan_to_num(found.to_numpy().astype(np.float64), nan=0.0)
    return values


def _dense(instance: IntArray, key: FloatArray) -> IntArray:
    """Return keys as indices, in which no two instances share one."""
    codes = _codes(pa.array(key))
    pairs = instance * (int(codes.max(initial=0)) + 1) + codes
    if len(instance) and instance[-1] == 0:
        return pairs
    dense: IntArray = np.unique(pairs, return_inverse=True)[1]
    return dense


def _completed(rows: _Rows) -> _Rows:
    """Give every missed lookup the size of what was stored after it; NaN where nothing was."""
    order = np.argsort(rows.key, kind="stable")
    following = np.full(len(order), -1, np.int64)
    same = np.flatnonzero(np.diff(rows.key[order]) == 0)
    following[order[same]] = order[same + 1]
    missed = np.flatnonzero(rows.op == LOOKUP)
    after = following[missed]
    after_op = np.where(after >= 0, rows.op[after], DELETE)
    brought = (after_op == SET) | (after_op == _HIT)  # a hit: the set was lost on the way
    size = rows.size.copy()
    size[missed] = np.where(brought, rows.size[after], np.nan)
    rows.size = size
    kept = np.ones(len(order), bool)
    kept[after[after_op == SET]] = False
    return rows.taken(kept)


def _made(rows: _Rows, stretches: list[_Stretch], hook: str) -> AccessTrace:
    order = np.argsort(rows.time, kind="stable")
    rows = rows.taken(order)
    lookup = (rows.op == LOOKUP) | (rows.op == _HIT)
    if int(lookup.sum()) < LEAST_DECISIONS:
        raise TraceError(
            f"trace {hook!r} has {int(lookup.sum())} lookups of a cache under one setting, too little "
            f"data; capture at least {LEAST_DECISIONS}"
        )
    policy = stretches[0].settings.policy
    known = lookup & (policy != "")
    start_ns = int(rows.time[0])
    return AccessTrace(
        hook=hook,
        kind=cache.name,
        start_ns=start_ns,
        instances=tuple(each.process for each in stretches),
        policy=policy,
        first=0,
        at=(rows.time - start_ns) / 1e9,
        instance=rows.instance.astype(np.int32),
        key=rows.key.astype(np.int32),
        size=rows.size if policy else np.where(rows.size > 0.0, rows.size, 1.0),
        op=np.where(lookup, LOOKUP, rows.op).astype(np.int8),
        hit=np.where(known, rows.op == _HIT, UNKNOWN).astype(np.int8),
        capacity=np.array([each.settings.capacity for each in stretches]),
        sampled=np.array([each.settings.sampled for each in stretches]),
    )
