"""A compression service: jobs wait in lanes for two workers; a hook picks the lane served next."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import FastAPI, Request, Response

import gnomon


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    gnomon.configure()  # from OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and GNOMON_*
    yield
    gnomon.shutdown()


WAITING = gnomon.Feature("waiting", "{job}", "Jobs in the lane.", 0, 1e5, integer=True)
OLDEST = gnomon.Feature("oldest_wait_s", "s", "Wait of its oldest job; 0 without.", 0, 3600)
PRIORITY = gnomon.Feature("priority", "1", "Cost of a second's wait.", 0.1, 100)
STRICT = "def score(waiting, priority):\n    return -min(waiting, 1) * priority\n"
job_lanes = gnomon.Kind(
    name="job_lanes",
    version=1,
    description="Picks the lane whose oldest job a free worker takes.",
    features=(WAITING, OLDEST, PRIORITY),
    objective=gnomon.Metric("cost", "s", 1e4, "Wait of the job that was taken times priority."),
    invariants=(gnomon.Invariant("no_empty_lane", lambda lanes, picked: picked.waiting > 0),),
    baselines={"strict_priority": gnomon.Baseline("strict_priority", STRICT, "tc-prio(8)")},
)
PRIORITIES = {"urgent": 10.0, "normal": 3.0, "batch": 1.0}
JOBS = {lane: [] for lane in PRIORITIES}
WORKERS = asyncio.Semaphore(2)
app = FastAPI(lifespan=lifespan)


def look(lane: str) -> tuple[float, float, float]:
    oldest_wait_s = time.monotonic() - JOBS[lane][0][1] if JOBS[lane] else 0.0
    return len(JOBS[lane]), oldest_wait_s, PRIORITIES[lane]


@gnomon.hook("jobs.next", kind=job_lanes, items="lanes", item_features=look)
def next_lane(lanes: list[str]) -> str:
    return next(lane for lane in lanes if JOBS[lane])


@app.post("/{lane}")
async def compress(lane: Literal["urgent", "normal", "batch"], request: Request) -> Response:
    JOBS[lane].append(job := (await request.body(), time.monotonic(), asyncio.Future()))
    async with WORKERS:  # one is free, and takes the oldest job of a lane, perhaps another's
        with next_lane.decide(list(JOBS)) as decision:
            body, since, answer = JOBS[decision.action].pop(0)
            decision.outcome(cost=(time.monotonic() - since) * PRIORITIES[decision.action])
        answer.set_result(await asyncio.to_thread(gzip.compress, body))
    return Response(await job[2])
