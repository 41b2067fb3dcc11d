"""Simulated months of a promoted policy's traffic: daily and weekly cycles, bursts, heavy tails, autoscaling.

Loads repeat by hour and weekday around a slow random walk; servers are added and taken away with the load,
so the number of items and their mix follow it. What is seen of a server is what the kind ``load_balancer``
declares: its outstanding requests, its average latency with slow outliers (Pareto 1.5), its weight. The profile
is made by ``shadow.profiles`` and the months are judged by the state machine, both as in production.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from gnomon import load_balancer
from gnomon.policies.rollout.events import Seen
from gnomon.policies.rollout.machine import step
from gnomon.policies.rollout.shipping import Ramp
from gnomon.policies.rollout.states import State, Status, draft
from gnomon.policies.rollout.upkeep import Reference, Terms, Watch, begun
from gnomon.shadow.profiles import message, profile_of
from gnomon.shadow.traces.trace import DecisionTrace

from .test_machine import PLAN

Numbers = np.ndarray[Any, np.dtype[Any]]

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
#: Steps of the load, of 10 minutes each.
STEPS = 144
#: Decisions that are counted in a step at the average load; a twentieth of 5 a second.
COUNTED = 30.0
#: Loads by weekday, Monday first: quieter weekends; one day closed; offices; every day alike.
WEEKS: Mapping[str, tuple[float, ...]] = {
    "weekends": (1.0, 1.0, 1.0, 1.0, 1.0, 0.6, 0.6),
    "closed on Sundays": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1),
    "office": (1.0, 1.0, 1.0, 1.0, 0.9, 0.2, 0.2),
    "all days alike": (1.0,) * 7,
}
#: Small servers that the load asks for at most and at least, beside two of four times their size.
LEAST, MOST, LARGE = 2, 24, 2


@dataclass(frozen=True)
class Life:
    """One promoted policy and its traffic.

    Attributes:
        week: of :data:`WEEKS`.
        trace_days: that the verdict rests on.
        days: that are watched after the promotion.
        change: what becomes of the traffic: ``""``, ``doubled`` (the servers stay as they are),
            ``larger`` (half of what is asked are large servers), ``slower`` (half as slow again), ``holiday``
            (a third of the load for nine days, and then as before).
        at: day of the change.
    """

    week: str = "weekends"
    trace_days: float = 1.0
    days: int = 35
    change: str = ""
    at: int = 10


@dataclass(frozen=True)
class Ended:
    """How it went: the days of notices, and the day on which the function came back; -1 for never."""

    notices: tuple[float, ...]
    lapsed: float


@dataclass(frozen=True)
class _Traffic:
    """The state of a system by step: load (1 on average), utilisation, small servers, slowness, share of others."""

    load: Numbers
    busy: Numbers
    small: Numbers
    slow: Numbers
    larger: Numbers

    @cached_property
    def steps(self) -> int:
        return len(self.load)


def play(seed: int, life: Life, ramp: Ramp | None = None) -> Ended:
    """Return how a promoted policy's life went, by the rule of a ramp; its defaults when None."""
    rng = np.random.default_rng([seed, round(1000 * life.trace_days)])
    begin = int(rng.integers(0, 7 * STEPS))
    steps = max(1, round(life.trace_days * STEPS))
    profile = _profile(rng, _traffic(rng, begin, steps, Life(life.week)))
    promoted = begin + steps + int(rng.integers(1, STEPS))
    traffic = _traffic(rng, promoted, life.days * STEPS, life)
    return _watched(profile, *_seen(rng, traffic), ramp or Ramp(), life.days)


