"""One file of the store: opened, checked against its table, read whole or by row groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ..sdk.errors import TraceError
from .files import Files, Found
from .lineage import Lineage, stated, written
from .schema import SCHEMA_VERSION, TABLE_KEY, VERSION_KEY, TableSpec


class Gone(Exception):
    """A file that was listed is not there any more: its hour was merged or removed meanwhile."""


@dataclass(frozen=True, slots=True)
class Group:
    """A row group, before it is read.

    Attributes:
        number: its index in the file.
        first: no row's time is below; Unix ns.
    """

    number: int
    first: int


@contextmanager
def opened(files: Files, spec: TableSpec, found: Found) -> Iterator[pq.ParquetFile]:
    """Open a file of a table.

    Raises:
        TraceError: it is damaged, of another table or of a later version; what the caller does with it too.
        Gone: it is not there any more.
    """
    try:
        with files.open(found.path) as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            _check(spec, found.path, file.schema_arrow)
            yield file
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if _gone(files, found, error):
            raise Gone(found.path) from error
        raise TraceError(
            f"{found.path} is damaged ({_first_line(error)}); move it away or skip damaged files"
        ) from error


def lineage(files: Files, spec: TableSpec, found: Found) -> Lineage:
    """Return what a file holds; raises as :func:`opened`."""
    with opened(files, spec, found) as file:
        return stated(file.metadata.metadata or {}) or Lineage(frozenset({written(found)}))


def whole(files: Files, spec: TableSpec, found: Found) -> pa.Table:
    """Return a file's rows; raises as :func:`opened`."""
    with opened(files, spec, found) as file:
        return file.read(columns=spec.schema.names).cast(spec.schema)


def what_is_left(
    files: Files, spec: TableSpec, found: Found, damage: TraceError
) -> tuple[pa.Table, str]:
    """Return the rows of the row groups that can be read, and what is said of the others.

    Args:
        damage: what reading the whole file raised.

    Raises:
        Gone: the file is not there any more.
    """
    parts, bad = [spec.schema.empty_table()], []
    try:
        with opened(files, spec, found) as file:
            total = file.num_row_groups
        for number in range(total):
            try:
                parts.append(group(files, spec, found, number))
            except TraceError:
                bad.append(str(number))
    except TraceError:
        return parts[0], str(damage)
    if len(bad) == total:
        return parts[0], str(damage)
    return pa.concat_tables(parts), f"{damage}; row groups {', '.join(bad)} of {total} are left out"


def group(files: Files, spec: TableSpec, found: Found, number: int) -> pa.Table:
    """Return the rows of one row group; raises as :func:`opened`."""
    with opened(files, spec, found) as file:
        return file.read_row_group(number, columns=spec.schema.names).cast(spec.schema)


def groups(files: Files, spec: TableSpec, found: Found) -> list[Group]:
    """Return a file's row groups; one without statistics begins at the beginning of time."""
    with opened(files, spec, found) as file:
        names = [file.metadata.schema.column(i).path for i in range(len(file.metadata.schema))]
        column = names.index(spec.time)
        return [Group(i, _first(file, i, column)) for i in range(file.num_row_groups)]


def _first(file: pq.ParquetFile, number: int, column: int) -> int:
    statistics = file.metadata.row_group(number).column(column).statistics
    if statistics is None or not statistics.has_min_max:
        return -(2**63)
    return int(statistics.min)


def _gone(files: Files, found: Found, error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError):
        return True
    try:
        return isinstance(error, OSError) and not files.exists(found.path)
    except OSError:
        return False


def _check(spec: TableSpec, path: str, schema: pa.Schema) -> None:
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
    stated_table = metadata.get(TABLE_KEY, b"").decode("ascii", "replace")
    if stated_table != spec.name:
        raise TraceError(
            f"{path} holds {stated_table or 'no table'} and not {spec.name}; move it away"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
