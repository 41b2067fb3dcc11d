"""What decisions about a queue see, for those who want tables of one size."""

from __future__ import annotations

import numpy as np

from ...sdk.errors import TraceError
from .base import FloatArray, Stream

#: Decisions that are shown, and the most items of each.
TABLES, ITEMS = 1024, 16
_LOOKED_AT = 50_000  # decisions, in search of those


def tables_of(stream: Stream, hook: str) -> FloatArray:
    """Return queues of decisions that had a choice, f8[n, m, F]: the m oldest items of each.

    m is 16, or less where queues are hardly ever that long. The oldest is always picked.

    Raises:
        TraceError: two items never waited at once, so that there was nothing to decide.
    """
    found = _seen(stream)
    if not found:
        raise TraceError(
            f"no two jobs of trace {hook!r} ever waited at once, so there was nothing to decide; "
            "capture busier traffic"
        )
    lengths = np.sort([len(table) for table in found])
    m = int(min(ITEMS, lengths[-min(len(lengths), TABLES // 4)]))
    return np.stack([table[:m] for table in found if len(table) >= m][:TABLES])


def _seen(stream: Stream) -> list[FloatArray]:
    found: list[FloatArray] = []
    try:
        rows = next(stream)
        for _ in range(_LOOKED_AT):
            if len(rows) >= 2:
                found.append(rows[:ITEMS].copy())
            rows = stream.send(0)
    except StopIteration:
        pass
    stream.close()
    return found
