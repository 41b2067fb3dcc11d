"""The generator's log: what the demo's users felt, told apart from what Gnomon says of itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in order of their intended send time.

    Attributes:
        at_ns: intended send time, Unix ns, ``(n,)``.
        latency_ms: from the intended send time, ``(n,)``.
        status: HTTP status, 0 where none came, ``(n,)``.
        error: empty, ``timeout`` or ``reset: …``, ``n`` texts.
        backend: who answered, ``n`` texts.
    """

    at_ns: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    status: NDArray[np.int64]
    error: tuple[str, ...]
    backend: tuple[str, ...]

    def between(self, start_ns: int, end_ns: int) -> Traffic:
        """Return the requests that were meant to leave in ``[start_ns, end_ns)``."""
        keep = np.flatnonzero((self.at_ns >= start_ns) & (self.at_ns < end_ns))
        return self.take(keep)

    def take(self, keep: NDArray[np.int64]) -> Traffic:
        """Return the requests at these positions."""
        return Traffic(
            self.at_ns[keep],
            self.latency_ms[keep],
            self.status[keep],
            tuple(self.error[i] for i in keep),
            tuple(self.backend[i] for i in keep),
        )

    def faults(self) -> dict[str, int]:
        """Return counts of requests, non-2xx answers, resets and time-outs."""
        kinds = Counter(text.partition(":")[0] for text in self.error)
        answered = self.status[self.status > 0]
        return {
            "requests": len(self.status),
            "non_2xx": int(np.sum((answered < 200) | (answered > 299))),
            "resets": kinds["reset"],
            "timeouts": kinds["timeout"],
        }

    def latency(self) -> dict[str, float]:
        """Return mean, p50 and p99 latency in ms; NaN without requests."""
        if not len(self.latency_ms):
            return dict.fromkeys(("mean", "p50", "p99"), float("nan"))
        p50, p99 = np.quantile(self.latency_ms, (0.5, 0.99))
        return {"mean": float(self.latency_ms.mean()), "p50": float(p50), "p99": float(p99)}


def read_traffic(*logs: Path) -> Traffic:
    """Read a generator's logs; a last line cut short is left out."""
    rows = sorted((row for log in logs for row in _rows(log)), key=lambda row: row[0])
    return Traffic(
        np.array([int(row[0] * 1e9) for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.array([row[2] for row in rows], dtype=np.int64),
        tuple(row[3] for row in rows),
        tuple(row[4] for row in rows),
    )


def _rows(log: Path) -> Iterator[list[Any]]:
    for line in log.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
