"""Retention: whole hours leave the store, the oldest first.

An hour goes table by table, decisions first: what is left of it in between is outcomes and workload that
answer no decision, never decisions that have lost their outcomes. On a local disk the folder of an hour
leaves the store in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..sdk.errors import ConfigurationError, TraceError
from .compaction import planned
from .files import Files, Found
from .layout import COLUMNS_FOLDER, HOUR_NS, hook_folder, hook_of, hour_folder, hour_of
from .reading import Gone
from .schema import DECISIONS, OUTCOMES, WORKLOAD
from .store import TraceStore

#: In the order in which an hour's tables are removed.
_ORDER = (DECISIONS, OUTCOMES, WORKLOAD)


@dataclass(frozen=True, slots=True)
class Keep:
    """What a store may hold.

    Attributes:
        now_ns: Unix time; the hour that holds it, and later ones, always stay.
        older_than_s: hours whose end is longer ago go; None for no such limit.
        max_bytes: the oldest hours go until no more than this is left; None for no such limit.
    """

    now_ns: int
    older_than_s: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that say nothing."""
        if self.older_than_s is None and self.max_bytes is None:
            raise ConfigurationError(
                "nothing says what to keep; give an age (--older-than 30d), a size (--max-bytes 50G) or both"
            )
        if self.older_than_s is not None and self.older_than_s < 0:
            raise ConfigurationError(f"an age of {self.older_than_s} s is negative; give 0 or more")
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ConfigurationError(f"a size of {self.max_bytes} is negative; give 0 or more")

    def past(self, hour_ns: int) -> bool:
        """Return whether an hour is beyond the age."""
        if self.older_than_s is None:
            return False
        return hour_ns + HOUR_NS + int(self.older_than_s * 1e9) <= self.now_ns

    def open(self, hour_ns: int) -> bool:
        """Return whether an hour has not ended."""
        return hour_ns + HOUR_NS > self.now_ns


@dataclass(frozen=True, slots=True)
class PrunedHour:
    """An hour of a hook that was removed, or would be.

    Attributes:
        hook: its name.
        hour: its start, Unix ns.
        files, bytes: of all tables.
    """

    hook: str
    hour: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning did, or would do.

    Attributes:
        hours: removed, oldest first.
        files, bytes: that stay, of the hooks that were looked at.
    """

    hours: tuple[PrunedHour, ...]
    files: int
    bytes: int


def prune(
    store: TraceStore, keep: Keep, *, hook: str | None = None, dry_run: bool = False
) -> Pruned:
    """Remove whole hours, oldest first; never one that has not ended, never one within the limits.

    Args:
        store: any number of recorders may write it meanwhile, and readers read it.
        keep: the limits; an hour beyond either goes.
        hook: only this one's hours, and only its bytes count.
        dry_run: remove nothing, and say what would go.

    Raises:
        TraceError: no such store or hook, or the filesystem refused; what was removed stays removed.
    """
    store.require(hook)
    files = store.files
    hours = _hours(files, hook)
    total = sum(each.size for found in hours.values() for each in found)
    gone = _chosen(hours, keep, total)
    if not dry_run:
        try:
            files.finish_removals()
            for hour in gone:
                _remove(files, hour.hook, hour.hour)
            _remove_columns(files, {hour.hook for hour in gone})
        except OSError as error:
            raise TraceError(f"cannot remove from {files.root}: {error}; prune again") from error
    return Pruned(
        tuple(gone),
        sum(map(len, hours.values())) - sum(hour.files for hour in gone),
        total - sum(hour.bytes for hour in gone),
    )


def _hours(files: Files, hook: str | None) -> dict[tuple[int, str], list[Found]]:
    """Return the files by (hour, hook); what lies in no hour's folder is left alone."""
    below = () if hook is None else (hook_folder(hook),)
    hours: dict[tuple[int, str], list[Found]] = {}
    for table in _ORDER:
        for each in files.found(table, *below):
            hour, name = hour_of(each.path), hook_of(each.path[len(files.root) :])
            if hour is not None and name is not None:
                hours.setdefault((hour, name), []).append(each)
    return dict(sorted(hours.items()))


def _chosen(
    hours: Mapping[tuple[int, str], Iterable[Found]], keep: Keep, total: int
) -> list[PrunedHour]:
    chosen = []
    for (hour, hook), found in hours.items():
        sizes = [each.size for each in found]
        too_much = keep.max_bytes is not None and total > keep.max_bytes
        if (keep.past(hour) or too_much) and not keep.open(hour):
            chosen.append(PrunedHour(hook, hour, len(sizes), sum(sizes)))
            total -= sum(sizes)
    return chosen


def _remove(files: Files, hook: str, hour_ns: int) -> None:
    where = hour_folder(hook, hour_ns)
    for table in _ORDER:
        if not files.local:
            _remove_replaced(files, table, where)
        files.delete_folder(table, where)


def _remove_columns(files: Files, hooks: Iterable[str]) -> None:
    """Remove what was made of hooks' rows, but not what is being made: it sees that its rows are gone."""
    for hook in hooks if files.local else ():
        for name in files.folders(COLUMNS_FOLDER, hook_folder(hook)):
            if not name.startswith("."):
                files.delete_folder(COLUMNS_FOLDER, hook_folder(hook), name)


def _remove_replaced(files: Files, table: str, where: str) -> None:
    """Remove first what does not count: it would count again once its merged file is gone."""
    found = files.found(table, where)
    try:
        plan = planned(files, where, {table: found}, lambda _damage: None)
    except Gone:  # somebody else is at it; what is left goes file by file
        return
    for each in plan.gone:
        files.delete(each.path, each.size)
