"""An HTTP router with prefork workers; which backend serves a request is the hook's to say."""

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
    """What the router knows of one backend.

    Attributes:
        name, url: of the backend.
        weight: from the service's configuration.
        inflight: requests of this process that are not answered yet.
        ewma_ms: moving average of the latency, gain 0.1.
        credit: of weighted round robin.
    """

    name: str
    url: str
    weight: float
    inflight: int = 0
    ewma_ms: float = 40.0
    credit: float = 0.0


class Router:
    """One worker: its view of the backends and its client session."""

    def __init__(self, pick: Any, backends: list[Backend], session: aiohttp.ClientSession) -> None:
        self._pick = pick
        self._backends = backends
        self._session = session

    async def route(self, request: web.Request) -> web.Response:
        """Send one request to the backend that the policy picks."""
        with self._pick.decide(request, self._backends) as decision:
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


async def serve(pick: Any, backends: list[Backend], ready: Path) -> None:
    """Run one worker on a free loopback port until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        app = web.Application()
        app.router.add_get("/", Router(pick, backends, session).route)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        publish_port(ready, runner.addresses[0][1])
        await stop.wait()
        await runner.cleanup()
    gnomon.shutdown()


def prefork(pick: Any, ready: Path, backends: list[Backend], workers: int) -> None:
    """Fork the workers, as a prefork server does, and pass SIGTERM on to them."""
    children = []
    for worker in range(workers):
        pid = os.fork()
        if pid == 0:
            asyncio.run(serve(pick, backends, ready / f"router-{worker}"))
            sys.exit(0)
        children.append(pid)

    def stop(*_: object) -> None:
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    for pid in children:
        os.waitpid(pid, 0)


def main(pick: Any) -> None:
    """Configure Gnomon from the environment and run the workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", required=True, help="JSON list of name, url, weight")
    parser.add_argument("--ready", type=Path, required=True, help="folder for the ports")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    backends = [Backend(**spec) for spec in json.loads(args.backends)]
    gnomon.configure()
    prefork(pick, args.ready, backends, args.workers)
