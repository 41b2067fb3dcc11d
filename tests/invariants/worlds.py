"""Decisions that were made by a known law, for tests of what is mined from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.kind import Kind
from gnomon.sdk.programs.questions import question_of
from gnomon.shadow.invariants.decisions import Answers, Decided, Picks

from ..programs.jobs import jobs

INFLIGHT, EWMA, WEIGHT, SINCE = range(4)
Law = Callable[[Any, np.random.Generator], int]


def at_random(rows: Any, rng: np.random.Generator) -> int:
    return int(rng.integers(len(rows)))


def among(fits: Callable[[Any], Any]) -> Law:
    """Return a law: at random among what fits, or among all where nothing does."""

    def law(rows: Any, rng: np.random.Generator) -> int:
        fitting = np.flatnonzero(fits(rows))
        return int(rng.choice(fitting)) if len(fitting) else at_random(rows, rng)

    return law


def picks(law: Law, seed: int = 0, n: int = 1200, members: int = 6) -> Picks:
    """Return n decisions of a law, over items whose features are at random."""
    rng = np.random.default_rng(seed)
    items = np.zeros((n, members, len(load_balancer.inputs)))
    items[..., INFLIGHT] = rng.poisson(6, (n, members))
    items[..., EWMA] = rng.exponential(20.0, (n, members))
    items[..., WEIGHT] = rng.choice([1.0, 2.0], (n, members))
    items[..., -1] = rng.random((n, members))
    last, action = np.full(members, -1), np.zeros(n, np.int64)
    for index in range(n):
        items[index, :, SINCE] = np.maximum(index - last, 1)
        action[index] = law(items[index], rng)
        last[action[index]] = index
    edge = np.arange(n + 1) * members
    return Picks(load_balancer, items.reshape(n * members, -1), edge, edge[:-1] + action)


def answers(decide: Callable[[Any, np.random.Generator], list[int]], seed: int = 0) -> Answers:
    """Return 200 answers of a function to questions of the kind ``jobs``: 8 jobs, 4 machines."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(200):
        work = rng.uniform(0.1, 10.0, 8).round(3).tolist()
        asked = question_of(jobs, (work, 4, [0] * 8)).asked
        pairs.append((asked, jobs.answer_type(decide(asked, rng))))
    return Answers(jobs, tuple(pairs))


def decided(decisions: Picks | Answers, kind: Kind | None = None) -> Decided:
    """Return decisions as of a hook."""
    known = kind or decisions.kind
    return Decided("w.pick", known, "ab", "recorded", known.invariants, decisions)
