"""Cache replays under pinned scores, ours and those of others, in requests per second of CPU time.

The trace is cloudPhysicsIO with a cache of 10 % of its objects, sizes ignored, in which four of five
requests evict: the worst case that there is. A decision looks at 16 residents (and, here, the newcomer).
Peers are imported when they are asked for; one that is not installed is left out, with a note.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from gnomon.policies.cache import SAMPLE, cache
from gnomon.recorder.importers import Request, import_trace
from gnomon.recorder.store import TraceStore
from gnomon.sdk.language import check, chooser
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators.cache.simulator import CacheSimulator
from gnomon.shadow.traces.access_trace import AccessTrace, access_trace

SHARE = 0.1
#: Scores by name; the lowest leaves.
SCORES = {
    "recency": "def score(recency):\n    return -recency\n",
    "frequency, age, size": (
        "def score(frequency, age, size):\n    return frequency / (age + 1.0) / size\n"
    ),
    "log mix": (
        "import math\n\n\n"
        "def score(recency, frequency, size, age):\n"
        "    s = math.log1p(frequency) - 0.35 * math.log1p(recency)\n"
        "    if frequency <= 1.0 and age > 1000.0:\n"
        "        s = s - 2.0\n"
        "    return s - 0.1 * math.log(size + 1.0)\n"
    ),
}
#: Requests that are enough for those that run in Python.
FEW = 30_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast somebody was.

    Attributes:
        name: who, and under what score.
        version: of the library, or of Python.
        rates: million requests per second of CPU time, one per repeat.
        miss_ratio: of the whole replay.
    """

    name: str
    version: str
    rates: tuple[float, ...]
    miss_ratio: float

    @property
    def median(self) -> float:
        """Median rate, in million requests per second."""
        return statistics.median(self.rates)


def load(data: Path) -> AccessTrace:
    """Return the trace at its capacity.

    Args:
        data: folder of public traces.
    """
    file = data / "cache" / "cloudPhysicsIO.oracleGeneral.bin.gz"
    with tempfile.TemporaryDirectory() as folder:
        store = TraceStore(Path(folder))
        asked = Request("oracleGeneral", file, "io", f"{SHARE:.0%}", ignore_size=True)
        import_trace(store, asked)
        return access_trace(store, "io")


def ours(trace: AccessTrace, repeats: int = 5) -> list[Rate]:
    """Return the compiled replay's rate under every score, with checks and fuel, compiling excluded."""
    simulator = CacheSimulator()
    fitted = simulator.calibrate(trace)
    found = []
    for name, source in SCORES.items():
        score = compile_score(check(source, cache.input_names))

        def replay(score: Any = score) -> float:
            return simulator.compiled(trace, fitted, 0, score, cache.order).mean

        replay()  # compiles, or fetches what was compiled
        found.append(_rate(f"gnomon, {name}", python_version(), len(trace), replay, repeats))
    return found


def plain_python(trace: AccessTrace, requests: int = FEW) -> list[Rate]:
    """Return the rate of the same decisions by plain Python, over the first requests."""
    simulator = CacheSimulator()
    part = trace.rows(slice(0, requests))
    fitted = simulator.calibrate(part)
    found = []
    for name, source in SCORES.items():
        choose = chooser(check(source, cache.input_names), cache)

        def replay(choose: Callable[[Any], int] = choose) -> float:
            stream = simulator.stream(part, fitted, 0)
            try:
                rows = next(stream)
                while True:
                    rows = stream.send(choose(rows.tolist()))
            except StopIteration as stop:
                return float(stop.value.mean)

        found.append(_rate(f"plain Python, {name}", python_version(), len(part), replay, 1))
    return found


