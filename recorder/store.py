"""The trace store: a Parquet dataset of decisions, outcomes and workload.

Files lie under ``TABLE/hook=HOOK/date=YYYY-MM-DD/hour=HH/NAME.parquet`` and are never changed once
they are visible, so any number of writers and readers may work at once. Every file holds the hook's
name as a column too: the folder's name is quoted and only there to find files quickly.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from ..sdk.errors import TraceError
from ..sdk.records import Record
from .files import Files
from .join import join
from .rows import Source, tables
from .schema import (
    DECISIONS,
    OUTCOME_COLUMNS,
    OUTCOMES,
    SCHEMA_VERSION,
    TABLE_KEY,
    TABLES,
    VERSION_KEY,
    WORKLOAD,
    TableSpec,
)

_HOUR_NS = 3_600 * 10**9
_HOOK = "hook="


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
            TraceError: the filesystem refused.
        """
        stem = name or uuid.uuid4().hex
        return [
            self.files.publish(folder, stem, _encoded(TABLES[table], part))
            for table, rows in content.items()
            for folder, part in _partitions(TABLES[table], rows)
        ]

    def write_records(self, source: Source, records: Sequence[Record]) -> list[str]:
        """Join one source's records with each other and publish them; return the paths."""
        return self.write(tables(source, join(records)))

    def hooks(self) -> list[str]:
        """Return the names of the hooks that the store has anything of.

        Raises:
            TraceError: there is no such store.
        """
        self._require()
        found = {folder for table in TABLES for folder in self.files.folders(table)}
        return sorted(unquote(name[len(_HOOK) :]) for name in found if name.startswith(_HOOK))

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
        self._require(hook)
        reading = self._scan(TABLES[table], hook, (since, until), skip_damaged)
        if table != DECISIONS:
            return reading
        late = self._scan(TABLES[OUTCOMES], hook, (since, until), skip_damaged)
        joined = _join_late(reading.table, late.table)
        return Reading(joined, reading.damaged + late.damaged, reading.duplicates)

    def sizes(self, hook: str) -> dict[str, tuple[int, int]]:
        """Return (files, bytes) of a hook, by table."""
        listed = {table: self.files.parquet(table, _folder(hook)) for table in TABLES}
        return {
            name: (len(files), sum(size for _, size in files)) for name, files in listed.items()
        }

    def _require(self, hook: str | None = None) -> None:
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
        spec: TableSpec,
        hook: str | None,
        span: tuple[int | None, int | None],
        skip_damaged: bool,
    ) -> Reading:
        parts, damaged = [spec.schema.empty_table()], []
        for path in self._paths(spec, hook, span):
            try:
                parts.append(self._load(spec, path))
            except TraceError as error:
                if not skip_damaged:
                    raise
                damaged.append(str(error))
        return _ordered(spec, pa.concat_tables(parts), span, tuple(damaged))

    def _paths(
        self, spec: TableSpec, hook: str | None, span: tuple[int | None, int | None]
    ) -> Iterator[str]:
        """Yield the files whose hour overlaps the span."""
        since, until = span
        below = () if hook is None else (_folder(hook),)
        for path, _ in self.files.parquet(spec.name, *below):
            hour = _hour_of(path)
            early = since is not None and hour is not None and hour + _HOUR_NS <= since
            late = until is not None and hour is not None and hour >= until
            if not (early or late):
                yield path

    def _load(self, spec: TableSpec, path: str) -> pa.Table:
        try:
            with self.files.open(path) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                _check_metadata(spec, path, file.schema_arrow)
                return file.read(columns=spec.schema.names).cast(spec.schema)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise TraceError(
                f"{path} is damaged ({_first_line(error)}); move it away or skip damaged files"
            ) from error


def _check_metadata(spec: TableSpec, path: str, schema: pa.Schema) -> None:
    metadata = schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"").decode("ascii", "replace")
    if not version.isdigit():
        raise TraceError(
            f"{path} was not written by Gnomon: it states no schema version; move it away"
        )
    if int(version) > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {version} and this Gnomon reads up to {SCHEMA_VERSION}; "
            "upgrade gnomon"
        )
    stated = metadata.get(TABLE_KEY, b"").decode("ascii", "replace")
    if stated != spec.name:
        raise TraceError(f"{path} holds {stated or 'no table'} and not {spec.name}; move it away")


def _ordered(
    spec: TableSpec, table: pa.Table, span: tuple[int | None, int | None], damaged: tuple[str, ...]
) -> Reading:
    since, until = span
    time = table[spec.time].to_numpy()
    kept = np.ones(len(time), bool)
    if since is not None:
        kept &= time >= since
    if until is not None:
        kept &= time < until
    order = np.flatnonzero(kept)
    order = order[np.argsort(time[order], kind="stable")]
    table = table.take(pa.array(order)).combine_chunks()
    unique = _first_of_each(table[spec.key])
    duplicates = table.num_rows - len(unique)
    return Reading(table.take(pa.array(unique)) if duplicates else table, damaged, duplicates)


def _first_of_each(ids: pa.ChunkedArray) -> np.ndarray:
    """Return the positions at which an id occurs for the first time, ascending."""
    if not len(ids):
        return np.zeros(0, np.int64)
    codes = pc.dictionary_encode(ids).combine_chunks().indices.to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1])


def _join_late(decisions: pa.Table, late: pa.Table) -> pa.Table:
    """Fill in the outcomes that were stored apart; one that a decision already has stays."""
    if not late.num_rows or not decisions.num_rows:
        return decisions
    found = pc.index_in(decisions["decision_id"], value_set=late["decision_id"].combine_chunks())
    absent = decisions["outcome_status"].is_null().to_numpy()
    matched = np.asarray(found.fill_null(-1).to_numpy())
    own = np.arange(decisions.num_rows)
    rows = pa.array(np.where(absent & (matched >= 0), decisions.num_rows + matched, own))
    for name in OUTCOME_COLUMNS:
        both = pa.chunked_array([*decisions[name].chunks, *late[name].chunks])
        index = decisions.schema.get_field_index(name)
        decisions = decisions.set_column(index, decisions.schema.field(index), both.take(rows))
    return decisions


def _partitions(spec: TableSpec, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield (folder, rows in order of time) per hook and hour."""
    hours = table[spec.time].to_numpy() // _HOUR_NS
    for hook in pc.unique(table["hook"]).to_pylist():
        of_hook = pc.equal(table["hook"], hook).to_numpy()
        for hour in np.unique(hours[of_hook]):
            part = table.filter(pa.array(of_hook & (hours == hour))).sort_by(spec.time)
            moment = datetime.fromtimestamp(int(hour) * 3600, UTC)
            yield f"{spec.name}/{_folder(hook)}/date={moment:%Y-%m-%d}/hour={moment:%H}", part


def _encoded(spec: TableSpec, table: pa.Table) -> pa.Buffer:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, **spec.writing)
    return buffer.getvalue()


def _folder(hook: str) -> str:
    return _HOOK + quote(hook, safe="")


def _hour_of(path: str) -> int | None:
    """Return the start of the hour that a file's folders state, or None when they state none."""
    parts = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
    try:
        moment = datetime.strptime(f"{parts['date']} {parts['hour']}", "%Y-%m-%d %H")
    except (KeyError, ValueError):
        return None
    return int(moment.replace(tzinfo=UTC).timestamp()) * 10**9


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
