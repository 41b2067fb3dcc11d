"""What to read of a store that others write, merge and prune meanwhile: never too much, never too little.

Two things make that right without a lock. Files are listed until two listings in a row show the same
merged files: what a listing missed because it had been replaced is then held by a merged file that the
listing shows, and outcomes that a merger took out of the outcomes are in merged decisions that it shows.
And an hour of which a listed file is gone when it is opened is listed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ..sdk.errors import TraceError
from .files import Files, Found
from .lineage import MERGED, Lineage, replaced
from .reading import Gone, lineage, what_is_left, whole
from .schema import TABLES, TableSpec

#: Of one hour, by table.
Listed = dict[str, list[Found]]
_TRIES = 20


@dataclass(slots=True)
class Loaded:
    """An hour as it lies in files.

    Attributes:
        tables: rows by table, in parts.
        damaged: one line per file that was left out, or some of it.
    """

    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def snapshot(files: Files, tables: Sequence[str], *below: str) -> dict[str, Listed]:
    """Return the files of every hour, by its folder below the table's, all of one moment.

    Args:
        files: of the store.
        tables: names.
        below: folder below the tables' own; everything when left out.

    Raises:
        TraceError: the store is merged faster than it can be listed.
    """
    before: list[str] | None = None
    for _ in range(_TRIES):
        hours: dict[str, Listed] = {}
        for table in tables:
            start = len(files.path(table)) + 1
            for each in files.found(table, *below):
                where = each.path[start:].rpartition("/")[0]
                hours.setdefault(where, {name: [] for name in tables})[table].append(each)
        merged = _merged(hours)
        if merged == before:
            return dict(sorted(hours.items()))
        before = merged
    raise TraceError(f"{files.root} changes faster than it can be listed; try again")


def load(
    files: Files, tables: Sequence[str], where: str, listed: Listed, skip_damaged: bool
) -> Loaded:
    """Return the rows of an hour; it is listed again when one of its files is gone.

    Raises:
        TraceError: a file is damaged or from the future, or the hour changes all the time.
    """
    for _ in range(_TRIES):
        try:
            return _load(files, listed, skip_damaged)
        except Gone:
            listed = snapshot(files, tables, where).get(where, {name: [] for name in tables})
    raise TraceError(f"{files.path(where)} changes faster than it can be read; try again")


def lineages(
    files: Files, spec: TableSpec, found: Sequence[Found], damaged: Callable[[TraceError], None]
) -> dict[Found, Lineage]:
    """Return what each of some files holds; one that cannot be read is told of and left out."""
    known: dict[Found, Lineage] = {}
    for each in found:
        try:
            known[each] = lineage(files, spec, each)
        except TraceError as error:
            damaged(error)
    return known


def living(files: Files, spec: TableSpec, found: Sequence[Found]) -> list[Found]:
    """Return the files of a table's hour that count; a merged one that is damaged replaces nothing.

    Raises:
        Gone: one is not there any more.
    """
    merged = [each for each in found if each.name.startswith(MERGED)]
    if not merged or len(found) == 1:
        return list(found)
    known = lineages(files, spec, merged, lambda _damage: None)
    gone = replaced(known, [each for each in found if each not in known])
    return [each for each in found if each not in gone]


def _load(files: Files, listed: Mapping[str, list[Found]], skip_damaged: bool) -> Loaded:
    loaded = Loaded({name: [] for name in listed})
    for name, found in listed.items():
        spec = TABLES[name]
        for each in living(files, spec, found):
            try:
                rows = whole(files, spec, each)
            except TraceError as error:
                if not skip_damaged:
                    raise
                rows, line = what_is_left(files, spec, each, error)
                loaded.damaged.append(line)
            loaded.tables[name].append(rows)
    return loaded


def _merged(hours: Mapping[str, Listed]) -> list[str]:
    every = (each for listed in hours.values() for found in listed.values() for each in found)
    return sorted(each.path for each in every if each.name.startswith(MERGED))
