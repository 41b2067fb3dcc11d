"""A load-balanced system written for the tests alone: events in a heap, nothing shared with the product."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gnomon.shadow.traces.trace import DecisionTrace

Rows = list[list[float]]
Policy = Callable[[Rows, int], int]


@dataclass
class Server:
    """A FIFO queue before a few slots, with slow spells (begin, end, factor)."""

    service: Callable[[], float]
    slots: int = 1
    weight: float = 1.0
    overhead: float = 0.0
    spells: Sequence[tuple[float, float, float]] = ()
    fails: float = 0.0
    queue: deque[tuple[int, float | None]] = field(default_factory=deque)
    busy: int = 0
    worked: float = 0.0

    def factor(self, now: float) -> float:
        """Return how much slower a service that begins now is."""
        return math.prod(factor for begin, end, factor in self.spells if begin <= now < end)


class System:
    """Routers before servers; ``run`` plays arrivals through a policy and returns the trace.

    Args:
        services: fixed service time per arrival and server, where given, in place of draws.
        refresh: seconds between two polls of what routers see, begun at a third of it; 0 for none.
        shared: whether routers see the requests of all.
    """

    def __init__(
        self,
        servers: list[Server],
        routers: int = 1,
        gain: float = 0.1,
        first_ewma: float = 40.0,
        seed: int = 0,
        services: np.ndarray | None = None,
        refresh: float = 0.0,
        shared: bool = False,
    ) -> None:
        self.refresh, self.shared = refresh, shared
        self.servers, self.routers, self.gain = servers, routers, gain
        self.rng = random.Random(seed)
        self.services = services
        self.inflight = [[0] * len(servers) for _ in range(routers)]
        self.ewma = [[first_ewma] * len(servers) for _ in range(routers)]
        self.last = [[-1] * len(servers) for _ in range(routers)]
        self.decided = [0] * routers
        self.board = [self.signals(router) for router in range(routers)]

    def run(
        self, arrivals: Sequence[float], policy: Policy, hook: str = "test.pick"
    ) -> DecisionTrace:
        """Play the arrivals; the router of each is the next in turn."""
        n, m = len(arrivals), len(self.servers)
        order = itertools.count()
        events = [(time, next(order), "decide", index) for index, time in enumerate(arrivals)]
        polls = np.arange(self.refresh / 3.0, arrivals[-1], self.refresh) if self.refresh else []
        events += [(float(time), -1, "poll", -1) for time in polls]
        heapq.heapify(events)
        rows, action, done = np.zeros((n, m, 5)), np.zeros(n, int), np.zeros(n)
        while events:
            now, _, what, index = heapq.heappop(events)
            if what == "poll":
                self.board = [self.signals(each) for each in range(self.routers)]
                continue
            router = index % self.routers
            if what == "decide":
                rows[index] = self.rows(router)
                action[index] = policy(rows[index].tolist(), router)
                self.sent(router, action[index])
                arrive = now + self.servers[action[index]].overhead / 2
                heapq.heappush(events, (arrive, next(order), "arrive", index))
                continue
            server = self.servers[action[index]]
            if what == "arrive":
                server.queue.append((index, None))
            elif what == "finish":
                server.busy -= 1
                back = now + server.overhead / 2
                heapq.heappush(events, (back, next(order), "answer", index))
            else:
                done[index] = now
                self.answered(router, action[index], (now - arrivals[index]) * 1e3)
            while server.busy < server.slots and server.queue:
                begun, _ = server.queue.popleft()
                service = self.service(server, begun, action[begun]) * server.factor(now)
                server.busy += 1
                server.worked += service
                heapq.heappush(events, (now + service, next(order), "finish", begun))
        time = np.asarray(arrivals, float)
        return DecisionTrace(
            hook=hook,
            kind="load_balancer",
            start_ns=1_700_000_000_000_000_000,
            members=tuple(f"backend-{index}" for index in range(m)),
            instances=tuple(f"{router:016x}" for router in range(self.routers)),
            time=time,
            instance=(np.arange(n) % self.routers).astype(np.int32),
            action=action.astype(np.int32),
            features=rows,
            outcome=np.minimum((done - time) * 1e3, 2000.0),
            ok=np.array([self.rng.random() >= self.servers[a].fails for a in action]),
        )

    def service(self, server: Server, index: int, member: int) -> float:
        """Return a service time at level 1."""
        return (
            float(self.services[index, member]) if self.services is not None else server.service()
        )

    def rows(self, router: int) -> np.ndarray:
        """Return what the router sees."""
        signals = self.board[router] if self.refresh else self.signals(router)
        return np.array(
            [
                [
                    *signals[j],
                    server.weight,
                    self.decided[router] - self.last[router][j],
                    self.rng.random(),
                ]
                for j, server in enumerate(self.servers)
            ]
        )

    def signals(self, router: int) -> list[tuple[float, float]]:
        """Return requests in flight and average, per server."""
        who = range(self.routers) if self.shared else [router]
        return [
            (sum(self.inflight[each][j] for each in who), self.ewma[router][j])
            for j in range(len(self.servers))
        ]

    def sent(self, router: int, member: int) -> None:
        """Keep the router's books when a request leaves."""
        self.inflight[router][member] += 1
        self.last[router][member] = self.decided[router]
        self.decided[router] += 1

    def answered(self, router: int, member: int, latency_ms: float) -> None:
        """Keep the router's books when an answer comes."""
        self.inflight[router][member] -= 1
        self.ewma[router][member] += self.gain * (latency_ms - self.ewma[router][member])


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Return arrivals of a Poisson process."""
    rng, now, times = random.Random(seed), 0.0, []
    while (now := now + rng.expovariate(rate)) < seconds:
        times.append(now)
    return times


def lognormal(mean: float, spread: float, rng: random.Random) -> Callable[[], float]:
    """Return draws with this mean and coefficient of variation."""
    sigma2 = math.log1p(spread**2)
    return lambda: mean * rng.lognormvariate(-sigma2 / 2, math.sqrt(sigma2))


def weighted(rows: Rows, router: int) -> int:
    """Pick by the longest weighted wait."""
    return min(range(len(rows)), key=lambda j: (-rows[j][3] * rows[j][2], rows[j][4]))


def least_outstanding(rows: Rows, router: int) -> int:
    """Pick the shortest queue, ties by noise."""
    return min(range(len(rows)), key=lambda j: (rows[j][0], rows[j][4]))


def peak_ewma(rows: Rows, router: int) -> int:
    """Pick by latency times outstanding requests."""
    return min(range(len(rows)), key=lambda j: ((rows[j][0] + 1) * rows[j][1], rows[j][4]))


def demo(
    seed: int = 0,
    seconds: float = 50.0,
    rate: float = 140.0,
    slots: int = 2,
    policy: Policy = weighted,
) -> DecisionTrace:
    """Return a capture like the demo's: four unequal backends, one with slow spells, two routers."""
    rng = random.Random(seed)
    spells, now = [], 0.0
    while (now := now + rng.uniform(5.0, 9.0)) < seconds:
        length = rng.uniform(1.0, 2.0)
        spells.append((now, now + length, 2.5))
        now += length
    servers = [
        Server(lognormal(mean, 0.3, rng), slots, weight, 0.003, spells if at == 3 else ())
        for at, (mean, weight) in enumerate([(0.022, 3.0), (0.03, 2.0), (0.04, 2.0), (0.05, 1.0)])
    ]
    system = System(servers, routers=2, seed=seed)
    return system.run(poisson(rate, seconds, seed + 1), policy)
