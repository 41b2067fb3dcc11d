"""Published load-balancing policies that keep state or draw items, which no score form can."""

from __future__ import annotations

import random
from collections.abc import Callable

from ...sdk.errors import ConfigurationError
from ._lb_kernel import INFLIGHT, WEIGHT
from .base import Choose, FloatArray

_Pick = Callable[[FloatArray], int]


def chooser(name: str, processes: int, seed: int) -> Choose:
    """Return a built-in policy with state of its own per process.

    Raises:
        ConfigurationError: there is none of this name.
    """
    make = _MAKERS.get(name)
    if make is None:
        raise ConfigurationError(
            f"no built-in policy {name!r}; there are {', '.join(sorted(_MAKERS))}"
        )
    picks = [make(random.Random(f"{name}/{seed}/{process}")) for process in range(processes)]
    return lambda process, rows: picks[process](rows)


def _power_of_two_choices(rng: random.Random) -> _Pick:
    def pick(rows: FloatArray) -> int:
        if len(rows) == 1:
            return 0
        one, other = rng.sample(range(len(rows)), 2)
        return one if rows[one, INFLIGHT] <= rows[other, INFLIGHT] else other

    return pick


def _join_idle_queue(rng: random.Random) -> _Pick:
    def pick(rows: FloatArray) -> int:
        idle = [member for member in range(len(rows)) if rows[member, INFLIGHT] == 0.0]
        return rng.choice(idle or range(len(rows)))

    return pick


def _smooth_weighted_round_robin(_rng: random.Random) -> _Pick:
    current: list[float] = []

    def pick(rows: FloatArray) -> int:
        weights = rows[:, WEIGHT].tolist()
        if not current:
            current.extend([0.0] * len(weights))
        for member, weight in enumerate(weights):
            current[member] += weight
        best = current.index(max(current))
        current[best] -= sum(weights)
        return best

    return pick


_MAKERS: dict[str, Callable[[random.Random], _Pick]] = {
    "power_of_two_choices": _power_of_two_choices,
    "join_idle_queue": _join_idle_queue,
    "smooth_weighted_round_robin": _smooth_weighted_round_robin,
}
