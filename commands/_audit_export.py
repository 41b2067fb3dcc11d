"""``gnomon audit export``: entries as JSON lines, or as a Parquet file with typed columns."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..api import LEDGER
from ..sdk.errors import ConfigurationError
from . import _audit, _complete
from ._common import emit

if TYPE_CHECKING:
    from ..policies.rollout.chain import Entry

_FORMATS = ("jsonl", "parquet")


def export(
    out: Annotated[Path | None, typer.Option(help="File; standard output when left out.")] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="jsonl or parquet; by the file's name when left out.",
            autocompletion=_complete.words(*_FORMATS),
        ),
    ] = "",
    kind: _audit.Kinds = "",
    since: _audit.Since = "",
    ledger: _audit.LedgerFile = LEDGER,
    control_plane: _audit.Address = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="With --out: say as JSON what was written.")
    ] = False,
) -> None:
    """Write entries as JSON, one a line, or as Parquet; a file is written whole or not at all."""
    from ..sdk.state import write_atomically

    chosen = form or _by_name(out)
    if chosen not in _FORMATS or (chosen == "parquet" and out is None):
        need = "Parquet needs --out FILE" if chosen == "parquet" else "write jsonl or parquet"
        raise ConfigurationError(f"entries cannot be exported as {chosen!r} here; {need}")
    with _audit.opened(ledger, control_plane) as source:
        entries = _audit.chosen(source.entries(), kind, since)
    data = _parquet(entries) if chosen == "parquet" else _lines(entries)
    if out is None:
        sys.stdout.write(data.decode())
        return
    write_atomically(out, data)
    said = {"entries": len(entries), "out": str(out), "format": chosen}
    emit(said, as_json, lambda: print(f"{len(entries)} entries in {out}"))


def _by_name(out: Path | None) -> str:
    """Return the format that a file's name says; raises ConfigurationError where it says another one."""
    if out is None or out.suffix in ("", ".json", ".jsonl", ".ndjson"):
        return "jsonl"
    if out.suffix == ".parquet":
        return "parquet"
    raise ConfigurationError(
        f"{out} is no export; end its name in .jsonl or .parquet, or say --format jsonl"
    )


def _lines(entries: Sequence[Entry]) -> bytes:
    return "".join(json.dumps(each.as_json(), sort_keys=True) + "\n" for each in entries).encode()


def _parquet(entries: Sequence[Entry]) -> bytes:
    """Return a Parquet file; ``body`` is the canonical JSON that the hash covers, byte for byte."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.dictionary(pa.int32(), pa.string())
    columns = {
        "seq": (pa.int64(), [each.seq for each in entries]),
        "time_ns": (pa.int64(), [each.time_ns for each in entries]),
        "time": (
            pa.timestamp("us", tz="UTC"),
            [each.time_ns // 1000 for each in entries],
        ),
        "kind": (names, [each.kind for each in entries]),
        "actor": (names, [each.actor for each in entries]),
        "subject": (pa.string(), [each.subject for each in entries]),
        "hook": (names, [_text(each, "hook") for each in entries]),
        "body": (pa.string(), [each.raw.decode("ascii", "replace") for each in entries]),
        "previous": (pa.binary(32), [each.previous for each in entries]),
        "hash": (pa.binary(32), [each.hash for each in entries]),
    }
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    arrays = [pa.array(values, kind) for kind, values in columns.values()]
    table = pa.Table.from_arrays(arrays, schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _text(entry: Entry, name: str) -> str | None:
    value = entry.body.get(name)
    return value if isinstance(value, str) else None
