"""A simulated replica of a language model, which keeps the blocks of prompts that it has seen."""

import asyncio
import time
from itertools import takewhile

BLOCK, CACHE, SLOTS, PREFILL, DECODE_S = 16, 300, 32, 20_000.0, 0.001  # tokens, blocks, tokens/s


class Replica:
    def __init__(self) -> None:
        self.queued = self.outstanding = self.active = 0
        self.cache: dict[int, None] = {}  # the least recently used block first
        self.prefill, self.slots = asyncio.Lock(), asyncio.Semaphore(SLOTS)

    def features(self, prompt: list[int]) -> tuple[int, ...]:
        """Return what the kind llm_router asks of a replica, for this prompt."""
        hit = sum(1 for _ in takewhile(self.cache.__contains__, prompt))
        load = (self.queued, self.outstanding, self.active, len(self.cache))
        return (*load, hit, len(prompt), max((len(prompt) - hit) * BLOCK, 1))

    def enter(self, prompt: list[int], new: int) -> None:
        """Take a request in: it is queued, and its blocks are used."""
        self.queued, self.outstanding = self.queued + new, self.outstanding + 1
        self.active += len(prompt)
        use = dict.fromkeys(reversed(prompt))  # the first block last, so that it stays longest
        self.cache = dict.fromkeys([*(b for b in self.cache if b not in use), *use][-CACHE:])

    async def generate(self, prompt: list[int], new: int, output: int) -> float:
        """Serve a request; return when its first token came."""
        self.enter(prompt, new)
        async with self.slots:
            async with self.prefill:  # one prompt at a time, in order
                await asyncio.sleep(new / PREFILL)
            first, self.queued = time.perf_counter(), self.queued - new
            await asyncio.sleep((output - 1) * DECODE_S)
        self.outstanding, self.active = self.outstanding - 1, self.active - len(prompt)
        return first