def all_python(trace: AccessTrace, requests: int = FEW) -> list[Rate]:
    """Return the rate of a cache that is Python altogether: contents, sample and score.

    Draws are Python's own, so that its misses are not quite those of the others.
    """
    keys = trace.key[:requests].tolist()
    found = []
    for name, source in SCORES.items():
        choose = chooser(check(source, cache.input_names), cache)

        def replay(choose: Callable[[Any], int] = choose) -> float:
            held, misses = _Contents(), 0
            for key in keys:
                held.now += 1
                if key in held.place:
                    held.touch(key)
                    continue
                misses += 1
                if len(held.keys) < trace.capacity[0] or held.evict(choose):
                    held.enter(key)
            return misses / len(keys)

        found.append(_rate(f"all Python, {name}", python_version(), len(keys), replay, 1))
    return found


class _Contents:
    """Objects of size 1 with what a score reads of them."""

    def __init__(self) -> None:
        self.now = 0
        self.decided = 0
        self.keys: list[int] = []
        self.place: dict[int, int] = {}
        self.known: dict[int, list[int]] = {}  # last access, entry, uses, gap, decisions at entry
        self.draw = random.Random(0).random

    def touch(self, key: int) -> None:
        known = self.known[key]
        known[3], known[0] = self.now - known[0], self.now
        known[2] += 1

    def enter(self, key: int) -> None:
        self.place[key] = len(self.keys)
        self.keys.append(key)
        self.known[key] = [self.now, self.now, 1, 0, self.decided]

    def evict(self, choose: Callable[[Any], int]) -> bool:
        """Let one object leave; return whether it was a resident."""
        now, draw, count = self.now, self.draw, len(self.keys)
        drawn = [self.keys[int(draw() * count)] for _ in range(SAMPLE)]
        rows = []
        for key in drawn:
            last, entered, uses, gap, decided = self.known[key]
            since = max(1.0, self.decided - decided)
            rows.append((now - last, uses, now - entered, gap, 1.0, 1.0, since, draw()))
        rows.append((0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, draw()))
        picked = choose(rows)
        self.decided += 1
        if picked == SAMPLE:
            return False
        key, last_key = drawn[picked], self.keys.pop()
        at = self.place.pop(key)
        del self.known[key]
        if last_key != key:
            self.keys[at] = last_key
            self.place[last_key] = at
        return True


def peers(trace: AccessTrace, repeats: int = 5) -> tuple[list[Rate], list[str]]:
    """Return the rates of others that are installed, and a note on each that is not."""
    rates: list[Rate] = []
    notes: list[str] = []
    for package, measure in (("libcachesim", _libcachesim), ("cachetools", _cachetools)):
        try:
            release = version(package)
        except PackageNotFoundError:
            notes.append(f"{package} is not installed and was left out")
            continue
        rates += measure(trace, release, repeats)
    return rates, notes


def _libcachesim(trace: AccessTrace, release: str, repeats: int) -> Iterable[Rate]:
    """Yield LRU in C, and its plugin under a sampled score and as LRU in Python."""
    import libcachesim as lib

    capacity = int(trace.capacity[0])
    records = np.zeros(len(trace), [("t", "<u4"), ("key", "<u8"), ("size", "<u4"), ("next", "<i8")])
    records["key"], records["size"], records["next"] = trace.key, 1, -1
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        sampled = [
            (f"plugin, sampled score of {name}", FEW, partial(_sampled, lib, capacity, rule))
            for name, rule in _RULES.items()
        ]
        for name, many, made in (
            ("LRU in C, hashpower=18", len(trace), lambda: lib.LRU(capacity, hashpower=18)),
            *sampled,
        ):
            part = records[:many]
            file.seek(0)
            file.truncate()
            file.write(part.tobytes())
            file.flush()

            def replay(made: Callable[[], Any] = made) -> float:
                reader = lib.TraceReader(
                    file.name,
                    trace_type=lib.TraceType.ORACLE_GENERAL_TRACE,
                    reader_init_params=lib.ReaderInitParam(ignore_obj_size=True),
                )
                return float(made().process_trace(reader)[0])

            yield _rate(f"libcachesim, {name}", release, len(part), replay, repeats)


