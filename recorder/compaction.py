"""Compaction: the many small files of an hour become one per table, with late outcomes joined.

The order of steps makes it safe to be killed at any of them, beside any readers and writers: the merged
file of decisions appears, then that of outcomes, each naming what it holds; then what they hold is
removed. :mod:`~gnomon.recorder.lineage` says who counts in between, for every reader alike.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..sdk.errors import TraceError
from .files import Files, Found
from .layout import HOUR_NS, hook_folder, hook_of, hour_of
from .lineage import MERGED, Lineage, replaced, union, written
from .merge import Damaged, Merged, merge
from .reading import Gone, group, groups
from .schema import DECISIONS, OUTCOMES, TABLES, WORKLOAD, TableSpec
from .snapshot import Listed, lineages, snapshot
from .store import TraceStore

#: Tables that are merged together.
TOGETHER = ((DECISIONS, OUTCOMES), (WORKLOAD,))
#: Age of an unfinished file that no living writer is at any more.
_ABANDONED_NS = 24 * HOUR_NS
_LOCK = ".compaction.lock"


@dataclass(frozen=True, slots=True)
class CompactedHour:
    """What became of one hour of a hook.

    Attributes:
        hook: its name.
        hour: its start, Unix ns.
        tables: which were merged.
        files_before, files_after: of these tables, counted files only.
        bytes_before, bytes_after: of them; ``bytes_after`` is 0 in a dry run.
        rows: in the merged files; 0 in a dry run, as the next two.
        joined: outcomes that had been stored apart and are at their decisions now.
        duplicates: rows left out because their id had been seen.
    """

    hook: str
    hour: int
    tables: tuple[str, ...]
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    rows: int = 0
    joined: int = 0
    duplicates: int = 0


@dataclass(slots=True)
class Compacted:
    """What a compaction did, or would do.

    Attributes:
        hours: that were merged, oldest first.
        removed: files removed because an earlier compaction, killed since, had replaced them or left them.
        damaged: one line per file that was left as it is.
        changed: hours left for the next time because another process merged or pruned them.
    """

    hours: list[CompactedHour] = field(default_factory=list)
    removed: int = 0
    damaged: list[str] = field(default_factory=list)
    changed: int = 0


@dataclass(frozen=True, slots=True)
class When:
    """Which hours are closed.

    Attributes:
        now_ns: Unix time.
        older_than_s: both the hour's end and its newest file must be at least as old.
    """

    now_ns: int
    older_than_s: float

    def closed(self, where: str, listed: Listed) -> bool:
        """Return whether an hour is; a folder that states none is not."""
        hour = hour_of(where)
        if hour is None:
            return False
        newest = max(each.changed_ns for found in listed.values() for each in found)
        return max(hour + HOUR_NS, newest) + int(self.older_than_s * 1e9) <= self.now_ns


@dataclass(slots=True)
class _Plan:
    """An hour of tables that are merged together, as it lies.

    Attributes:
        known: what each file that counts holds, by table.
        gone: files that do not count any more.
    """

    where: str
    known: dict[str, dict[Found, Lineage]]
    gone: list[Found]

    @property
    def files(self) -> list[Found]:
        """The files that count."""
        return [each for known in self.known.values() for each in known]

    @property
    def worthwhile(self) -> bool:
        """Whether merging would change anything: several files of a table, or outcomes to be joined."""
        if any(len(found) > 1 for found in self.known.values()):
            return True
        decisions, outcomes = (self.known.get(name, {}) for name in (DECISIONS, OUTCOMES))
        return any(
            not mine.joined >= union(others.values())
            for one, others in ((decisions, outcomes), (outcomes, decisions))
            for mine in one.values()
        )

    def results(self) -> dict[str, Lineage]:
        """Return what the merged files will hold, by table."""
        held = {name: union(known.values()) for name, known in self.known.items()}
        other = {DECISIONS: OUTCOMES, OUTCOMES: DECISIONS}
        return {
            name: Lineage(held[name], held.get(other.get(name, ""), frozenset()))
            for name, known in self.known.items()
            if known
        }


def compact(
    store: TraceStore,
    when: When,
    *,
    hook: str | None = None,
    dry_run: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Compacted:
    """Merge the closed hours of a store.

    Args:
        store: any number of recorders may write it meanwhile, and readers read it.
        when: which hours are closed.
        hook: only this one's.
        dry_run: change nothing, and say what would be merged.
        stop: asked between two hours whether to leave it at that.

    Raises:
        TraceError: no such store or hook, another compaction on this machine, or the filesystem refused.
    """
    store.require(hook)
    run = _Run(store.files, dry_run, stop)
    with _alone(store.files, dry_run):
        for where, listed in closed_hours(store.files, when, hook):
            if stop():
                break
            try:
                run.hour(where, listed)
            except Gone:
                run.done.changed += 1
            except OSError as error:
                raise TraceError(
                    f"cannot compact {where} of {store.files.root}: {error}; nothing was lost, compact again"
                ) from error
        if not dry_run:
            run.done.removed += _abandoned(store.files, when.now_ns)
    run.done.hours.sort(key=lambda each: (each.hour, each.hook))
    return run.done


def closed_hours(files: Files, when: When, hook: str | None = None) -> Iterator[tuple[str, Listed]]:
    """Yield (folder below the table's, files) of every closed hour, oldest first, by tables together."""
    below = () if hook is None else (hook_folder(hook),)
    for tables in TOGETHER:
        hours = snapshot(files, tables, *below)
        for where in sorted(hours, key=lambda each: (hour_of(each) or 0, each)):
            if when.closed(where, hours[where]):
                yield where, hours[where]


def planned(files: Files, where: str, listed: Listed, bad: Callable[[TraceError], None]) -> _Plan:
    """Return what is to be done of an hour; ``bad`` is told of every file that is left as it is."""
    known, gone = {}, []
    for name, found in listed.items():
        named = [each for each in found if each.name.startswith(MERGED)]
        merged = lineages(files, TABLES[name], named, bad)
        others = [each for each in found if each not in named]
        dead = replaced(merged, others)
        every = merged | {each: Lineage(frozenset({written(each)})) for each in others}
        known[name] = {each: held for each, held in every.items() if each not in dead}
        gone += sorted(dead, key=lambda each: each.path)
    return _Plan(where, known, gone)


@dataclass(slots=True)
class _Run:
    """One compaction under way."""

    files: Files
    dry_run: bool
    stop: Callable[[], bool]
    done: Compacted = field(default_factory=Compacted)

    def hour(self, where: str, listed: Listed) -> None:
        """Remove what an hour does not need any more, and merge the rest; raises Gone."""
        if settled(listed):
            return
        damaged: dict[str, None] = {}
        plan = planned(self.files, where, listed, lambda error: damaged.update({str(error): None}))
        try:
            if plan.gone and not self.dry_run:
                wrong = [
                    line
                    for name, known in plan.known.items()
                    for each in known
                    if each.name.startswith(MERGED)
                    for line in unreadable(self.files, TABLES[name], each.path)
                ]
                if wrong:
                    damaged.update(dict.fromkeys(wrong))
                    return
                self.done.removed += _remove(self.files, plan.gone)
            if plan.worthwhile:
                self._merge(plan, damaged)
        finally:
            self.done.damaged += damaged

    def _merge(self, plan: _Plan, damaged: dict[str, None]) -> None:
        """Merge what can be read and remove what was merged."""
        before = plan.files
        merged = Merged()
        while plan.worthwhile and not self.dry_run:
            try:
                merged = merge(self.files, plan.where, plan.known, plan.results(), stop=self.stop)
                break
            except Damaged as damage:
                damaged[damage.told] = None
                for known in plan.known.values():
                    known.pop(damage.found, None)
        if plan.worthwhile:
            self._finish(plan, before, merged, damaged)

    def _finish(
        self, plan: _Plan, before: list[Found], merged: Merged, damaged: dict[str, None]
    ) -> None:
        """Remove what was merged, when the results are whole, and note what became of the hour."""
        results, inputs = plan.results(), plan.files
        paths = {
            self.files.path(name, plan.where, lineage.name() + ".parquet"): name
            for name, lineage in results.items()
        }
        if not self.dry_run:
            wrong = [
                line
                for path, name in paths.items()
                for line in unreadable(self.files, TABLES[name], path)
            ]
            damaged.update(dict.fromkeys(wrong))
            if wrong:
                return
            _remove(self.files, [each for each in inputs if each.path not in paths])
        self.done.hours.append(
            CompactedHour(
                hook=hook_of(plan.where) or "",
                hour=hour_of(plan.where) or 0,
                tables=tuple(sorted(results)),
                files_before=len(before),
                files_after=len(before) - len(inputs) + len(paths),
                bytes_before=sum(each.size for each in inputs),
                bytes_after=0 if self.dry_run else sum(map(self.files.size, paths)),
                rows=sum(merged.rows.values()),
                joined=merged.joined,
                duplicates=merged.duplicates,
            )
        )


def unreadable(files: Files, spec: TableSpec, path: str) -> list[str]:
    """Return what is wrong with a merged file whose sources are still there; nothing if it is whole.

    Raises:
        Gone: it is not there any more.
    """
    found = Found(path, files.size(path), 0)
    try:
        for part in groups(files, spec, found):
            group(files, spec, found, part.number)
    except TraceError as error:
        return [f"{error}; what it replaces is still there: remove it"]
    return []


def settled(listed: Listed) -> bool:
    """Return whether an hour's files alone say that nothing is to be merged, as they mostly do."""
    found = [each for every in listed.values() for each in every]
    alone = all(len(every) < 2 for every in listed.values())
    return alone and (len(found) < 2 or all(each.name.startswith(MERGED) for each in found))


def _remove(files: Files, found: Iterable[Found]) -> int:
    """Remove files that do not count any more; one that was written anew with another size stays."""
    return sum(files.delete(each.path, each.size) for each in found)


def _abandoned(files: Files, now_ns: int) -> int:
    """Remove what writers that were killed have left unfinished."""
    old = now_ns - _ABANDONED_NS
    return sum(
        files.delete(each.path, each.size)
        for table in TABLES
        for each in files.hidden(table)
        if 0 < each.changed_ns < old
    )


@contextlib.contextmanager
def _alone(files: Files, dry_run: bool) -> Iterator[None]:
    """Keep a second compaction of a local store out: it would be right, but in vain."""
    if dry_run or not files.local:
        yield
        return
    files.require_writable()
    descriptor = os.open(Path(files.root, _LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise TraceError(
                f"another compaction of {files.root} is under way; wait until it ends"
            ) from error
        yield
    finally:
        os.close(descriptor)
