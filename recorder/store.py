"""The trace store: a Parquet dataset of decisions, outcomes and workload.

Files lie under ``TABLE/hook=HOOK/date=YYYY-MM-DD/hour=HH/NAME.parquet`` and are never changed once
they are visible, so any number of writers and readers may work at once. Every file holds the hook's
name as a column too: the folder's name is quoted and only there to find files quickly.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ..sdk.errors import TraceError
from ..sdk.records import Record
from . import combine, streaming
from .faults import of_the_place
from .files import Files
from .join import join
from .layout import HOUR_NS, hook_folder, hook_of, hour_of, partitions
from .rows import Source, tables
from .schema import DECISIONS, OUTCOMES, TABLES, WORKLOAD, TableSpec
from .snapshot import load, snapshot


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, and what could not be.

    Attributes:
        table: the rows, in order of time.
        damaged: one line per file that was left out, naming it.
        duplicates: rows left out because their id had been seen.
    """

    table: pa.Table
    damaged: tuple[str, ...]
    duplicates: int = 0


class TraceStore:
    """A trace store at a path.

    Args:
        path: local folder or URI; created by the first write.
        filesystem: a ``pyarrow.fs`` filesystem on which ``path`` lies, when it is no URI.
    """

    def __init__(self, path: str | Path, filesystem: fs.FileSystem | None = None) -> None:
        self.files = Files(path, filesystem)

    def write(self, content: Mapping[str, pa.Table], name: str | None = None) -> list[str]:
        """Publish tables, one file per hook and hour; return the paths.

        Args:
            content: tables of :data:`~gnomon.recorder.schema.TABLES`, by name.
            name: file name without suffix. A name that exists already is replaced, so that a writer
                which repeats itself after a crash leaves one copy; default a fresh one.

        Raises:
            TraceError: the filesystem refused. What does not lie with the place (a full disk) but with one
                file does not keep the others from being written.
        """
        stem = name or uuid.uuid4().hex
        paths, failed = [], []
        for table, rows in content.items():
            for folder, part in partitions(TABLES[table], rows):
                try:
                    paths.append(self.files.publish(folder, stem, _encoded(TABLES[table], part)))
                except Exception as error:
                    if of_the_place(error):  # the next file would be refused too
                        raise
                    failed.append(error)
        if failed:
            raise failed[0]
        return paths

    def write_records(self, source: Source, records: Sequence[Record]) -> list[str]:
        """Join one source's records with each other and publish them; return the paths."""
        return self.write(tables(source, join(records)))

    def hooks(self) -> list[str]:
        """Return the names of the hooks that the store has anything of.

        Raises:
            TraceError: there is no such store.
        """
        self.require()
        found = {folder for table in TABLES for folder in self.files.folders(table)}
        return sorted(name for name in map(hook_of, found) if name is not None)

    def decisions(
        self, hook: str | None = None, since: int | None = None, until: int | None = None
    ) -> pa.Table:
        """Return the decisions with their outcomes, late ones joined, in order of time.

        Args:
            hook: default every hook.
            since, until: Unix nanoseconds of the decision, from ``since`` up to but not ``until``.

        Raises:
            TraceError: no such store or hook, or a file that is damaged or from the future.
        """
        return self.read(DECISIONS, hook, since, until).table

    def outcomes(
        self, hook: str | None = None, since: int | None = None, until: int | None = None
    ) -> pa.Table:
        """Return the outcomes that were stored apart from their decisions; as :meth:`decisions`."""
        return self.read(OUTCOMES, hook, since, until).table

    def workload(
        self, hook: str | None = None, since: int | None = None, until: int | None = None
    ) -> pa.Table:
        """Return the workload events; as :meth:`decisions`."""
        return self.read(WORKLOAD, hook, since, until).table

    def read(
        self,
        table: str,
        hook: str | None = None,
        since: int | None = None,
        until: int | None = None,
        *,
        skip_damaged: bool = False,
    ) -> Reading:
        """Return a table's rows, each id once; ``decisions`` with late outcomes joined.

        Args:
            table: ``decisions``, ``outcomes`` or ``workload``.
            hook: default every hook.
            since, until: Unix nanoseconds, from ``since`` up to but not ``until``.
            skip_damaged: leave damaged files out and name them, instead of raising.

        Raises:
            TraceError: no such store or hook, or a file that is damaged or from the future.
        """
        if hook is None:
            return self._read_all(table, (since, until), skip_damaged)
        self.require(hook)
        spec, span = TABLES[table], (since, until)
        names = (DECISIONS, OUTCOMES) if table == DECISIONS else (table,)
        parts, damaged = self._scan(names, hook, span, skip_damaged)
        found = combine.ordered(spec, combine.within(spec, parts[table], span))
        rows = combine.distinct(spec, found)
        duplicates = found.num_rows - rows.num_rows
        if table == DECISIONS:
            late = combine.within(TABLES[OUTCOMES], parts[OUTCOMES], span)
            rows = combine.joined(rows, late)
        return Reading(rows.combine_chunks(), damaged, duplicates)

    def _read_all(
        self, table: str, span: tuple[int | None, int | None], skip_damaged: bool
    ) -> Reading:
        """Return the rows of every hook: one process gives the same ids to decisions of different hooks."""
        found = [self.read(table, name, *span, skip_damaged=skip_damaged) for name in self.hooks()]
        empty = TABLES[table].schema.empty_table()
        rows = combine.ordered(TABLES[table], pa.concat_tables([empty, *(r.table for r in found)]))
        damaged = tuple(line for each in found for line in each.damaged)
        return Reading(rows.combine_chunks(), damaged, sum(each.duplicates for each in found))

    def batches(self, table: str, hook: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield a hook's rows hour by hour in bounded memory, in any order, some perhaps twice.

        Raises:
            TraceError: no such store or hook, or a file that is damaged or from the future.
        """
        self.require(hook)
        return streaming.batches(self.files, table, hook, columns)

    def state(self, table: str, hook: str) -> str:
        """Return a digest that changes with the files that hold a hook's rows."""
        return streaming.state(self.files, table, hook)

    def sizes(self, hook: str) -> dict[str, tuple[int, int]]:
        """Return (files, bytes) of a hook, by table."""
        listed = {table: self.files.parquet(table, hook_folder(hook)) for table in TABLES}
        return {
            name: (len(files), sum(size for _, size in files)) for name, files in listed.items()
        }

    def require(self, hook: str | None = None) -> None:
        """See that there is such a store, and such a hook in it.

        Raises:
            TraceError: there is not.
        """
        if not self.files.is_folder():
            raise TraceError(
                f"no trace store at {self.files.root}; record one with "
                f"`gnomon record --store {self.files.root}`"
            )
        if hook is not None and hook not in (known := self.hooks()):
            raise TraceError(
                f"no hook {hook!r} in {self.files.root}; it has: {', '.join(known) or 'none yet'}"
            )

    def _scan(
        self,
        names: tuple[str, ...],
        hook: str | None,
        span: tuple[int | None, int | None],
        skip_damaged: bool,
    ) -> tuple[dict[str, pa.Table], tuple[str, ...]]:
        """Return the rows of tables as they lie in the hours that overlap a span, and what is damaged."""
        below = () if hook is None else (hook_folder(hook),)
        parts = {name: [TABLES[name].schema.empty_table()] for name in names}
        damaged: list[str] = []
        for where, listed in snapshot(self.files, names, *below).items():
            if _overlaps(where, span):
                loaded = load(self.files, names, where, listed, skip_damaged)
                for name in names:
                    parts[name] += loaded.tables[name]
                damaged += loaded.damaged
        return {name: pa.concat_tables(found) for name, found in parts.items()}, tuple(damaged)


def _overlaps(where: str, span: tuple[int | None, int | None]) -> bool:
    """Return whether an hour may hold something of a span; a folder that states no hour may."""
    since, until = span
    hour = hour_of(where)
    if hour is None:
        return True
    return (since is None or hour + HOUR_NS > since) and (until is None or hour < until)


def _encoded(spec: TableSpec, table: pa.Table) -> pa.Buffer:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, **spec.writing)
    return buffer.getvalue()