class _Sampled:
    """Residents of a cache and what scores read of them; the lowest of 16 drawn ones leaves.

    Args:
        rule: one of :data:`_RULES`: makes, of this state, the function that scores a key.
    """

    def __init__(self, rule: Callable[[Any], Callable[[int], float]]) -> None:
        self.now = 0
        self.keys: list[int] = []
        self.place: dict[int, int] = {}
        self.last: dict[int, int] = {}
        self.uses: dict[int, int] = {}
        self.entered: dict[int, int] = {}
        self.draw = random.Random(0)
        self.rule = rule

    def hit(self, key: int) -> None:
        self.now += 1
        self.last[key] = self.now
        self.uses[key] += 1

    def enter(self, key: int) -> None:
        self.place[key] = len(self.keys)
        self.keys.append(key)
        self.now += 1
        self.last[key] = self.entered[key] = self.now
        self.uses[key] = 1

    def victim(self) -> int:
        count, pick = len(self.keys), self.draw.random
        drawn = [self.keys[int(pick() * count)] for _ in range(SAMPLE)]
        victim = min(drawn, key=self.rule(self))
        self.leave(victim)
        return victim

    def leave(self, key: int) -> None:
        at, moved = self.place.pop(key), self.keys.pop()
        del self.last[key], self.uses[key], self.entered[key]
        if moved != key:
            self.keys[at] = moved
            self.place[moved] = at


def _by_recency(state: _Sampled) -> Callable[[int], float]:
    last, now = state.last, state.now
    return lambda key: last[key] - now


def _by_frequency(state: _Sampled) -> Callable[[int], float]:
    uses, entered, now = state.uses, state.entered, state.now
    return lambda key: uses[key] / (now - entered[key] + 1.0) / 1.0


def _by_mix(state: _Sampled) -> Callable[[int], float]:
    last, uses, entered, now = state.last, state.uses, state.entered, state.now
    log, log1p = math.log, math.log1p

    def score(key: int) -> float:
        frequency = uses[key]
        value = log1p(frequency) - 0.35 * log1p(now - last[key])
        if frequency <= 1.0 and now - entered[key] > 1000.0:
            value -= 2.0
        return value - 0.1 * log(1.0 + 1.0)

    return score


#: The scores of :data:`SCORES`, each written for this state, as a user of the plugin would.
_RULES = {"recency": _by_recency, "frequency, age, size": _by_frequency, "log mix": _by_mix}


def _sampled(lib: Any, capacity: int, rule: Callable[[Any], Callable[[int], float]]) -> Any:
    return lib.PluginCache(
        cache_size=capacity,
        cache_init_hook=lambda _params: _Sampled(rule),
        cache_hit_hook=lambda state, request: state.hit(request.obj_id),
        cache_miss_hook=lambda state, request: state.enter(request.obj_id),
        cache_eviction_hook=lambda state, _request: state.victim(),
        cache_remove_hook=lambda state, key: state.leave(key),
        cache_free_hook=lambda _state: None,
        hashpower=18,
    )


def _cachetools(trace: AccessTrace, release: str, repeats: int) -> Iterable[Rate]:
    """Yield LRU in Python."""
    import cachetools

    keys = trace.key.tolist()

    def replay() -> float:
        held: Any = cachetools.LRUCache(int(trace.capacity[0]))
        misses = 0
        for key in keys:
            if key in held:
                held[key]
            else:
                misses += 1
                held[key] = None
        return misses / len(keys)

    yield _rate("cachetools, LRU", release, len(keys), replay, repeats)


def _rate(
    name: str, release: str, requests: int, replay: Callable[[], float], repeats: int
) -> Rate:
    rates, ratio = [], 0.0
    for _ in range(repeats):
        begin = time.thread_time()
        ratio = replay()
        rates.append(requests / (time.thread_time() - begin) / 1e6)
    return Rate(name, release, tuple(rates), ratio)
