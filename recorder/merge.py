"""Files of one hour merged into one per table, in order of time, a stretch of it at a time.

Memory holds one stretch: about ``budget`` bytes of rows, and what overlaps with the next stretch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..sdk.errors import TraceError
from . import combine
from .files import Files, Found, Publication
from .lineage import Lineage
from .reading import Gone, group, groups
from .schema import DECISIONS, OUTCOMES, TABLES, TableSpec

#: Rows of a row group: what one damaged place costs, and what is decoded at once.
GROUP_ROWS = 65_536
#: Bytes of rows in memory that are put together at once.
BUDGET = 32 << 20
_END = 2**63 - 1


class Damaged(Exception):
    """A file that is to be merged cannot be read.

    Attributes:
        found: the file.
        told: one line that says so.
    """

    def __init__(self, found: Found, error: TraceError) -> None:
        super().__init__(str(error))
        self.found = found
        self.told = str(error)


@dataclass(frozen=True, slots=True)
class _Unit:
    """A row group that will be read: no row in it is before ``first``."""

    first: int
    table: str
    found: Found
    number: int


@dataclass(slots=True)
class Merged:
    """What a merge came to.

    Attributes:
        rows: written, by table.
        duplicates: rows left out because their id had been seen at the same time.
        joined: outcomes that are at their decisions now and stand apart no longer.
    """

    rows: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    joined: int = 0


def merge(
    files: Files,
    where: str,
    found: Mapping[str, Iterable[Found]],
    lineages: Mapping[str, Lineage],
    *,
    budget: int = BUDGET,
    stop: Callable[[], bool] = lambda: False,
) -> Merged:
    """Merge the files of an hour and publish the results, decisions before outcomes.

    Args:
        files: of the store.
        where: the hour's folder below its table's.
        found: the files, by table: decisions and outcomes together, or workload.
        lineages: what the results hold, by table; a result that is there already is not written again.
        budget: bytes of rows in memory.
        stop: asked now and then whether to give up.

    Raises:
        Damaged: one of the files cannot be read; nothing was published.
        Gone: one of them is not there any more, or ``stop`` said so; nothing was published.
        TraceError: the filesystem refused; what was published is whole.
    """
    merged = Merged(dict.fromkeys(lineages, 0))
    with ExitStack() as stack:
        outputs = {
            name: stack.enter_context(_Output(files, where, name, lineages[name]))
            for name in sorted(lineages)  # decisions come first
            if not files.exists(files.path(name, where, lineages[name].name() + ".parquet"))
        }
        for stretch in _stretches(files, {name: found[name] for name in lineages}, budget):
            if stop():
                raise Gone(where)
            for name, rows in _combined(stretch, merged).items():
                merged.rows[name] += rows.num_rows
                if name in outputs:
                    outputs[name].write(rows)
        for output in outputs.values():
            output.finish()
        for output in outputs.values():
            output.publish()
    return merged


def _combined(stretch: dict[str, pa.Table], merged: Merged) -> dict[str, pa.Table]:
    """Return a stretch's rows, each once and outcomes at their decisions, and count the rest."""
    rows = {}
    for name, table in stretch.items():
        rows[name] = _once(TABLES[name], table)
        merged.duplicates += table.num_rows - rows[name].num_rows
    if rows.keys() >= {DECISIONS, OUTCOMES}:
        apart = combine.unmatched(rows[DECISIONS], rows[OUTCOMES])
        merged.joined += rows[OUTCOMES].num_rows - apart.num_rows
        rows[DECISIONS] = combine.joined(rows[DECISIONS], rows[OUTCOMES])
        rows[OUTCOMES] = apart
    return rows


def _once(spec: TableSpec, table: pa.Table) -> pa.Table:
    """Return rows in order, those of one id and time once.

    The same id at another time stays, because the other may lie in another stretch; readers leave it out.
    """
    table = combine.ordered(spec, table)
    if table.num_rows < 2:
        return table
    same = [
        pc.equal(table[name].slice(1), table[name].slice(0, table.num_rows - 1))
        for name in (spec.time, spec.key)
    ]
    repeated = pa.chunked_array([pa.array([False]), *pc.and_(*same).chunks])
    return table.filter(pc.invert(repeated))


def _stretches(
    files: Files, found: Mapping[str, Iterable[Found]], budget: int
) -> Iterator[dict[str, pa.Table]]:
    """Yield all rows, by table, in stretches of time that follow one another."""
    units = sorted(_units(files, found), key=lambda unit: unit.first)
    held = {name: TABLES[name].schema.empty_table() for name in found}
    size = 0
    for at, unit in enumerate(units):
        with _named(unit.found):
            rows = group(files, TABLES[unit.table], unit.found, unit.number)
        held[unit.table] = pa.concat_tables([held[unit.table], rows])
        size += rows.nbytes
        end = units[at + 1].first if at + 1 < len(units) else _END
        if size >= budget and end > unit.first:
            early, held = _cut(held, end)
            size = sum(table.nbytes for table in held.values())
            yield early
    yield held


def _cut(held: dict[str, pa.Table], end: int) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    """Return the rows before a time and the others."""
    before: dict[str, pa.Table] = {}
    after: dict[str, pa.Table] = {}
    for name, table in held.items():
        early = pc.less(table[TABLES[name].time], end)
        before[name] = table.filter(early)
        after[name] = table.filter(pc.invert(early)).combine_chunks()
    return before, after


def _units(files: Files, found: Mapping[str, Iterable[Found]]) -> Iterator[_Unit]:
    for name, every in found.items():
        for each in every:
            with _named(each):
                parts = groups(files, TABLES[name], each)
            yield from (_Unit(part.first, name, each, part.number) for part in parts)


@contextmanager
def _named(found: Found) -> Iterator[None]:
    """Let damage say in which file it was found."""
    try:
        yield
    except TraceError as error:
        raise Damaged(found, error) from error


class _Output:
    """One merged file, hidden until it is published."""

    def __init__(self, files: Files, where: str, table: str, lineage: Lineage) -> None:
        self._spec = TABLES[table]
        self._metadata = MappingProxyType(lineage.metadata())
        self._publication: Publication = files.publication(f"{table}/{where}", lineage.name())
        self._writer = pq.ParquetWriter(
            self._publication.stream, self._spec.schema, **self._spec.writing
        )
        self._published = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._published:
            return
        try:
            self._writer.close()
        except (pa.ArrowException, OSError):
            pass  # it is thrown away
        finally:
            self._writer.is_open = False  # it would close itself again when it is collected
            self._publication.abandon()

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, row_group_size=GROUP_ROWS)

    def finish(self) -> None:
        self._writer.add_key_value_metadata(self._metadata)
        self._writer.close()

    def publish(self) -> None:
        self._publication.commit()
        self._published = True
