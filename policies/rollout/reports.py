"""What a process reports, in the control plane's terms: counters, and blocks that can be true."""

from __future__ import annotations

import math

from gnomon.v1 import delivery_pb2

from ...sdk.measure import BUCKETS
from .blocks import Report
from .outcomes import Arm

#: Counters of the live shadow.
SHADOW = ("decisions", "diverged", "faults", "violations")
_SAID = tuple((f"shadow.{name}", name) for name in SHADOW)


def sound_block(block: delivery_pb2.BlockReport, clip: float) -> bool:
    """Return whether the numbers of a block report can be true."""
    sizes = len(block.histogram) in (0, BUCKETS) and sum(block.histogram) in (0, block.count)
    counts = block.failures <= block.count and block.missing <= block.failures
    most = clip * block.count * (1.0 + 1e-9)
    return sizes and counts and math.isfinite(block.sum) and 0.0 <= block.sum <= most


def plain_counters(report: delivery_pb2.HookReport) -> dict[str, int]:
    """Return a report's counters; by key, as the map's ``items()`` is a slow generator."""
    counters = report.counters
    return {name: counters[name] for name in counters}


def counters_of(report: delivery_pb2.HookReport) -> dict[str, int]:
    """Return a report's counters, the shadow's as ``shadow.NAME``."""
    shadow = report.shadow
    return {**plain_counters(report), **{said: getattr(shadow, name) for said, name in _SAID}}


def report_of(instance: str, block: delivery_pb2.BlockReport) -> Report:
    """Return a process's report on one block."""
    outcomes = Arm(block.count, block.sum, block.failures, tuple(block.histogram))
    return Report(
        instance,
        block.cell,
        block.block,
        block.arm,
        outcomes,
        block.unresolved,
        block.fallbacks,
    )
