"""An HTTP backend whose work is a timer behind a concurrency limit: no CPU, real queueing.

``GET /`` waits for a slot, holds it for a service time and answers 200.
``POST /degrade?factor=F`` multiplies all further service times by F.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
from pathlib import Path

from aiohttp import web

#: Coefficient of variation of service times around their mean.
SPREAD = 0.30
#: Slow spells: seconds between them, their length in seconds (both uniform), and the slow-down.
SPELL_GAP_S = (5.0, 9.0)
SPELL_LENGTH_S = (1.0, 2.0)
SPELL_FACTOR = 2.5


class Backend:
    """Timers behind a concurrency limit, with optional slow spells.

    Args:
        service_ms: mean service time in ms.
        slots: requests served at once.
        spells: whether slow spells happen.
        rng: source of service times and spells.
    """

    def __init__(self, service_ms: float, slots: int, spells: bool, rng: random.Random) -> None:
        self._mean_s = service_ms / 1e3
        self._slots = asyncio.Semaphore(slots)
        self._spells = spells
        self._rng = rng
        self._factor = 1.0
        self._spell = 1.0

    async def serve(self, _request: web.Request) -> web.Response:
        """Hold a slot for one service time."""
        async with self._slots:
            await asyncio.sleep(self._service_s())
        return web.Response(text="ok")

    async def degrade(self, request: web.Request) -> web.Response:
        """Slow everything down from now on."""
        self._factor = float(request.query["factor"])
        return web.Response(text=f"{self._factor}")

    async def have_spells(self) -> None:
        """Alternate between normal and slow, for ever."""
        while self._spells:
            await asyncio.sleep(self._rng.uniform(*SPELL_GAP_S))
            self._spell = SPELL_FACTOR
            await asyncio.sleep(self._rng.uniform(*SPELL_LENGTH_S))
            self._spell = 1.0

    def _service_s(self) -> float:
        sigma2 = math.log1p(SPREAD**2)
        draw = self._rng.lognormvariate(-sigma2 / 2.0, math.sqrt(sigma2))
        return self._mean_s * draw * self._factor * self._spell


async def run(backend: Backend, ready: Path) -> None:
    """Serve on a free loopback port until cancelled; write the port into ``ready``."""
    app = web.Application()
    app.router.add_get("/", backend.serve)
    app.router.add_post("/degrade", backend.degrade)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    publish_port(ready, runner.addresses[0][1])
    await backend.have_spells()
    await asyncio.Event().wait()


def publish_port(ready: Path, port: int) -> None:
    """Write a port so that a reader sees all of it or nothing."""
    partial = ready.with_suffix(".partial")
    partial.write_text(str(port))
    partial.rename(ready)


def main() -> None:
    """Run one backend process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-ms", type=float, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--spells", action="store_true")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--ready", type=Path, required=True)
    args = parser.parse_args()

    async def start() -> None:
        rng = random.Random(args.seed)
        await run(Backend(args.service_ms, args.slots, args.spells, rng), args.ready)

    asyncio.run(start())


if __name__ == "__main__":
    main()
