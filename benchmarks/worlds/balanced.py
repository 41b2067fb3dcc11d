"""A load-balanced service: servers of unlike speed, heavy tails, slow spells, bursts, and things that no model has."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numba
import numpy as np

from gnomon.shadow.traces.trace import DecisionTrace

from .clock import CELL_S, START_NS, arrivals, switching

ROUTERS = 2
CLIP_MS = 2000.0
#: Moving average of the service's own.
GAIN = 0.2


@dataclass(frozen=True)
class Balanced:
    """Parameters of one service.

    Attributes:
        mean_ms: of each server's service time.
        slots: requests that each serves at once.
        rate: requests a second, on average.
        spread: coefficient of variation of the body of service times.
        tail: share of requests that take ten times as long, or so.
        spell_gap_s, spell_s, spell_factor: slow spells of the first half of the servers; 0 for none.
        burst: factor between busy and quiet traffic; 1 for a steady rate.
        drag: how much slower a server is for each request that it serves already.
        cold: how much slower a server is that has long not been picked; feedback that nobody records.
        failing: share of failures of the fastest server.
    """

    mean_ms: tuple[float, ...]
    slots: tuple[int, ...]
    rate: float
    spread: float = 0.3
    tail: float = 0.0
    spell_gap_s: float = 0.0
    spell_s: float = 1.5
    spell_factor: float = 3.0
    burst: float = 1.0
    drag: float = 0.0
    cold: float = 0.0
    failing: float = 0.0

    def traffic(self, seconds: float, rng: np.random.Generator) -> Traffic:
        """Draw arrivals, work and spells of a stretch of time."""
        time = arrivals(self.rate, seconds, self.burst, rng)
        n, m = len(time), len(self.mean_ms)
        sigma2 = np.log1p(self.spread**2)
        work = rng.lognormal(-sigma2 / 2.0, np.sqrt(sigma2), n)
        long = rng.random(n) < self.tail
        work = np.where(long, work * 10.0 * rng.pareto(2.2, n).clip(0.3, 20.0), work)
        slow = np.ones((m, int(seconds / CELL_S) + 2))
        for server in range((m + 1) // 2 if self.spell_gap_s else 0):
            spell = switching(seconds, self.spell_gap_s, self.spell_s, rng)
            slow[server, spell] = self.spell_factor
        return Traffic(
            time, rng.integers(0, ROUTERS, n), work, slow, rng.random((n, m)), rng.random(n)
        )

    def run(self, traffic: Traffic, score: Any) -> Ran:
        """Serve traffic under a compiled score of the kind's inputs; the lowest is picked."""
        found = _run(
            traffic.time, traffic.router, traffic.work, traffic.slow, traffic.luck, traffic.fate,
            np.array(self.mean_ms), np.array(self.slots), self.drag, self.cold, self.failing, score,
        )  # fmt: skip
        return Ran(traffic, *found)


@dataclass(frozen=True)
class Traffic:
    """What would come under any policy; n requests, m servers."""

    time: Any
    router: Any
    work: Any
    slow: Any
    luck: Any
    fate: Any


@dataclass(frozen=True)
class Ran:
    """What came of traffic under a policy."""

    traffic: Traffic
    action: Any
    rows: Any
    latency_ms: Any
    ok: Any

    def trace(self) -> DecisionTrace:
        """Return what the service recorded."""
        m = self.rows.shape[1]
        return DecisionTrace(
            hook="world.pick",
            kind="load_balancer",
            start_ns=START_NS,
            members=tuple(f"server-{index}" for index in range(m)),
            instances=tuple(f"{router:016x}" for router in range(ROUTERS)),
            time=self.traffic.time,
            instance=self.traffic.router.astype(np.int32),
            action=self.action.astype(np.int32),
            features=self.rows,
            outcome=self.latency_ms,
            ok=self.ok,
        )


@numba.njit
def _run(time, router, work, slow, luck, fate, mean_ms, slots, drag, cold, failing, score):  # type: ignore[no-untyped-def]
    n, m = len(time), len(mean_ms)
    action, latency_ms, ok = np.zeros(n, np.int64), np.zeros(n), np.ones(n, np.bool_)
    rows = np.zeros((n, m, 5))
    inflight, average = np.zeros((ROUTERS, m)), np.zeros((ROUTERS, m))
    last, decided = -np.ones((ROUTERS, m)), np.zeros(ROUTERS)
    free = np.full((m, slots.max()), -1.0)
    picked_at = np.full(m, -10.0)
    answers = [(0.0, 0, 0, 0.0)]
    heappop(answers)
    fastest = int(np.argmin(mean_ms))
    for index in range(n):
        now, who = time[index], router[index]
        while answers and answers[0][0] <= now:
            _, their, member, seen = heappop(answers)
            inflight[their, member] -= 1.0
            old = average[their, member]
            average[their, member] = seen if old == 0.0 else old + GAIN * (seen - old)
        best, value, tie = 0, np.inf, 2.0
        for member in range(m):
            rows[index, member, 0] = inflight[who, member]
            rows[index, member, 1] = average[who, member]
            rows[index, member, 2] = 1.0
            rows[index, member, 3] = decided[who] - last[who, member]
            rows[index, member, 4] = luck[index, member]
            row = rows[index, member]
            found = score(row[0], row[1], row[2], row[3], row[4])
            if found < value or (found == value and luck[index, member] < tie):
                best, value, tie = member, found, luck[index, member]
        slot, serving = 0, 0
        for other in range(slots[best]):
            if free[best, other] < free[best, slot]:
                slot = other
            if free[best, other] > now:
                serving += 1
        start = max(now, free[best, slot])
        factor = slow[best, min(int(start / CELL_S), slow.shape[1] - 1)]
        factor *= 1.0 + drag * serving
        factor *= 1.0 + cold * (1.0 - np.exp(-(now - picked_at[best]) / 0.1))
        end = start + mean_ms[best] / 1e3 * work[index] * factor
        free[best, slot] = end
        picked_at[best] = now
        answer = (end - now) * 1e3 + 1.0
        action[index], latency_ms[index] = best, min(answer, CLIP_MS)
        ok[index] = not (best == fastest and fate[index] < failing)
        heappush(answers, (now + answer / 1e3, who, best, answer))
        inflight[who, best] += 1.0
        last[who, best] = decided[who]
        decided[who] += 1.0
    return action, rows, latency_ms, ok
