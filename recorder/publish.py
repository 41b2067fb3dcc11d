"""From decoded batches to files in the store: duplicates left out, outcomes joined, one name per segment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from ..sdk.records import Record
from .decode import Batch
from .join import join
from .rows import Source, tables
from .store import TraceStore


@dataclass(frozen=True, slots=True)
class Published:
    """What a segment came to.

    Attributes:
        decisions, outcomes, workload: rows in the store; ``outcomes`` are those without their
            decision in the same segment.
        duplicates: records left out because their batch had been stored before.
        keys: of all its batches, which are stored now or were before.
    """

    decisions: int
    outcomes: int
    workload: int
    duplicates: int
    keys: tuple[bytes, ...]


class Seen:
    """The keys of the batches that were stored lately.

    Args:
        keys: oldest first.
        limit: how many to remember.
    """

    def __init__(self, keys: Iterable[bytes] = (), limit: int = 200_000) -> None:
        self._keys = OrderedDict.fromkeys(keys)
        self._limit = limit

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[bytes]) -> None:
        """Remember keys, at the cost of the oldest."""
        self._keys.update(dict.fromkeys(keys))
        while len(self._keys) > self._limit:
            self._keys.popitem(last=False)


def publish(store: TraceStore, name: str, batches: Iterable[Batch], seen: Seen) -> Published:
    """Store the batches that are not in ``seen`` as the files ``name``.

    Raises:
        TraceError: the filesystem refused; the call may be repeated.
    """
    by_source: dict[Source, list[Record]] = {}
    keys: dict[bytes, None] = {}
    duplicates = 0
    for batch in batches:
        known = batch.key in seen or batch.key in keys
        keys[batch.key] = (
            None  # a known one too: the segment's keys replace those it left in a crash
        )
        if known:
            duplicates += batch.count
            continue
        for source, records in batch.records.items():
            by_source.setdefault(source, []).extend(records)
    content = _combined(by_source)
    store.write(content, name)
    counts = {table: rows.num_rows for table, rows in content.items()}
    return Published(
        counts.get("decisions", 0),
        counts.get("outcomes", 0),
        counts.get("workload", 0),
        duplicates,
        tuple(keys),
    )


def _combined(by_source: dict[Source, list[Record]]) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = {}
    for source, records in by_source.items():
        for table, rows in tables(source, join(records)).items():
            parts.setdefault(table, []).append(rows)
    return {table: pa.concat_tables(found) for table, found in parts.items()}
