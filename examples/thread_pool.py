"""Simulated workers of unequal speed; every decision about them goes to a local store."""

import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import gnomon

LOCK = threading.Lock()


@dataclass
class Worker:  # serves two tasks at once, the others wait
    name: str
    mean_ms: float
    weight: float  # as somebody configured it some time ago
    inflight: int = 0
    ewma_ms: float = 30.0
    slots: Any = field(default_factory=lambda: threading.Semaphore(2))


@gnomon.hook(
    "pool.pick",
    kind=gnomon.load_balancer,
    items="workers",
    item_features=lambda w: (w.inflight, w.ewma_ms, w.weight),
    item_name=lambda w: w.name,
)
def pick(task: str, workers: list[Worker]) -> Worker:
    return min(workers, key=lambda w: (w.inflight + 1) / w.weight)


def serve(decision: Any, seconds: float, begin: float) -> None:
    with decision:  # an exception in here would be recorded as a failure
        with decision.action.slots:
            time.sleep(seconds)
        elapsed_ms = (time.perf_counter() - begin) * 1e3
        with LOCK:
            decision.action.inflight -= 1
            decision.action.ewma_ms += 0.1 * (elapsed_ms - decision.action.ewma_ms)
        decision.outcome(latency_ms=elapsed_ms)


if __name__ == "__main__":
    gnomon.configure(service="pool", store=".gnomon/traces")
    workers = [Worker("oak", 18.0, 1.0), Worker("pine", 30.0, 1.0), Worker("yew", 50.0, 3.0)]
    rng, end = random.Random(0), time.perf_counter() + float(sys.argv[1])
    with ThreadPoolExecutor(64) as pool:
        while (begin := time.perf_counter()) < end:
            with LOCK:
                decision = pick.decide("task", workers)
                decision.action.inflight += 1
            pool.submit(serve, decision, rng.expovariate(1e3 / decision.action.mean_ms), begin)
            time.sleep(rng.expovariate(90.0))
    gnomon.shutdown()
