"""The service being tuned: an HTTP router with two prefork workers whose ``pick`` is a hook.

Everything a service of one's own needs is in ``pick``, ``no_pile_up`` and ``route``; the rest starts
processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

import gnomon

from .backend import publish_port

TIMEOUT_S = 5.0


@dataclass
class Backend:
    """What the router knows of one backend."""

    name: str
    url: str
    weight: float
    inflight: int = 0
    ewma_ms: float = 40.0
    credit: float = 0.0


@gnomon.hook(
    "router.pick",
    kind=gnomon.load_balancer,
    items="backends",
    item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
    item_name=lambda b: b.name,
    unit=lambda request: request.headers["X-Session"],
)
def pick(request: Any, backends: list[Backend]) -> Backend:
    """Smooth weighted round robin, with the weights that were right last month."""
    total = 0.0
    for backend in backends:
        backend.credit = getattr(backend, "credit", 0.0) + backend.weight
        total += backend.weight
    best = max(backends, key=lambda b: b.credit)
    best.credit -= total
    return best


@gnomon.invariant(pick)
def no_pile_up(items: Any, picked: Any) -> bool:
    """Never queue on a backend while another has far less to do."""
    return bool(picked.inflight <= 6 * (min(item.inflight for item in items) + 2))


class Router:
    """One worker: its view of the backends and its client session."""

    def __init__(self, backends: list[Backend], session: aiohttp.ClientSession) -> None:
        self._backends = backends
        self._session = session

    async def route(self, request: web.Request) -> web.Response:
        """Send one request to the backend that the policy picks."""
        with pick.decide(request, self._backends) as decision:
            backend = decision.action
            backend.inflight += 1
            start = time.perf_counter()
            try:
                async with self._session.get(backend.url) as response:
                    body = await response.read()
            finally:
                backend.inflight -= 1
            elapsed_ms = (time.perf_counter() - start) * 1e3
            backend.ewma_ms += 0.1 * (elapsed_ms - backend.ewma_ms)
            decision.outcome(latency_ms=elapsed_ms, ok=response.status < 500)
        return web.Response(body=body, status=response.status, headers={"X-Backend": backend.name})


async def serve(backends: list[Backend], ready: Path) -> None:
    """Run one worker on a free loopback port until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        app = web.Application()
        app.router.add_get("/", Router(backends, session).route)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        publish_port(ready, runner.addresses[0][1])
        await stop.wait()
        await runner.cleanup()
    gnomon.shutdown()


def prefork(ready: Path, backends: list[Backend], workers: int) -> None:
    """Fork the workers, as a prefork server does, and pass SIGTERM on to them."""
    children = []
    for worker in range(workers):
        pid = os.fork()
        if pid == 0:
            asyncio.run(serve(backends, ready / f"router-{worker}"))
            sys.exit(0)
        children.append(pid)
    signal.signal(signal.SIGTERM, lambda *_: [os.kill(pid, signal.SIGTERM) for pid in children])
    for pid in children:
        os.waitpid(pid, 0)


def main() -> None:
    """Configure Gnomon from the environment and run the workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", required=True, help="JSON list of name, url, weight")
    parser.add_argument("--ready", type=Path, required=True, help="folder for the ports")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    backends = [Backend(**spec) for spec in json.loads(args.backends)]
    gnomon.configure()
    prefork(args.ready, backends, args.workers)


if __name__ == "__main__":
    main()
