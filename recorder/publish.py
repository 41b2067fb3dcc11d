"""From decoded batches to files in the store: duplicates left out, outcomes joined, one name per segment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from ..sdk.records import Workload, WorkloadBatch
from .columns import Decisions, Outcomes, concat, take
from .decode import Batch
from .join import match
from .rows import Source, decision_table, outcome_table, whole, workload_table
from .schema import DECISIONS, OUTCOMES, WORKLOAD
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
    by_source: dict[Source, _Collected] = {}
    keys: dict[bytes, None] = {}
    duplicates = 0
    for batch in batches:
        known = batch.key in seen or batch.key in keys
        # A known one too: the segment's keys replace those it left in a crash.
        keys[batch.key] = None
        if known:
            duplicates += batch.count
        else:
            _collect(by_source, batch)
    content = _combined(by_source)
    store.write(content, name)
    counts = {table: rows.num_rows for table, rows in content.items()}
    return Published(
        counts.get(DECISIONS, 0),
        counts.get(OUTCOMES, 0),
        counts.get(WORKLOAD, 0),
        duplicates,
        tuple(keys),
    )


@dataclass(slots=True)
class _Collected:
    """What a segment holds of one source, outcomes in the order in which they came."""

    decisions: list[Decisions] = field(default_factory=list)
    outcomes: list[Outcomes] = field(default_factory=list)
    workload: list[Workload | WorkloadBatch] = field(default_factory=list)


def _collect(by_source: dict[Source, _Collected], batch: Batch) -> None:
    for source, columns in batch.columns():
        found = by_source.setdefault(source, _Collected())
        if isinstance(columns, Decisions):
            found.decisions.append(columns)
        elif isinstance(columns, Outcomes):
            found.outcomes.append(columns)
        else:
            found.workload += columns


def _combined(by_source: dict[Source, _Collected]) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = {}
    for source, collected in by_source.items():
        for table, rows in _tables(source, collected).items():
            parts.setdefault(table, []).append(rows)
    return {table: pa.concat_tables(found) for table, found in parts.items()}


def _tables(source: Source, collected: _Collected) -> dict[str, pa.Table]:
    decisions: Decisions = concat(collected.decisions or [Decisions.of([])])
    outcomes: Outcomes = concat(collected.outcomes or [Outcomes.of([])])
    found, alone = match(decisions.seq, outcomes.seq)
    return whole(
        {
            DECISIONS: decision_table(source, decisions, outcomes, found),
            OUTCOMES: outcome_table(source, take(outcomes, alone)),
            WORKLOAD: workload_table(source, collected.workload),
        }
    )
