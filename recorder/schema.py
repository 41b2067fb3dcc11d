"""Columns of the trace store, their encodings, and the version that every file states.

Times are Unix nanoseconds and durations are nanoseconds, both int64: every reader of Parquet takes
those, which cannot be said of nanosecond timestamps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
VERSION_KEY = b"gnomon.schema_version"
TABLE_KEY = b"gnomon.table"

DECISIONS = "decisions"
OUTCOMES = "outcomes"
WORKLOAD = "workload"

_VALUES = pa.map_(pa.string(), pa.float64())

_SOURCE = [
    ("process", pa.string()),
    ("service", pa.string()),
    ("hook", pa.string()),
    ("kind", pa.string()),
    ("kind_version", pa.int32()),
]
#: What a decision row takes over from its outcome; null where none came.
OUTCOME_COLUMNS = ("outcome_status", "ok", "outcome_time", "values")
_OUTCOME = [
    ("outcome_status", pa.string()),
    ("ok", pa.bool_()),
    ("outcome_time", pa.int64()),
    ("values", _VALUES),
]


@dataclass(frozen=True)
class TableSpec:
    """One table of the store.

    Attributes:
        name: folder under the store's root.
        schema: columns with their types; the schema's metadata states version and table.
        time: column of Unix nanoseconds by which the files are laid out in days and hours.
        key: column that identifies a row.
        writing: keyword arguments for ``pyarrow.parquet.write_table``.
    """

    name: str
    schema: pa.Schema
    time: str
    key: str
    writing: Mapping[str, Any]


def _schema(name: str, columns: list[tuple[str, pa.DataType]]) -> pa.Schema:
    metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode(), TABLE_KEY: name.encode()}
    return pa.schema(columns, metadata=metadata)


def _writing(dictionary: list[str], encodings: dict[str, str]) -> Mapping[str, Any]:
    """Return explicit settings per column: what has few values by dictionary, the rest as it packs best."""
    return MappingProxyType(
        {
            "compression": "zstd",
            "compression_level": 3,
            "use_dictionary": dictionary,
            "column_encoding": encodings,
            "write_page_checksum": True,
            "write_statistics": ["time", "decision_time"],
        }
    )


_SOURCE_NAMES = [name for name, _ in _SOURCE]

_SPECS = (
    TableSpec(
        DECISIONS,
        _schema(
            DECISIONS,
            [
                ("decision_id", pa.binary(16)),
                *_SOURCE,
                ("time", pa.int64()),
                ("duration", pa.int64()),
                ("unit", pa.string()),
                ("arm", pa.string()),
                ("reason", pa.string()),
                ("detail", pa.string()),
                ("policy", pa.string()),
                ("epoch", pa.int64()),
                ("block", pa.int64()),
                ("action", pa.int32()),
                ("n_items", pa.int32()),
                ("features", pa.list_(pa.float64())),
                ("propensity", pa.float64()),
                ("inclusion", pa.string()),
                ("trace_id", pa.binary(16)),
                ("span_id", pa.binary(8)),
                *_OUTCOME,
            ],
        ),
        "time",
        "decision_id",
        _writing(
            [
                *_SOURCE_NAMES,
                *("unit", "arm", "reason", "detail", "policy", "action", "n_items", "propensity"),
                *("inclusion", "outcome_status", "values.key_value.key"),
            ],
            {
                "decision_id": "DELTA_BYTE_ARRAY",
                "time": "DELTA_BINARY_PACKED",
                "duration": "DELTA_BINARY_PACKED",
                "epoch": "DELTA_BINARY_PACKED",
                "block": "DELTA_BINARY_PACKED",
                "outcome_time": "DELTA_BINARY_PACKED",
                "values.key_value.value": "BYTE_STREAM_SPLIT",
            },
        ),
    ),
    TableSpec(
        OUTCOMES,
        _schema(
            OUTCOMES,
            [
                ("decision_id", pa.binary(16)),
                *_SOURCE,
                ("decision_time", pa.int64()),
                ("arm", pa.string()),
                ("block", pa.int64()),
                *_OUTCOME,
            ],
        ),
        "decision_time",
        "decision_id",
        _writing(
            [*_SOURCE_NAMES, "arm", "outcome_status", "values.key_value.key"],
            {
                "decision_id": "DELTA_BYTE_ARRAY",
                "decision_time": "DELTA_BINARY_PACKED",
                "block": "DELTA_BINARY_PACKED",
                "outcome_time": "DELTA_BINARY_PACKED",
                "values.key_value.value": "BYTE_STREAM_SPLIT",
            },
        ),
    ),
    TableSpec(
        WORKLOAD,
        _schema(
            WORKLOAD,
            [
                ("workload_id", pa.binary(16)),
                *_SOURCE,
                ("time", pa.int64()),
                ("event", pa.string()),
                ("numbers", _VALUES),
                ("texts", pa.map_(pa.string(), pa.string())),
            ],
        ),
        "time",
        "workload_id",
        _writing(
            [
                *_SOURCE_NAMES,
                *("event", "numbers.key_value.key", "texts.key_value.key", "texts.key_value.value"),
                "numbers.key_value.value",  # keys and sizes of a cache come again
            ],
            {
                "workload_id": "DELTA_BYTE_ARRAY",
                "time": "DELTA_BINARY_PACKED",
            },
        ),
    ),
)

#: The tables of a trace store, by name.
TABLES: Mapping[str, TableSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
