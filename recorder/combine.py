"""Rows put together: in order, each id once, outcomes at their decisions; the same whatever the files.

What is said of a decision does not depend on how its rows lie in files: they are ordered by time, then
by id, and of several outcomes the one reported earliest counts. So a store may be merged at any moment
without changing what is read from it.
"""

# pyarrow.compute makes its functions when it is imported, which pyright cannot see.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .schema import OUTCOME_COLUMNS, WORKLOAD, TableSpec

_NEVER = 2**63 - 1


def ordered(spec: TableSpec, table: pa.Table) -> pa.Table:
    """Return rows in order of time, then id, then time of the outcome."""
    time = table[spec.time].to_numpy()
    order = np.argsort(time, kind="stable")
    if np.any(np.diff(time[order]) == 0):
        keys = [spec.time, spec.key, *(["outcome_time"] if spec.name != WORKLOAD else [])]
        return table.take(pc.sort_indices(table, [(key, "ascending") for key in keys]))
    return table.take(pa.array(order))


def distinct(spec: TableSpec, table: pa.Table) -> pa.Table:
    """Return ordered rows, of each id the first."""
    ids = table[spec.key]
    if not len(ids):
        return table
    codes = pc.dictionary_encode(ids).combine_chunks().indices.to_numpy()
    first = np.unique(codes, return_index=True)[1]
    return table if len(first) == len(ids) else table.take(pa.array(np.sort(first)))


def within(spec: TableSpec, table: pa.Table, span: tuple[int | None, int | None]) -> pa.Table:
    """Return the rows from ``span[0]`` up to but not ``span[1]``, Unix ns, None for no bound."""
    since, until = span
    if since is not None:
        table = table.filter(pc.greater_equal(table[spec.time], since))
    if until is not None:
        table = table.filter(pc.less(table[spec.time], until))
    return table


def joined(decisions: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Return decisions with the outcomes that were stored apart, where these were reported earlier.

    Args:
        decisions: each id once.
        outcomes: of any ids.
    """
    if not outcomes.num_rows or not decisions.num_rows:
        return decisions
    keys = [("outcome_time", "ascending"), ("decision_id", "ascending")]
    outcomes = outcomes.take(pc.sort_indices(outcomes, keys))
    found = pc.index_in(
        decisions["decision_id"], value_set=outcomes["decision_id"].combine_chunks()
    )
    matched = np.asarray(found.fill_null(-1).to_numpy())
    own = decisions["outcome_time"].fill_null(_NEVER).to_numpy()
    none = decisions["outcome_status"].is_null().to_numpy()
    other = outcomes["outcome_time"].to_numpy()[matched]
    taken = (matched >= 0) & (none | (other < own))
    at = np.where(taken, decisions.num_rows + matched, np.arange(decisions.num_rows))
    for name in OUTCOME_COLUMNS:
        both = pa.chunked_array([*decisions[name].chunks, *outcomes[name].chunks])
        index = decisions.schema.get_field_index(name)
        column = both.take(pa.array(at))
        decisions = decisions.set_column(index, decisions.schema.field(index), column)
    return decisions


def unmatched(decisions: pa.Table, outcomes: pa.Table) -> pa.Table:
    """Return the outcomes whose decision is not among these."""
    known = pc.is_in(outcomes["decision_id"], value_set=decisions["decision_id"].combine_chunks())
    return outcomes.filter(pc.invert(known))
