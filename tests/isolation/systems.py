"""A small load-balanced system, simulated event by event, to have traces with a known truth.

Independent of the product's simulator: written from the description of the system alone.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from gnomon.shadow.traces.trace import DecisionTrace

MEMBERS = ("a", "b", "c", "d")


@dataclass
class Backend:
    mean_ms: float
    slots: int = 2
    ends: list[float] = field(default_factory=list)

    def serve(self, now: float, service_s: float) -> float:
        """Return when a request that arrives now is answered."""
        start = now
        if len(self.ends) >= self.slots:
            start = max(now, heapq.heappop(self.ends))
        heapq.heappush(self.ends, start + service_s)
        return start + service_s


def recorded(
    seconds: float = 30.0,
    rate: float = 110.0,
    means_ms: tuple[float, ...] = (20.0, 30.0, 45.0, 60.0),
    weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    seed: int = 0,
) -> DecisionTrace:
    """Return what two routers record that send requests by weighted round robin."""
    rng = np.random.default_rng(seed)
    backends = [Backend(mean) for mean in means_ms]
    m, routers = len(backends), 2
    inflight = np.zeros((routers, m))
    ewma = np.zeros((routers, m))
    since = np.ones((routers, m))
    answers: list[tuple[float, int, int, float]] = []
    columns: dict[str, list] = {name: [] for name in ("time", "who", "action", "rows", "out")}
    now = 0.0
    while (now := now + rng.exponential(1.0 / rate)) < seconds:
        while answers and answers[0][0] <= now:
            _, who, member, latency = heapq.heappop(answers)
            inflight[who, member] -= 1
            old = ewma[who, member]
            ewma[who, member] = latency if old == 0.0 else old + 0.2 * (latency - old)
        who = int(rng.integers(routers))
        noise = rng.random(m)
        rows = np.column_stack((inflight[who], ewma[who], weights, since[who], noise))
        key = -since[who] * np.array(weights)
        pick = int(np.lexsort((noise, key))[0])
        service_s = means_ms[pick] * rng.lognormal(-0.02, 0.2) / 1e3
        latency_ms = (backends[pick].serve(now, service_s) - now) * 1e3
        heapq.heappush(answers, (now + latency_ms / 1e3, who, pick, latency_ms))
        inflight[who, pick] += 1
        since[who] += 1
        since[who, pick] = 1
        for name, value in zip(columns, (now, who, pick, rows, latency_ms), strict=True):
            columns[name].append(value)
    return DecisionTrace(
        hook="router.pick",
        kind="load_balancer",
        start_ns=1_700_000_000_000_000_000,
        members=MEMBERS[:m],
        instances=("0" * 16, "1" * 16),
        time=np.array(columns["time"]),
        instance=np.array(columns["who"], dtype=np.int32),
        action=np.array(columns["action"], dtype=np.int32),
        features=np.array(columns["rows"]),
        outcome=np.minimum(np.array(columns["out"]), 2000.0),
        ok=np.ones(len(columns["time"]), dtype=bool),
    )
