"""Open-loop load: requests leave at the times that were drawn for them, whatever the answers do.

Latency is measured from the *intended* send time, so that a stalled service cannot hide its stall.
One line of JSON per request goes to the log. A switchback block in which the generator itself was
late (99th percentile of its lag above ``--lag-ms``) is reported, so that it can be left out of both
arms: the reason knows nothing of the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp

SESSIONS = 400
TIMEOUT_S = 6.0


@dataclass
class LagWatch:
    """Lag of the sends, per block of the wall clock.

    Attributes:
        block_ns: length of a block.
        limit_ms: lag above which a block is disturbed.
        late: stream that receives one line of JSON per disturbed block.
    """

    block_ns: int
    limit_ms: float
    late: IO[str]
    _block: int = -1
    _lags: list[float] = field(default_factory=list)

    def add(self, now_ns: int, lag_ms: float) -> None:
        """Count one send; closes the previous block when a new one has begun."""
        block = now_ns // self.block_ns
        if block != self._block:
            self._close()
            self._block = block
        self._lags.append(lag_ms)

    def _close(self) -> None:
        if self._lags:
            lag = sorted(self._lags)[int(0.99 * (len(self._lags) - 1))]
            if lag > self.limit_ms:
                line = {"block": self._block, "lag_ms": lag, "max_ms": max(self._lags)}
                print(json.dumps(line), file=self.late, flush=True)
        self._lags.clear()


class Generator:
    """Poisson arrivals over several routers.

    Args:
        session: HTTP client.
        urls: of the routers; each request goes to one by a fair draw.
        rate: requests per second.
        rng: of arrivals, routers and sessions.
        log: receives one line of JSON per request.
        watch: of the lag.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: list[str],
        rate: float,
        rng: random.Random,
        log: IO[str],
        watch: LagWatch,
    ) -> None:
        self._session = session
        self._urls = urls
        self._rate = rate
        self._rng = rng
        self._log = log
        self._watch = watch
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop, then wait for what is under way."""
        intended = time.time()
        while not stop.is_set():
            intended += self._rng.expovariate(self._rate)
            delay = intended - time.time()
            if delay > 0:
                await asyncio.sleep(delay)
            self._watch.add(time.time_ns(), (time.time() - intended) * 1e3)
            task = asyncio.create_task(self._send(intended))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)

    async def _send(self, intended: float) -> None:
        url = self._rng.choice(self._urls)
        headers = {"X-Session": f"s{self._rng.randrange(SESSIONS)}"}
        status, error, backend = 0, "", ""
        try:
            async with self._session.get(url, headers=headers) as response:
                await response.read()
                status, backend = response.status, response.headers.get("X-Backend", "")
        except TimeoutError:
            error = "timeout"
        except aiohttp.ClientError as failure:
            error = f"reset: {type(failure).__name__}"
        latency_ms = (time.time() - intended) * 1e3
        line = [round(intended, 6), round(latency_ms, 3), status, error, backend]
        self._log.write(json.dumps(line) + "\n")


async def generate(args: argparse.Namespace) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    with args.log.open("w", buffering=1) as log, args.late.open("a") as late:
        watch = LagWatch(args.block_ns, args.lag_ms, late)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            rng = random.Random(args.seed)
            await Generator(session, args.url, args.rate, rng, log, watch).run(stop)


def main() -> None:
    """Run the generator process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", action="append", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--late", type=Path, required=True)
    parser.add_argument("--block-ns", type=int, required=True)
    parser.add_argument("--lag-ms", type=float, required=True)
    asyncio.run(generate(parser.parse_args()))


if __name__ == "__main__":
    main()
