"""How a hook's rows lie in files, and what compaction would make of that."""

from __future__ import annotations

from dataclasses import dataclass

from .compaction import TOGETHER, planned, settled
from .layout import hook_folder
from .lineage import MERGED
from .reading import Gone
from .snapshot import snapshot
from .store import TraceStore


@dataclass(frozen=True, slots=True)
class Inventory:
    """Files of a hook.

    Attributes:
        hours: that hold anything; decisions with their outcomes, and workload, count apart.
        merged: files that compaction made.
        uncompacted: hours that compaction would merge once they are closed.
        replaced: files that do not count any more and that the next compaction removes.
    """

    hours: int
    merged: int
    uncompacted: int
    replaced: int


def inventory(store: TraceStore, hook: str) -> Inventory:
    """Return how a hook's rows lie in files."""
    hours = merged = uncompacted = replaced = 0
    for tables in TOGETHER:
        for where, listed in snapshot(store.files, tables, hook_folder(hook)).items():
            hours += 1
            merged += sum(
                each.name.startswith(MERGED) for found in listed.values() for each in found
            )
            if settled(listed):
                continue
            try:
                plan = planned(store.files, where, listed, lambda _damage: None)
            except Gone:  # it is being merged at this moment
                continue
            uncompacted += plan.worthwhile
            replaced += len(plan.gone)
    return Inventory(hours, merged, uncompacted, replaced)