def _traffic(rng: np.random.Generator, begin: int, steps: int, life: Life) -> _Traffic:
    at = begin + np.arange(steps)
    weekday = np.array(WEEKS[life.week])[at // STEPS % 7]
    hour = at % STEPS / STEPS * 24.0
    load = weekday * (1.0 + 0.6 * np.cos(2.0 * np.pi * (hour - 15.0) / 24.0)) * _walk(rng, steps)
    changed = np.arange(steps) >= life.at * STEPS
    if life.change == "holiday":
        load = np.where(changed & (np.arange(steps) < (life.at + 9) * STEPS), 0.35 * load, load)
    before = np.concatenate([load[:1], load[:-1]])  # servers come a step late
    small = np.clip(np.ceil(10.0 * before - 4.0 * LARGE), LEAST, MOST)
    asked = 6.0 * load * np.where(changed & (life.change == "doubled"), 2.0, 1.0)
    busy = np.clip(asked / (4.0 * LARGE + small), 0.02, 0.97)
    slow = np.where(changed & (life.change == "slower"), 1.5, 1.0)
    larger = np.where(changed & (life.change == "larger"), 0.5, 0.0)
    return _Traffic(load, busy, small, slow, larger)


def _walk(rng: np.random.Generator, steps: int) -> Numbers:
    """Return the load's bursts and moods: AR(1) of hours (15 %), and another level each day (5 %)."""
    made, value = np.empty(steps), rng.normal() * 0.15
    kicks = rng.normal(size=steps) * 0.15 * np.sqrt(1.0 - 0.82**2)
    for at in range(steps):
        made[at] = value = 0.82 * value + kicks[at]
    days = rng.normal(size=steps // STEPS + 1) * 0.05
    walked: Numbers = np.exp(made + days[np.arange(steps) // STEPS])
    return walked


def _items(rng: np.random.Generator, traffic: _Traffic, at: Numbers, queues: float) -> Numbers:
    """Return features of one server of each decision, f8[n, 3]; ``queues`` is what the policy makes of them."""
    n = len(at)
    large = rng.random(n) < LARGE / (LARGE + traffic.small[at])
    large |= rng.random(n) < traffic.larger[at]
    waiting = queues * traffic.busy[at] / (1.0 - traffic.busy[at])
    inflight = rng.geometric(1.0 / (1.0 + waiting * np.where(large, 2.0, 1.0))) - 1
    outlier = np.where(rng.random(n) < 0.02, 1.0 + rng.pareto(1.5, n), 1.0)
    ewma = 20.0 * traffic.slow[at] * (1.0 + waiting) * rng.lognormal(0.0, 0.3, n) * outlier
    return np.stack([inflight.astype(float), ewma, np.where(large, 4.0, 1.0)], axis=1)


def _drawn(rng: np.random.Generator, traffic: _Traffic, rate: float) -> Numbers:
    return np.repeat(np.arange(traffic.steps), rng.poisson(rate * traffic.load))


def _profile(rng: np.random.Generator, traffic: _Traffic) -> tuple[Reference, list[Numbers]]:
    """Return references of a recorded trace, and their edges; another policy was recorded, with longer queues."""
    rows = _items(rng, traffic, _drawn(rng, traffic, 8.0 * COUNTED), 1.5)
    n = len(rows)
    features = np.zeros((n, 1, len(load_balancer.inputs)))
    features[:, 0, : rows.shape[1]] = rows
    time, nothing = np.arange(n, dtype=float), np.zeros(n, np.int32)
    columns = time, nothing, nothing, features, np.ones(n), np.ones(n, bool)
    trace = DecisionTrace("h", "load_balancer", 0, ("m",), ("i",), *columns)
    made = message(profile_of(trace, load_balancer), "t")
    assert made is not None
    references = tuple(Reference(f.name, tuple(f.shares), made.decisions) for f in made.features)
    return references, [np.array(f.edges) for f in made.features]


def _seen(rng: np.random.Generator, traffic: _Traffic) -> tuple[Numbers, Numbers]:
    """Return the steps and the features of what a service counts."""
    at = _drawn(rng, traffic, COUNTED)
    return at, _items(rng, traffic, at, 1.0)


def _watched(
    profile: tuple[Any, list[Numbers]], at: Numbers, rows: Numbers, ramp: Ramp, days: int
) -> Ended:
    references, edges = profile
    terms = Terms(
        *(round(ramp.expires_s * SECOND), ramp.drift, round(ramp.grace_s * SECOND), ramp.then),
        *(round(ramp.drift_window_s * SECOND), ramp.drift_windows),
    )
    begin = PLAN.not_after_ns
    watch = begun(Watch("c" * 64, terms, references, "e" * 64), begin)
    state = replace(
        draft(replace(PLAN, upkeep=terms), b"s" * 16, begin, (watch,)), status=Status.STABLE
    )
    bins = [np.searchsorted(edge, rows[:, i], side="left") for i, edge in enumerate(edges)]
    ends = np.searchsorted(at, np.arange(0, days * STEPS + 1, STEPS // 4))
    notices: list[float] = []
    for quarter, (low, high) in enumerate(pairwise(ends), 1):
        seen = tuple(
            tuple(np.bincount(b[low:high], minlength=len(e) + 1).tolist())
            for b, e in zip(bins, edges, strict=True)
        )
        after = step(state, Seen(seen), begin + quarter * DAY // 4)
        if _noticed(after) and not _noticed(state):
            notices.append(quarter / 4.0)
        if after.status is Status.ABORTED:
            return Ended(tuple(notices), quarter / 4.0)
        state = after
    return Ended(tuple(notices), -1.0)


def _noticed(state: State) -> bool:
    return state.watch is not None and state.watch.notice is not None
