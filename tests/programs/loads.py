"""Loads of experts that drift, with switches of task, as traces of the kind ``expert_placement``."""

from __future__ import annotations

import numpy as np

from gnomon.policies.expert_placement import expert_placement, static_row
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.base import Replay
from gnomon.shadow.traces.load_trace import LoadTrace

LAYERS, EXPERTS, SLOTS, RANKS = 1, 16, 20, 4


def counts(windows: int, seed: int, task: int = 40) -> np.ndarray:
    """Return tokens by window, layer and expert; every task has hot experts of its own."""
    rng = np.random.default_rng(seed)
    found = np.zeros((windows, LAYERS, EXPERTS), np.int64)
    shares = rng.dirichlet(np.full(EXPERTS, 0.5), LAYERS)
    for window in range(windows):
        if window % task == 0:
            shares = rng.dirichlet(np.full(EXPERTS, 0.5), LAYERS)
        for layer in range(LAYERS):
            found[window, layer] = rng.multinomial(4_000_000, shares[layer])
    return found


def trace(windows: int = 400, seed: int = 0, policy: str = "static") -> LoadTrace:
    """Return a trace as a service recorded it under a published policy, ten windows a second."""
    held = np.tile(np.array(static_row(EXPERTS, SLOTS, 1, 1), np.int64), (LAYERS, 1))
    made = LoadTrace(
        hook="moe.rebalance",
        kind="expert_placement",
        start_ns=0,
        replicas=SLOTS,
        groups=1,
        nodes=1,
        ranks=RANKS,
        delay=0,
        policy=policy,
        first=1,
        at=np.arange(windows) / 10.0,
        index=np.arange(windows),
        counts=counts(windows, seed),
        imbalance=np.full(windows, np.nan),
        placement=held,
    )
    replayed: Replay = simulator_for(expert_placement).replay_built_in(
        policy, made, simulator_for(expert_placement).calibrate(made), 0
    )
    recorded = np.concatenate((np.full(1, np.nan), replayed.outcome))
    columns = {name: getattr(made, name) for name in (*LoadTrace.HEAD, *LoadTrace.COLUMNS)}
    return LoadTrace(**(columns | {"imbalance": recorded}))
