"""Replays: how fast candidates are judged, beside peers in the same run, and what it takes in memory.

Rates are per CPU second of one thread unless a row says wall time; checks and fuel are compiled in, compiling is
left out and has a row of its own. Every section has a process of its own, so that none pays for what another
loaded. The cache's main rows are cloudPhysicsIO at 10 % of its objects, 16 residents a decision, under three
pinned scores; sizes and memory are of a pinned generator (Zipf, exponent 0.9, a tenth of the keys). Absolute
targets are scaled by the cost of a bare call in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from _scaling import bare_call_ns, scaled
from results import Peer, Row

REPEATS = 5
CANDIDATES = 40
TARGET_CACHE, TIMES_PYTHON, TIMES_PLUGIN = 4.0, 30.0, 20.0
RECENCY = "def score(recency):\n    return -recency\n"
#: Sections that other modules measure, by the module with ``rows()``.
ELSEWHERE = {
    "load balancer": "_lb_replay",
    "scheduler": "_sched_replay",
    "expert placement": "_moe_replay",
}
LENGTHS = (100_000, 1_000_000, 10_000_000)


def run() -> list[Row]:
    """Measure every section in a process of its own and return the rows."""
    return [row for section in sections() for row in _apart(section)]


def sections() -> list[str]:
    """Return the names of the sections whose modules are there."""
    named = ["cache", *(f"cache {length}" for length in LENGTHS), "cores", "compile"]
    named += [name for name, module in ELSEWHERE.items() if find_spec(module)]
    return named if find_spec("_cache_replay") else named[1:]


def _apart(section: str) -> list[Row]:
    done = subprocess.run(
        [sys.executable, __file__, section],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        # make has scripts not find their neighbours by themselves
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent)},
    )
    return [_row_of(data) for data in json.loads(done.stdout.splitlines()[-1])]


def _row_of(data: dict[str, Any]) -> Row:
    peer = Peer(**data["peer"]) if data["peer"] else None
    return Row(**data | {"peer": peer, "spread": tuple(data["spread"])})


def measured(section: str) -> list[Row]:
    """Measure one section, here; targets that are absolute are scaled by a bare call."""
    name, _, length = section.partition(" ")
    if section in ELSEWHERE:
        rows = import_module(ELSEWHERE[section]).rows()
    elif name == "cache" and length:
        rows = [*_length(int(length))]
    else:
        rows = [*{"cache": _cache, "cores": _cores, "compile": _compile}[section]()]
    return [scaled(row, bare_call_ns()) for row in rows]


# --- caches ------------------------------------------------------------------------------------------


def _cache() -> Iterator[Row]:
    """Yield the pinned scores on the public trace, and how many times faster they are than others."""
    module = import_module("_cache_replay")
    data = Path(os.environ.get("GNOMON_DATA", ""))
    if not (data / "cache").is_dir():
        print("no public traces: set GNOMON_DATA to their folder", file=sys.stderr)
        return
    trace = module.load(data)
    ours, plain = module.ours(trace, REPEATS), module.plain_python(trace)
    others, notes = module.peers(trace, REPEATS)
    for own, slow in zip(ours, plain, strict=True):
        peer = Peer("plain Python", slow.version, slow.median)
        yield _rate_row(f"cache, {own.name.removeprefix('gnomon, ')}", own.rates, peer=peer)
    means = [statistics.geometric_mean(each) for each in zip(*(o.rates for o in ours), strict=True)]
    slowest = statistics.geometric_mean([slow.median for slow in plain])
    peer = Peer("plain Python", python_version(), slowest)
    note = "; ".join(notes)
    yield _rate_row("cache, geometric mean of three", means, TARGET_CACHE, peer, note)
    yield _times("cache, times plain Python", means, slowest, TIMES_PYTHON)
    plugin = [other for other in others if "plugin" in other.name]
    for other in others:
        peer = Peer(other.name, other.version, other.median)
        own = ours[plugin.index(other)] if other in plugin else ours[0]
        name = own.name.removeprefix("gnomon, ")
        yield _rate_row(f"cache, {name} beside {other.name}", own.rates, peer=peer)
    if len(plugin) == len(ours):
        slowest = statistics.geometric_mean([other.median for other in plugin])
        name = "cache, times libcachesim's plugin under the same three scores"
        yield _times(name, means, slowest, TIMES_PLUGIN)


def _times(name: str, values: Sequence[float], other: float, target: float) -> Row:
    each = [value / other for value in values]
    return Row(name, statistics.median(each), "x", "higher", target, (min(each), max(each)))


def _rate_row(
    name: str,
    rates: Sequence[float],
    target: float | None = None,
    peer: Peer | None = None,
    note: str = "",
) -> Row:
    spread = (min(rates), max(rates))
    value = statistics.median(rates)
    return Row(name, value, "M requests/s", "higher", target, spread, peer, note)


def accesses(requests: int) -> Any:
    """Return a trace of the pinned generator: lookups of objects of size 1 in one cache."""
    from gnomon.shadow.traces.access_trace import LOOKUP, UNKNOWN, AccessTrace

    rng = np.random.default_rng(0)
    objects = max(1000, requests // 10)
    weight = np.cumsum(1.0 / np.arange(1, objects + 1) ** 0.9)
    drawn = np.searchsorted(weight / weight[-1], rng.random(requests))
    key = rng.permutation(objects).astype(np.int32)[drawn]
    return AccessTrace(
        hook="bench", kind="cache", start_ns=0, instances=("a",), policy="", first=0,
        at=np.arange(requests) * 1e-3, instance=np.zeros(requests, np.int32), key=key,
        size=np.ones(requests), op=np.full(requests, LOOKUP, np.int8),
        hit=np.full(requests, UNKNOWN, np.int8), capacity=np.array([objects / 10.0]),
        sampled=np.ones(1),
    )  # fmt: skip


def replaying(trace: Any) -> Callable[[], float]:
    """Return what replays a trace once under a sampled score, compiled already."""
    from gnomon.policies.cache import cache
    from gnomon.sdk.language import check
    from gnomon.shadow.compiled import compile_score
    from gnomon.shadow.simulators.cache.simulator import CacheSimulator

    simulator = CacheSimulator()
    fitted, score = simulator.calibrate(trace), compile_score(check(RECENCY, cache.input_names))
    return lambda: simulator.compiled(trace, fitted, 0, score, cache.order).mean


def _length(requests: int) -> Iterator[Row]:
    """Yield rate and memory at a length; memory is what the process grows by, its trace included."""
    replaying(accesses(2000))()  # compiles, or fetches what was compiled
    before = _memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the highest mark so far, compiling's, is forgotten
    trace = accesses(requests)
    columns = sum(getattr(trace, name).nbytes for name in trace.COLUMNS) / 1e6
    once, rates = replaying(trace), []
    for _ in range(3):
        begin = time.thread_time()
        once()
        rates.append(requests / (time.thread_time() - begin) / 1e6)
    grown = _memory_mb("VmHWM") - before
    per, named = grown / requests * 1e6, f"{requests:.0e}".replace("e+0", "e")
    yield _rate_row(f"cache, {named} requests of the generator", rates)
    if requests >= 1_000_000:
        note = f"of which the trace's columns {columns / requests * 1e6:.0f} MB"
        yield Row(
            f"cache, peak memory at {named} requests", per, "MB/M requests", "lower", None, (per, per), None, note
        )  # fmt: skip


def _memory_mb(name: str) -> float:
    """Return what this process holds (``VmRSS``), or the most that it ever held (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024.0


def _cores() -> Iterator[Row]:
    """Yield the wall-time rate of one and of two processes that replay the same trace."""
    found = {n: _together(n) for n in (1, 2)}
    for n, rate in found.items():
        note = "wall time" if n == 1 else f"wall time, {rate / found[1]:.2f} times one process"
        cores = len(os.sched_getaffinity(0))
        yield _rate_row(f"cache, {n} processes on {cores} cores", [rate], note=note)


def _together(processes: int) -> float:
    command = [sys.executable, __file__, "replayed together"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for each in running:
        assert each.stdout is not None
        each.stdout.readline()  # it is ready
    begin = time.perf_counter()
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    done = sum(int(each.communicate()[0]) for each in running)
    return done / (time.perf_counter() - begin) / 1e6


def together() -> None:
    """Replay in one of several processes: say when ready, begin when told, say how many requests."""
    requests, times = 1_000_000, 8
    once = replaying(accesses(requests))
    once()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(times):
        once()
    print(requests * times, flush=True)


def _compile() -> Iterator[Row]:
    """Yield what one more candidate costs to compile, and the memory that it never gives back."""
    from gnomon.policies.cache import cache
    from gnomon.sdk.language import check
    from gnomon.shadow.compiled import compile_score

    sources = [
        "import math\ndef score(recency, frequency, size, age):\n"
        f"    return math.log1p(frequency) * {k + 1}.5 - recency / (age + {k}.25) / size\n"
        for k in range(CANDIDATES + 1)
    ]
    compile_score(check(sources.pop(), cache.input_names))
    before, spent = _memory_mb("VmRSS"), []
    for source in sources:
        begin = time.thread_time()
        compile_score(check(source, cache.input_names))
        spent.append(1e3 * (time.thread_time() - begin))
    spread = (min(spent), max(spent))
    yield Row("compiling a candidate", statistics.median(spent), "ms", "lower", None, spread)
    grown = (_memory_mb("VmRSS") - before) / len(sources)
    yield Row("memory of a compiled candidate", grown, "MB", "lower", None, (grown, grown), None,
              "never given back; workers are recycled")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["replayed together"]:
        together()
    elif len(sys.argv) > 1:
        print(json.dumps([asdict(row) for row in measured(sys.argv[1])]))
    else:
        for row in run():
            print(f"{row.name:60s}{row.value:12.4g} {row.unit:14s} {row.target or '':>8} {row.met}")
