"""The pinned generator: decisions with eight features of mixed precision, and their outcomes."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np

from gnomon.sdk.records import Decision, Outcome, Record

HOOK: Any = SimpleNamespace(
    name="router.pick",
    kind=SimpleNamespace(name="load_balancer", version=1),
    process_id="00c0ffee00c0ffee",
)
SERVICE = "router"
#: Decisions between a decision and its outcome, in the order in which a drainer sees them.
BEHIND = 64


def decisions(n: int, seed: int = 1) -> list[Decision]:
    """Return n decisions: 10,000 users, eight items of one feature each, one in ten by a canary."""
    rng = np.random.default_rng(seed)
    features = np.column_stack(
        [
            rng.normal(0, 1, n),
            rng.random(n),
            rng.integers(0, 64, n).astype(float),
            rng.exponential(1, n),
            np.round(rng.random(n) * 100, 2),
            rng.integers(0, 1000, n).astype(float),
            np.round(rng.normal(5, 2, n), 3),
            rng.random(n),
        ]
    )
    columns = zip(
        range(n),
        (1_700_000_000 * 10**9 + np.cumsum(rng.integers(1000, 2_000_000, n))).tolist(),
        rng.integers(200, 90_000, n).tolist(),
        (f"user-{user}" for user in rng.integers(0, 10_000, n).tolist()),
        (rng.random(n) < 0.1).tolist(),
        rng.integers(0, 8, n).tolist(),
        map(tuple, features.tolist()),
        rng.choice([0.1, 0.5, 0.9], n).tolist(),
        strict=True,
    )
    return [
        Decision(
            *(seq, time, took, unit, "candidate" if canary else "stable", "split", ""),
            *(("cd" if canary else "ab") * 32, 7, 12_345, action, 8, row, p, "sampled", 0, 0),
        )
        for seq, time, took, unit, canary, action, row, p in columns
    ]


def outcomes(made: list[Decision], seed: int = 2) -> list[Outcome]:
    """Return the decisions' outcomes, after an exponential latency of 10 ms in the mean."""
    latency = np.random.default_rng(seed).exponential(10.0, len(made)).tolist()
    return [
        Outcome(
            d.seq,
            d.time_ns + int(ms * 1e6),
            True,
            "reported",
            (("latency_ms", ms),),
            d.arm,
            d.block,
            d.time_ns,
        )
        for d, ms in zip(made, latency, strict=True)
    ]


def mixed(made: list[Decision]) -> list[Record]:
    """Return the decisions, each outcome some decisions after its own."""
    ends = outcomes(made)
    pairs = zip(made[BEHIND:], ends[:-BEHIND], strict=True)
    return [*made[:BEHIND], *chain.from_iterable(pairs), *ends[-BEHIND:]]
