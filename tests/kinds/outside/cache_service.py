"""A service that looks values up in front of something slow: popular keys, and a scan that pollutes."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Iterator

import gnomon

CAPACITY = 200
POPULAR = 150
SCANNED = 100_000
LOOKUPS = 8  # between two rests
REST_S = 0.004

going = [True]


def keys(seed: int) -> Iterator[str]:
    """Yield keys: half of them of a few popular ones, half of a scan that hardly ever repeats."""
    rng = random.Random(seed)
    scan = itertools.cycle(range(SCANNED))
    while True:
        popular = rng.random() < 0.5
        yield f"popular {rng.randrange(POPULAR)}" if popular else f"row {next(scan)}"


def main() -> None:
    """Look up until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    gnomon.configure(service="lookups")
    cache: gnomon.PolicyCache[str, int] = gnomon.PolicyCache(CAPACITY, name="lookups.cache")
    asked = keys(7)
    while going:
        for key in itertools.islice(asked, LOOKUPS):
            if cache.get(key) is None:
                cache[key] = len(key)
        time.sleep(REST_S)
    print({**cache.hook.counters, "held": len(cache)})
    gnomon.shutdown()


if __name__ == "__main__":
    main()
