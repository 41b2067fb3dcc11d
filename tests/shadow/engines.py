"""LLM servers written for the tests alone: traces made by hand, and an engine in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gnomon.shadow.simulators.llm_scheduler.simulator import LlmCalibration
from gnomon.shadow.traces.job_trace import RequestTrace

START_NS = 1_700_000_000_000_000_000


def requests(
    arrival: Any, prompt: Any, output: Any, processes: int = 1, **columns: Any
) -> RequestTrace:
    """Return a workload of which nothing was measured."""
    n = len(arrival)
    engine = columns.pop("engine", (0, 0, 0, 0, 0))
    unknown = np.full(n, np.nan)
    given: dict[str, Any] = {
        "arrival": np.asarray(arrival, float),
        "instance": (np.arange(n) % processes).astype(np.int32),
        "held": np.zeros(n, bool),
        "prompt": np.asarray(prompt, np.int64),
        "output": np.asarray(output, np.int64),
        "expected": np.asarray(output, float),
        "priority": np.ones(n),
        "due": np.full(n, np.inf),
        "admitted": unknown,
        "answered": unknown,
        "done": unknown,
        "latency_ms": unknown,
        "ok": np.ones(n, bool),
    }
    names = tuple(f"{index:016x}" for index in range(processes))
    head = ("llm.admit", "llm_scheduler", START_NS, names, -np.inf, 0, engine)
    return RequestTrace(*head, **(given | columns))


def calibration(
    budget: int = 512,
    seats: int = 8,
    blocks: int = 400,
    block: int = 16,
    depth: int = 1,
    cost: tuple[float, float, float, float] = (5e-3, 5e-5, 2e-7, 1e-8),
) -> LlmCalibration:
    """Return an engine's settings and costs."""
    engine = np.array([budget, seats, blocks, block, depth], np.int64)
    return LlmCalibration(engine, np.array(cost), np.zeros(1))


def until(trace: RequestTrace, end: float) -> RequestTrace:
    """Return the trace as somebody knew it who stopped recording then."""

    def known(times: np.ndarray) -> np.ndarray:
        return np.where(times <= end, times, np.nan)

    done = known(trace.done)
    return replace(
        trace,
        admitted=known(trace.admitted),
        answered=known(trace.answered),
        done=done,
        latency_ms=(done - trace.arrival) * 1e3,
    )


@dataclass
class Engine:
    """A continuous-batching engine with one step at a time, as it is described, in plain Python."""

    trace: RequestTrace
    fitted: LlmCalibration
    pick: Callable[[list[int]], int] = lambda _waiting: 0
    waiting: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)

    def run(self) -> tuple[list[float], list[float], list[float]]:
        """Return admission, first and last token of every request."""
        budget, seats, blocks, size, _ = self.fitted.engine.tolist()
        prompt, output = self.trace.prompt.tolist(), self.trace.output.tolist()
        arrival, n = self.trace.arrival.tolist(), len(prompt)
        self.computed, self.made = [0] * n, [0] * n
        admitted, first, last = ([np.nan] * n for _ in range(3))
        now, coming, left = arrival[0], 0, n

        def held(tokens: int) -> int:
            return -(-tokens // size)

        def free() -> int:
            return blocks - sum(held(self.computed[r]) for r in self.running)

        while left:
            while coming < n and arrival[coming] <= now:
                self.waiting.append(coming)
                coming += 1
            rest, part, closed = budget, dict[int, int](), False
            for request in list(self.running):
                if request not in self.running or rest == 0:
                    continue
                tokens = min(rest, prompt[request] + self.made[request] - self.computed[request])
                while held(self.computed[request] + tokens) - held(self.computed[request]) > free():
                    victim = self.running.pop()
                    rest += part.pop(victim, 0)
                    self.computed[victim] = 0
                    self.waiting = sorted([*self.waiting, victim])
                    closed = True
                    if victim == request:
                        break
                if request in self.running:
                    self.computed[request] += tokens
                    part[request] = tokens
                    rest -= tokens
            while self.waiting and rest and not closed and len(self.running) < seats:
                request = self.waiting[self.pick(self.waiting)]
                tokens = prompt[request] + self.made[request]
                if held(tokens) > free():
                    break
                self.waiting.remove(request)
                self.running.append(request)
                if np.isnan(admitted[request]):
                    admitted[request] = now
                part[request] = self.computed[request] = min(tokens, rest)
                rest -= part[request]
            if not part:
                now = max(now, arrival[coming])
                continue
            now += self.seconds(part)
            for request in list(part):
                if self.computed[request] < prompt[request] + self.made[request]:
                    continue
                self.made[request] += 1
                if self.made[request] == 1:
                    first[request] = now
                if self.made[request] == output[request]:
                    last[request] = now
                    self.running.remove(request)
                    self.computed[request] = 0
                    left -= 1
        return admitted, first, last

    def seconds(self, part: dict[int, int]) -> float:
        """Return what a step takes."""
        step, token, context, pair = self.fitted.cost.tolist()
        total = step
        for request, tokens in part.items():
            after = self.computed[request]
            total += token * tokens
            total += context * after if tokens == 1 else pair * tokens * (after - tokens / 2.0)
        return total
