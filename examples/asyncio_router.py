"""An asyncio router whose decisions span awaits; records go to OTLP if OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import asyncio
import os
import time
from dataclasses import dataclass

import gnomon
from gnomon import testing


@dataclass
class Backend:
    name: str
    seconds: float
    inflight: int = 0
    ewma_ms: float = 5.0


@gnomon.hook(
    "asyncio.pick",
    kind=gnomon.load_balancer,
    items="backends",
    item_features=lambda b: (b.inflight, b.ewma_ms, 1.0),
    item_name=lambda b: b.name,
    unit=lambda session: session,
)
async def pick(session: str, backends: list[Backend]) -> Backend:
    return min(backends, key=lambda b: b.inflight)


async def handle(session: str, backends: list[Backend]) -> str:
    async with pick.decide(session, backends) as decision:
        backend: Backend = decision.action
        begin = time.perf_counter()
        backend.inflight += 1
        try:
            await asyncio.sleep(backend.seconds)  # in a real router: the call; it may also raise
        finally:
            backend.inflight -= 1
        decision.outcome(latency_ms=(time.perf_counter() - begin) * 1e3)
    return backend.name


async def main(requests: int = 60) -> None:
    backends = [Backend("elm", 0.002), Backend("fir", 0.006)]
    await asyncio.gather(*(handle(f"session-{n % 7}", backends) for n in range(requests)))
    gnomon.flush(timeout_s=0.2)
    print({name: pick.hook.counters[name] for name in ("decisions", "recorded", "fallbacks")})


if __name__ == "__main__":
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        gnomon.configure(service="asyncio-router")
        asyncio.run(main())
        gnomon.shutdown()
    else:
        with testing.recording():  # in memory
            asyncio.run(main())
