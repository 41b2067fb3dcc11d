"""Replicas of a language model written for the tests alone: ordered dictionaries and lists, nothing shared."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gnomon.shadow.simulators.llm_router.simulator import PromptTrace


@dataclass
class Replica:
    """One prefill at a time, a few requests at once, a cache of blocks with the least recent dropped."""

    rate: float
    decode: float
    slots: int
    capacity: int
    cache: OrderedDict[int, None] = field(default_factory=OrderedDict)
    requests: list[tuple[float, float, float, int]] = field(default_factory=list)

    def hit(self, blocks: Sequence[int]) -> int:
        """Return the length of the leading run that is cached."""
        for place, block in enumerate(blocks):
            if block not in self.cache:
                return place
        return len(blocks)

    def send(
        self, now: float, new: float, output: float, blocks: Sequence[int]
    ) -> tuple[float, float]:
        """Serve a request; return when its first and its last token come."""
        ready = max((first for first, *_ in self.requests), default=now)
        last = sorted((finish for _, finish, *_ in self.requests), reverse=True)
        slot = last[self.slots - 1] if len(last) >= self.slots else now
        first = max(now, ready, slot) + new / self.rate
        finish = first + max(output - 1.0, 0.0) * self.decode
        self.requests.append((first, finish, new, len(blocks)))
        for block in reversed(blocks):
            self.cache.pop(block, None)
            self.cache[block] = None
            if len(self.cache) > self.capacity:
                self.cache.popitem(last=False)
        return first, finish

    def row(
        self, now: float, tokens: float, blocks: Sequence[int], block_tokens: float
    ) -> list[float]:
        """Return what a router sees of it, but for the host's own features."""
        hit = self.hit(blocks)
        return [
            sum(new for first, _, new, _ in self.requests if first > now),
            sum(finish > now for _, finish, *_ in self.requests),
            sum(count for _, finish, _, count in self.requests if finish > now),
            len(self.cache),
            hit,
            len(blocks),
            max(tokens - hit * block_tokens, 1.0),
        ]


def play(
    trace: PromptTrace, replicas: list[Replica], pick: Callable[[np.ndarray], int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, picks and times (first, last token) of all requests."""
    rows, picks, times = [], [], []
    low = 0
    for index, now in enumerate(trace.at):
        blocks = trace.block[low : trace.high[index]].tolist()
        low = trace.high[index]
        seen = [
            each.row(now, trace.tokens[index], blocks, trace.replicas["block_tokens"])
            for each in replicas
        ]
        rows.append(seen)
        picks.append(pick(np.array(seen)))
        new = seen[picks[-1]][6]
        times.append(replicas[picks[-1]].send(now, new, trace.output[index], blocks))
    return np.array(rows), np.array(picks), np.array(times)


def requests(
    rng: np.random.Generator,
    n: int = 120,
    replicas: int = 3,
    cache_blocks: int = 40,
    slots: int = 3,
    processes: int = 1,
) -> PromptTrace:
    """Return requests whose prompts share prefixes: conversations that grow, some abandoned."""
    prompts: list[list[int]] = []
    fresh, open_ = 0, []
    for _ in range(n):
        if open_ and rng.random() < 0.6:
            base = open_[rng.integers(len(open_))]
        else:
            base = []
        more = int(rng.integers(0, 5))
        prompt = base + list(range(fresh, fresh + more))
        fresh += more
        prompts.append(prompt)
        open_ = [*open_[-8:], prompt]
    lengths = np.array([len(each) for each in prompts])
    tokens = np.maximum(lengths * 16 - rng.integers(0, 16, n), 1).astype(float)
    return PromptTrace(
        hook="test.route",
        kind="llm_router",
        start_ns=1_700_000_000_000_000_000,
        members=tuple(f"replica-{index}" for index in range(replicas)),
        instances=tuple(f"{index:016x}" for index in range(processes)),
        settings=(replicas, 16.0, cache_blocks, slots, 2000.0, 5.0),
        first=0,
        at=np.round(np.cumsum(rng.exponential(0.02, n)), 6),
        instance=(np.arange(n) % processes).astype(np.int32),
        tokens=tokens,
        output=rng.integers(0, 60, n).astype(float),
        high=np.cumsum(lengths).astype(np.int64),
        action=np.full(n, -1, np.int32),
        ttft_ms=np.full(n, np.nan),
        new_tokens=np.full(n, np.nan),
        block=np.array([block for prompt in prompts for block in prompt], np.int32),
    )
