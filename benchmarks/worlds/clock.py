"""What worlds share: bursts of arrivals, and things that switch on and off."""

from __future__ import annotations

from typing import Any

import numpy as np

START_NS = 1_700_000_000_000_000_000
CELL_S = 0.05  # resolution of spells and bursts
_BURST_S = 2.0


def switching(seconds: float, off_s: float, on_s: float, rng: np.random.Generator) -> Any:
    """Return in which cells of time a process that is off and on for exponential times is on, bool[cells]."""
    cells = int(seconds / CELL_S) + 2
    rounds = int(seconds / (off_s + on_s) * 2) + 40
    lengths = np.column_stack((rng.exponential(off_s, rounds), rng.exponential(on_s, rounds)))
    begin = rng.uniform(0.0, 4.0 * (off_s + on_s))  # somewhere in its course
    edges = np.cumsum(lengths.ravel()) - begin
    return np.searchsorted(edges, np.arange(cells) * CELL_S) % 2 == 1


def arrivals(rate: float, seconds: float, burst: float, rng: np.random.Generator) -> Any:
    """Return times of a Poisson process that is busy or quiet, 2 s on average of each, seconds.

    Args:
        rate: a second, on average.
        seconds: for how long.
        burst: rate of busy over that of quiet times; 1 for a steady process.
        rng: of all draws.
    """
    busy = switching(seconds, _BURST_S, _BURST_S, rng)
    level = np.where(busy, burst, 1.0) * 2.0 / (1.0 + burst)
    count = rng.poisson(rate * CELL_S * level)
    time = np.sort((np.repeat(np.arange(len(busy)), count) + rng.random(count.sum())) * CELL_S)
    return time[time < seconds]
