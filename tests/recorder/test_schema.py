"""The trace store's columns are a contract with everything that reads it."""

from __future__ import annotations

from gnomon.recorder.schema import (
    DECISIONS,
    OUTCOME_COLUMNS,
    OUTCOMES,
    TABLES,
    VERSION_KEY,
    WORKLOAD,
)

_SOURCE = ["process", "service", "hook", "kind", "kind_version"]
_OUTCOME = ["outcome_status", "ok", "outcome_time", "values"]


def test_columns_are_the_documented_ones() -> None:
    assert TABLES[DECISIONS].schema.names == [
        "decision_id",
        *_SOURCE,
        *("time", "duration", "unit", "arm", "reason", "detail", "policy", "epoch", "block"),
        *("action", "n_items", "features", "propensity", "inclusion", "trace_id", "span_id"),
        *_OUTCOME,
    ]
    assert TABLES[OUTCOMES].schema.names == [
        *("decision_id", *_SOURCE, "decision_time", "arm", "block"),
        *_OUTCOME,
    ]
    assert TABLES[WORKLOAD].schema.names == [
        *("workload_id", *_SOURCE, "time", "event", "numbers", "texts")
    ]


def test_every_table_states_its_version_and_name() -> None:
    for name, spec in TABLES.items():
        assert spec.schema.metadata == {VERSION_KEY: b"1", b"gnomon.table": name.encode()}


def test_outcome_columns_are_the_same_in_both_tables() -> None:
    for column in OUTCOME_COLUMNS:
        assert TABLES[DECISIONS].schema.field(column) == TABLES[OUTCOMES].schema.field(column)
