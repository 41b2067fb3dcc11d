"""Workers and lanes written for the tests alone: everything is looked up afresh at every decision."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .outside.lane_plugin.kind import GAIN
from .outside.lane_plugin.recording import LaneTrace

Rows = list[list[float]]
Policy = Callable[[Rows], int]
PRIORITIES = (1.0, 2.0, 8.0)


@dataclass(frozen=True)
class Job:
    """When a job arrives (s), its lane, and what it takes (ms)."""

    arrival: float
    lane: int
    service_ms: float


@dataclass(frozen=True)
class Start:
    """A decision: when, what was seen, which job it began."""

    time: float
    rows: Rows
    job: int


class World:
    """One process: its jobs, its workers, and the gaps before its starts, in seconds."""

    def __init__(self, jobs: Sequence[Job], workers: int, gaps: Sequence[float]) -> None:
        self.jobs = jobs
        self.gaps = gaps
        self.free = [float("-inf")] * workers
        self.left = list(range(len(jobs)))
        self.starts: list[Start] = []

    def run(self, policy: Policy) -> list[Start]:
        """Serve every job under a policy; return the decisions."""
        while self.left:
            now = self._next()
            rows = [self._row(lane, now) for lane in range(len(PRIORITIES))]
            lane = policy(rows)
            own = [i for i in self.left if self.jobs[i].lane == lane and self._came(i, now)]
            job = min(own, key=lambda i: (self.jobs[i].arrival, i))
            self.starts.append(Start(now, rows, job))
            self.left.remove(job)
            self.free[self.free.index(min(self.free))] = now + self.jobs[job].service_ms / 1e3
        return self.starts

    def _came(self, job: int, now: float) -> bool:
        return self.jobs[job].arrival <= now

    def _next(self) -> float:
        before = self.starts[-1].time if self.starts else float("-inf")
        ready = max(min(self.free), min(self.jobs[i].arrival for i in self.left))
        return max(before, ready + self.gaps[len(self.starts)])

    def _row(self, lane: int, now: float) -> list[float]:
        there = [self.jobs[i].arrival for i in self.left]
        there = [a for i, a in zip(self.left, there, strict=True) if self.jobs[i].lane == lane]
        waiting = [arrival for arrival in there if arrival <= now]
        oldest_ms = (now - min(waiting)) * 1e3 if waiting else 0.0
        lanes = [self.jobs[start.job].lane for start in self.starts]
        since = lanes[::-1].index(lane) + 1 if lane in lanes else len(lanes) + 1
        average = self._average(lane, now)
        return [float(len(waiting)), oldest_ms, PRIORITIES[lane], average, float(since), 0.5]

    def _average(self, lane: int, now: float) -> float:
        own = [start for start in self.starts if self.jobs[start.job].lane == lane]
        ends = sorted((s.time + self.jobs[s.job].service_ms / 1e3, s.job) for s in own)
        average = 0.0
        for end, job in ends:
            if end <= now:
                gain = GAIN if average else 1.0
                average += gain * (self.jobs[job].service_ms - average)
        return average


def bursts(seconds: float, seed: int) -> list[Job]:
    """Return bursts of jobs of three lanes, the urgent ones short and the others longer."""
    rng = random.Random(seed)
    jobs: list[Job] = []
    at = 0.0
    while at < seconds:
        for lane in rng.sample([0, 1, 2] * 3, 9):
            at += 0.0003 * rng.random()
            jobs.append(Job(at, lane, (8.0, 4.0, 2.0)[lane] * rng.uniform(0.8, 1.2)))
        at += 0.06 * rng.uniform(0.6, 1.4)
    return jobs


def longest_wait(rows: Rows) -> int:
    """Pick the lane of the job that waited longest."""
    return max(range(len(rows)), key=lambda lane: (rows[lane][0] > 0.0, rows[lane][1]))


def trace_of(worlds: Sequence[list[Job]], starts: Sequence[list[Start]]) -> LaneTrace:
    """Return what processes recorded of their decisions."""
    rows = sorted(
        (start.time, process, seq, jobs[start.job].lane, start.rows, jobs[start.job].service_ms)
        for process, (jobs, own) in enumerate(zip(worlds, starts, strict=True))
        for seq, start in enumerate(own)
    )
    times, processes, _, lanes, features, service = zip(*rows, strict=True)
    n, table = np.arange(len(rows)), np.array(features)
    actions = np.array(lanes, np.int32)
    return LaneTrace(
        hook="workers.next",
        kind="lanes",
        start_ns=0,
        members=("batch", "normal", "urgent"),
        instances=tuple(f"process-{index}" for index in range(len(worlds))),
        time=np.array(times),
        instance=np.array(processes, np.int32),
        action=actions,
        features=table,
        outcome=table[n, actions, 1] * table[n, actions, 2],
        ok=np.ones(len(rows), np.bool_),
        service_ms=np.array(service),
    )
