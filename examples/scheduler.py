"""A pool of threads with one queue; a hook picks the job that a free worker runs next."""

import random
import signal
import threading
import time
from dataclasses import dataclass, field

import gnomon

CHANGED, STOP = threading.Condition(), threading.Event()


@dataclass(eq=False)
class Job:  # as a policy sees it
    name: str
    size_ms: float
    arrived: float = field(default_factory=time.monotonic)
    priority, slack_ms = 1.0, 86_400_000.0  # all alike, and no deadline
    wait_ms, queued = 0.0, 0


@gnomon.hook(
    "jobs.next",
    kind=gnomon.scheduler,
    items="queue",
    item_features=lambda job: (job.wait_ms, job.size_ms, job.priority, job.slack_ms, job.queued),
    item_name=lambda job: job.name,  # by which it is known again while others come and go
)
def next_job(queue: list[Job]) -> Job:
    return queue[0]


def work(queue: list[Job]) -> None:
    while not STOP.is_set():
        with CHANGED:
            if not CHANGED.wait_for(lambda: queue, 0.05):
                continue
            for job in queue:
                job.wait_ms, job.queued = (time.monotonic() - job.arrived) * 1e3, len(queue)
            decision = next_job.decide(queue)
            queue.remove(decision.action)
        with decision:  # an exception in here would be recorded as a failure
            time.sleep(decision.action.size_ms / 1e3)
            decision.outcome(latency_ms=(time.monotonic() - decision.action.arrived) * 1e3)


if __name__ == "__main__":
    gnomon.configure(service="jobs")  # from OTEL_EXPORTER_OTLP_ENDPOINT and GNOMON_*
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    queue, rng, burst = list[Job](), random.Random(0), 0
    for _ in range(3):
        threading.Thread(target=work, args=(queue,)).start()
    while not STOP.wait(0.2 * rng.uniform(0.7, 1.3)):
        with CHANGED:
            sizes, burst = rng.sample([4.0] * 22 + [40.0] * 6, 28), burst + 1  # expected ms
            queue.extend(Job(f"{burst}.{n}", size) for n, size in enumerate(sizes))
            CHANGED.notify_all()
    gnomon.shutdown(10.0)
