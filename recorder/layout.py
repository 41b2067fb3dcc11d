"""Where rows lie: ``TABLE/hook=HOOK/date=YYYY-MM-DD/hour=HH``, and back from such a path."""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .schema import TableSpec

HOUR_NS = 3_600 * 10**9
#: Folder of columns that are made of a local store's rows, by hook; it may be removed at any time.
COLUMNS_FOLDER = ".columns"
_HOOK = "hook="


def hook_folder(hook: str) -> str:
    """Return the name of a hook's folder."""
    return _HOOK + quote(hook, safe="")


def hook_of(folder: str) -> str | None:
    """Return the hook whose folder this is, or of a path the first such folder's; None without one."""
    for part in folder.split("/"):
        if part.startswith(_HOOK):
            return unquote(part[len(_HOOK) :])
    return None


def hour_of(path: str) -> int | None:
    """Return the start of the hour that a path's folders state, in Unix ns, or None if they state none."""
    parts = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
    try:
        moment = datetime.strptime(f"{parts['date']} {parts['hour']}", "%Y-%m-%d %H")
    except (KeyError, ValueError):
        return None
    return int(moment.replace(tzinfo=UTC).timestamp()) * 10**9


def hour_folder(hook: str, hour_ns: int) -> str:
    """Return the folder of a hook's hour below its table's; ``hour_ns`` is the hour's start in Unix ns."""
    moment = datetime.fromtimestamp(hour_ns // 10**9, UTC)
    return f"{hook_folder(hook)}/date={moment:%Y-%m-%d}/hour={moment:%H}"


def partitions(spec: TableSpec, table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield (folder, rows in order of time) per hook and hour."""
    if not table.num_rows:
        return
    times = table[spec.time].to_numpy()
    hooks = pc.dictionary_encode(table["hook"].combine_chunks())
    codes, hours = hooks.indices.to_numpy(), times // HOUR_NS
    order = np.lexsort((times, hours, codes))
    codes, hours = codes[order], hours[order]
    table = table.combine_chunks().take(pa.array(order))
    begins = np.flatnonzero((np.diff(codes) != 0) | (np.diff(hours) != 0)) + 1
    ends = [*begins.tolist(), len(order)]
    for begin, end in zip([0, *begins.tolist()], ends, strict=True):
        hook = hooks.dictionary[int(codes[begin])].as_py()
        folder = hour_folder(hook, int(hours[begin]) * HOUR_NS)
        yield f"{spec.name}/{folder}", table.slice(begin, end - begin)
