"""A router before three simulated replicas of a language model; chats share the beginnings of their prompts."""

import asyncio
import random
import sys
import time
from typing import Any, NamedTuple

from llm_replica import BLOCK, CACHE, DECODE_S, PREFILL, SLOTS, Replica

import gnomon


class Seen(NamedTuple):  # a replica as one request sees it
    replica: Replica
    features: tuple[int, ...]


@gnomon.hook("llm.route", kind=gnomon.llm_router, items="seen", item_features=lambda s: s.features)
def route(seen: list[Seen]) -> Seen:
    return min(seen, key=lambda s: s.features[1])  # the fewest outstanding, blind to prefixes


async def serve(replicas: list[Replica], prompt: list[int], output: int) -> None:
    lengths: dict[str, Any] = {"input_length": len(prompt) * BLOCK, "output_length": output}
    begin = time.perf_counter()
    route.event("request", **lengths, hash_ids=",".join(map(str, prompt)))
    with route.decide([Seen(each, each.features(prompt)) for each in replicas]) as decision:
        picked: Seen = decision.action
        first = await picked.replica.generate(prompt, picked.features[-1], output)
        ms = {"ttft_ms": (first - begin) * 1e3, "e2e_ms": (time.perf_counter() - begin) * 1e3}
        decision.outcome(**ms)


async def main(seconds: float, rng: random.Random) -> None:
    replicas, tasks = [Replica() for _ in range(3)], []
    said = {"count": 3, "block_tokens": BLOCK, "cache_blocks": CACHE, "slots": SLOTS}
    route.event("replicas", **said, prefill_tokens_per_s=PREFILL, decode_ms=DECODE_S * 1e3)
    for _ in range(int(seconds * 80)):
        chat, turns = rng.randrange(20), rng.randrange(1, 6)
        prompt = [1000 * chat + block for block in range(8 * turns)]
        tasks.append(asyncio.create_task(serve(replicas, prompt, rng.randrange(1, 40))))
        await asyncio.sleep(rng.expovariate(80.0))
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    gnomon.configure(service="llm-router", store=".gnomon/traces")
    asyncio.run(main(float(sys.argv[1]), random.Random(0)))
    gnomon.shutdown()
