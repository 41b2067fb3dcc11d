"""A service of somebody else's: two workers, three lanes, bursts of jobs of a few milliseconds.

Configured by the environment alone. It serves until SIGTERM.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence

from lane_plugin.kind import GAIN, lanes

import gnomon

WORKERS, BURST_S = 2, 0.08
#: Name, priority, milliseconds of work.
LANES = (("batch", 1.0, 8.0), ("normal", 2.0, 4.0), ("urgent", 8.0, 2.0))
JOBS = 4  # of every lane in a burst


class Lane:
    """Jobs of one class, as their times of arrival in Unix nanoseconds."""

    def __init__(self, name: str, priority: float, work_ms: float) -> None:
        self.name, self.priority, self.work_ms = name, priority, work_ms
        self.jobs: deque[int] = deque()
        self.waiting, self.oldest_wait_ms, self.service_ms = 0, 0.0, 0.0

    def look(self, now_ns: int) -> None:
        """Bring what a policy sees up to date."""
        self.waiting = len(self.jobs)
        self.oldest_wait_ms = max(0, now_ns - self.jobs[0]) / 1e6 if self.jobs else 0.0

    def served(self, service_ms: float) -> None:
        """Take a job's service time into the average."""
        gain = GAIN if self.service_ms else 1.0
        self.service_ms += gain * (service_ms - self.service_ms)


@gnomon.hook(
    "workers.next",
    kind=lanes,
    items="waiting",
    item_features=lambda lane: (
        lane.waiting, lane.oldest_wait_ms, lane.priority, lane.service_ms,
    ),
    item_name=lambda lane: lane.name,
)  # fmt: skip
def pick(waiting: Sequence[Lane]) -> Lane:
    """Return the lane whose oldest job has waited longest."""
    return max(waiting, key=lambda lane: (lane.waiting > 0, lane.oldest_wait_ms))


class Pool:
    """Workers and the lanes that they serve."""

    def __init__(self) -> None:
        self.lanes = [Lane(*each) for each in LANES]
        self.changed = threading.Condition()
        self.open = True

    def put(self, lane: Lane) -> None:
        """Add a job."""
        with self.changed:
            lane.jobs.append(time.time_ns())
            self.changed.notify()

    def close(self, *_: object) -> None:
        """Let the workers end."""
        self.open = False

    def take(self) -> tuple[Lane, float] | None:
        """Wait for a job, decide which, and return its lane and its wait in ms; None at the end."""
        with self.changed:
            while self.open and not any(lane.jobs for lane in self.lanes):
                self.changed.wait(0.05)
            if not self.open:
                return None
            now_ns = time.time_ns()
            for lane in self.lanes:
                lane.look(now_ns)
            with pick.decide(self.lanes) as decision:
                lane = decision.action
                lane.jobs.popleft()
                decision.outcome(weighted_wait_ms=lane.priority * lane.oldest_wait_ms, ok=True)
            return lane, lane.oldest_wait_ms

    def work(self) -> None:
        """Serve jobs until the end."""
        while (taken := self.take()) is not None:
            lane, wait_ms = taken
            began = time.perf_counter()
            time.sleep(lane.work_ms / 1e3)
            service_ms = (time.perf_counter() - began) * 1e3
            with self.changed:
                lane.served(service_ms)
            index = self.lanes.index(lane)
            pick.event("job", lane=index, wait_ms=wait_ms, service_ms=service_ms)

    def arrive(self, rng: random.Random) -> None:
        """Put bursts of jobs, their lanes in random order, until the end."""
        while self.open:
            burst = self.lanes * JOBS
            rng.shuffle(burst)
            for lane in burst:
                self.put(lane)
                time.sleep(0.0002)
            time.sleep(BURST_S * rng.uniform(0.6, 1.2))


def main() -> None:
    """Serve until SIGTERM."""
    gnomon.configure(service="workers")
    pool = Pool()
    signal.signal(signal.SIGTERM, pool.close)
    threads = [threading.Thread(target=pool.work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    pool.arrive(random.Random(1))
    for thread in threads:
        thread.join()
    gnomon.shutdown(10.0)


if __name__ == "__main__":
    main()
