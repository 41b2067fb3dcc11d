"""A hook's rows as they lie in files, a batch at a time, for readers that put them in order themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from ..sdk.errors import TraceError
from .files import Files, Found
from .layout import hook_folder
from .reading import Gone, opened
from .schema import TABLES
from .snapshot import living, snapshot

#: Rows of a batch, at most.
ROWS = 1 << 16
_TRIES = 20


def batches(
    files: Files, table: str, hook: str, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield a hook's rows hour by hour; memory does not grow with their number.

    Within an hour they come in any order, and a row may come more than once.

    Args:
        files: of the store.
        table, hook: names.
        columns: names of those that are wanted.

    Raises:
        TraceError: a file is damaged or from the future, or the store changes all the time.
    """
    for where, listed in snapshot(files, (table,), hook_folder(hook)).items():
        yield from _hour(files, table, where, listed[table], columns)


def _hour(
    files: Files, table: str, where: str, found: Sequence[Found], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield an hour's rows; from its beginning again when one of its files is gone meanwhile."""
    spec = TABLES[table]
    types = pa.schema([spec.schema.field(name) for name in columns])
    for _ in range(_TRIES):
        try:
            for each in living(files, spec, found):
                with opened(files, spec, each) as file:
                    for batch in file.iter_batches(ROWS, columns=list(columns), use_threads=False):
                        yield batch.cast(types)
            return
        except Gone:
            found = snapshot(files, (table,), where).get(where, {table: []})[table]
    raise TraceError(f"{files.path(where)} changes faster than it can be read; try again")


def state(files: Files, table: str, hook: str) -> str:
    """Return a digest that changes with the files that hold a hook's rows, sha256 hex."""
    digest = hashlib.sha256()
    for each in files.found(table, hook_folder(hook)):
        digest.update(f"{each.path}\n{each.size}\n{each.changed_ns}\n".encode())
    return digest.hexdigest()
