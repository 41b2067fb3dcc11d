"""Published load-balancing policies that keep state or draw items, which no score form can.

Each is a compiled loop over a replay, and, where what a caller sees is enough for it, a function of the
rows that picks the same: draws are functions of the seed, the process and how often it has decided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ....sdk.errors import ConfigurationError
from ..base import Choose, FloatArray
from ..native import uniform
from . import kernel
from .loops import FINAGLE_DECAY_S, idle_queue, peak_ewma, smooth_turns, two_choices

_Pick = Callable[[FloatArray], int]


def run(name: str, model: kernel.Model, state: kernel.State, seed: int) -> None:
    """Replay everything under a built-in policy; raises ConfigurationError when there is none."""
    if name not in _LOOPS:
        raise _unknown(name)
    processes, members = model.weight.shape
    keys = np.array([_key(name, seed, process) for process in range(processes)], np.uint64)
    _LOOPS[name](model, state, keys, np.zeros((processes, members, 2)))


def chooser(name: str, processes: int, seed: int) -> Choose:
    """Return a built-in policy with state of its own per process.

    Raises:
        ConfigurationError: there is none of this name, or it sees more than the rows.
    """
    if name not in _LOOPS:
        raise _unknown(name)
    if name not in _MAKERS:
        raise ConfigurationError(
            f"built-in policy {name!r} sees every answer's time, which rows do not hold; replay it "
            f"as baseline:{name}"
        )
    picks = [_MAKERS[name](_key(name, seed, process)) for process in range(processes)]
    return lambda process, rows: picks[process](rows)


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(f"no built-in policy {name!r}; there are {', '.join(sorted(_LOOPS))}")


def _key(name: str, seed: int, process: int) -> np.uint64:
    digest = hashlib.sha256(f"{name}/{seed}/{process}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def _power_of_two_choices(key: np.uint64) -> _Pick:
    decided = -1

    def pick(rows: FloatArray) -> int:
        nonlocal decided
        decided += 1
        if len(rows) == 1:
            return 0
        one = int(uniform(key, decided, 0) * len(rows))
        other = int(uniform(key, decided, 1) * (len(rows) - 1))
        other += other >= one
        return one if rows[one, kernel.INFLIGHT] <= rows[other, kernel.INFLIGHT] else other

    return pick


def _join_idle_queue(key: np.uint64) -> _Pick:
    decided = -1

    def pick(rows: FloatArray) -> int:
        nonlocal decided
        decided += 1
        idle = np.flatnonzero(rows[:, kernel.INFLIGHT] == 0.0)
        among = idle if len(idle) else np.arange(len(rows))
        return int(among[int(uniform(key, decided, 0) * len(among))])

    return pick


def _smooth_weighted_round_robin(_key: np.uint64) -> _Pick:
    current: list[float] = []

    def pick(rows: FloatArray) -> int:
        weights = rows[:, kernel.WEIGHT].tolist()
        if not current:
            current.extend([0.0] * len(weights))
        total = 0.0
        for member, weight in enumerate(weights):
            current[member] += weight
            total += weight
        best = current.index(max(current))
        current[best] -= total
        return best

    return pick


def _finagle(model: kernel.Model, state: kernel.State, keys: Any, room: FloatArray) -> None:
    peak_ewma(model, state, keys, room, FINAGLE_DECAY_S)


_LOOPS: dict[str, Callable[[kernel.Model, kernel.State, Any, FloatArray], Any]] = {
    "power_of_two_choices": two_choices,
    "join_idle_queue": idle_queue,
    "smooth_weighted_round_robin": smooth_turns,
    "peak_ewma_finagle": _finagle,
}
_MAKERS: dict[str, Callable[[np.uint64], _Pick]] = {
    "power_of_two_choices": _power_of_two_choices,
    "join_idle_queue": _join_idle_queue,
    "smooth_weighted_round_robin": _smooth_weighted_round_robin,
}
