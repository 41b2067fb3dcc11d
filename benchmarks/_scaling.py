"""Absolute targets hold for the machine that they were set on; here they are scaled to this one."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

from results import REFERENCE_CALL_NS, Row

_REPEATS, _CALLS = 5, 200_000


def bare_call_ns() -> float:
    """Return what a bare call of three arguments costs here, in ns of CPU time."""

    def bare(a: float, b: float, c: float) -> float:
        return a

    def loop() -> float:
        begin = time.thread_time()
        for _ in range(_CALLS):
            bare(1.0, 2.0, 3.0)
        return (time.thread_time() - begin) / _CALLS * 1e9

    return statistics.median(loop() for _ in range(_REPEATS))


def scaled(row: Row, bare_ns: float) -> Row:
    """Return a row whose target is scaled by the cost of a bare call; once, and no ratio or count."""
    if row.target is None or row.unit in ("x", "attacks") or row.scale != 1.0:
        return row
    slower = bare_ns / REFERENCE_CALL_NS
    scale = slower if row.better == "lower" else 1.0 / slower
    note = f"target scaled by {scale:.2f}: a bare call takes {bare_ns:.0f} ns here"
    return replace(row, scale=scale, note="; ".join(filter(None, (row.note, note))))
