"""A run as rows for other tools: JSON lines or Parquet, one row per proposal, in the order of the log."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ....sdk.errors import ConfigurationError
from ...report.page import source_diff
from ..records import Record
from .account import family, improvements
from .runs import Run

FORMATS = (".jsonl", ".parquet")
_ROW_GROUP = 5000


def rows(run: Run) -> Iterator[dict[str, Any]]:
    """Yield one row per proposal, as JSON values.

    ``generation`` is the number of first parents back to a seed, ``improved`` whether the score was better on
    train than all before it, and ``diff`` the change to the first parent; it is empty without one.
    """
    made: dict[str, Record] = {}
    generations: dict[str, int] = {}
    improved = {step for step, _ in improvements(run.records)}
    for record in run.records:
        parent = made.get(record.parents[0]) if record.parents else None
        generation = generations.get(parent.program, 0) + 1 if parent else 0
        yield _row(record, parent) | {
            "generation": generation,
            "improved": record.step in improved,
        }
        if made.setdefault(record.program, record) is record:
            generations[record.program] = generation


def _row(record: Record, parent: Record | None) -> dict[str, Any]:
    return {
        "step": record.step,
        "program": record.program,
        "key": record.key,
        "parents": list(record.parents),
        "operator": record.operator,
        "family": family(record.operator),
        "author": record.author,
        "place": record.place,
        "outcome": str(record.outcome),
        "reason": record.reason,
        "score": _null(record.score),
        "segments": [_null(value) for value in record.segments],
        "metrics": {name: _null(value) for name, value in record.metrics},
        "nodes": record.nodes,
        "dollars": record.cost,
        "tokens_in": record.tokens_in,
        "tokens_out": record.tokens_out,
        "prompt": record.prompt,
        "feedback": record.feedback,
        "source": record.source,
        "diff": _diff(record, parent),
    }


def _diff(record: Record, parent: Record | None) -> str:
    if parent is None:
        return ""
    return source_diff(parent.source, record.source, parent.program, record.program)


def as_jsonl(run: Run) -> Iterator[str]:
    """Yield the rows as lines of ASCII JSON, each with its newline."""
    for row in rows(run):
        yield json.dumps(row, sort_keys=True, allow_nan=False) + "\n"


def write(run: Run, path: Path) -> None:
    """Write the rows to a file that is either the old one or the whole new one.

    Raises:
        ConfigurationError: the name ends in neither ``.jsonl`` nor ``.parquet``.
    """
    if path.suffix not in FORMATS:
        raise ConfigurationError(f"{path} is no export; end its name in {' or '.join(FORMATS)}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".parquet":
            _write_parquet(rows(run), partial)
        else:
            with partial.open("w", encoding="ascii") as file:
                file.writelines(as_jsonl(run))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_parquet(found: Iterable[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, count = pa.string(), pa.int64()
    schema = pa.schema(
        {
            "step": count,
            "program": texts,
            "key": texts,
            "parents": pa.list_(texts),
            "operator": texts,
            "family": texts,
            "author": texts,
            "place": texts,
            "outcome": texts,
            "reason": texts,
            "score": pa.float64(),
            "segments": pa.list_(pa.float64()),
            "metrics": pa.map_(texts, pa.float64()),
            "nodes": count,
            "dollars": pa.float64(),
            "tokens_in": count,
            "tokens_out": count,
            "prompt": texts,
            "feedback": texts,
            "source": texts,
            "diff": texts,
            "generation": count,
            "improved": pa.bool_(),
        }.items()
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[dict[str, Any]] = []
        for row in found:
            group.append(_columnar(row))
            if len(group) == _ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = []
        writer.write_table(pa.Table.from_pylist(group, schema))


def _columnar(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as Arrow takes it: UTF-8, which lone surrogates are not, and maps as pairs."""
    clean = {name: _utf8(value) if isinstance(value, str) else value for name, value in row.items()}
    metrics = [(_utf8(name), value) for name, value in row["metrics"].items()]
    return clean | {"metrics": metrics, "parents": [_utf8(each) for each in row["parents"]]}


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _null(value: float) -> float | None:
    return value if math.isfinite(value) else None
