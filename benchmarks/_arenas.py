"""Where searches are compared: five traces of each kind, each with a holdout and, where there is one, a truth.

Seed *s* of a kind is trace *s* and seed *s* of the search, so that what strategies differ by is told from the
luck of one trace. Caches: public traces through the importers, the first 40,000 requests where there are more
than that to every part, with a capacity as a share of what they ask for. Load balancers: 120 s of five services
of :mod:`worlds`, which no simulator of ours wrote, recorded under least outstanding requests.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from worlds.settings import LEAST, SETTINGS, Setting

from gnomon.policies.cache import cache
from gnomon.policies.load_balancer import load_balancer
from gnomon.recorder.importers import Request, import_trace
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, LanguageError
from gnomon.sdk.language import check
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.evaluation import Evaluation, Split, Status
from gnomon.shadow.isolation.compiled import CompiledOptions
from gnomon.shadow.isolation.compiled_child import HEAD, Work, replays
from gnomon.shadow.search.wiring import Arena
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.splits import split
from gnomon.shadow.traces.access_trace import access_trace
from gnomon.shadow.traces.trace import Trace

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REQUESTS = 40_000
SECONDS = 120.0
#: Format, file, capacity, whether sizes are ignored, and how many requests, by seed. Half of what the first one
#: asks for comes in the last quarter of any beginning of it, so it is taken whole.
CACHES = (
    ("oracleGeneral", "cloudPhysicsIO.oracleGeneral.bin.gz", "10%", False, None),
    ("ids", "cache2k__web07.trace.xz", "10%", True, REQUESTS),
    ("ids", "cache2k__orm-night.trace.xz", "10%", True, REQUESTS),
    ("arc", "OLTP.lis.zst", "10%", True, REQUESTS),
    ("ids", "cache2k__web07.trace.xz", "1%", True, REQUESTS),
)
#: Names of settings, by seed.
SERVICES = (
    "servers, steady",
    "servers, slow spells and bursts",
    "servers, heavy tails",
    "servers, slower the more they serve",
    "servers, the fastest fails",
)
KINDS = ("load_balancer", "cache")
SEEDS = range(5)
_ENGINE = CompiledOptions(workers=1, isolation="process")


@dataclass(frozen=True)
class Field:
    """One trace to search on, its holdout, and what a policy really does.

    Attributes:
        name: of the trace.
        arena: train and validation.
        windows: with the holdout, which is opened to measure the search, not to judge a policy.
        truth: mean outcome of a source in the world's future; None where the trace is all there is.
    """

    name: str
    arena: Arena
    windows: dict[Split, Trace]
    truth: Callable[[str], float] | None

    def open(self) -> Here:
        """Return an engine that answers for the holdout, too."""
        return Here(self.arena, self.windows)


class Here:
    """An :class:`~gnomon.shadow.evaluation.Engine` in this process, at half the cost of one that isolates.

    The replays are those of the isolated engine. Its candidates come from our own operators; none is hostile.
    """

    layers: tuple[str, ...] = ()

    def __init__(self, arena: Arena, windows: dict[Split, Trace]) -> None:
        kind, options = arena.kind, arena.engine
        simulator = simulator_for(kind)
        self._work = Work(
            kind, simulator, dict(windows), arena.draws, options.seed, options.segments
        )

    def submit(self, source: str, split: Split) -> Future[Evaluation]:
        """Return a future that is done."""
        future: Future[Evaluation] = Future()
        future.set_result(self._evaluated(source, split))
        return future

    def _evaluated(self, source: str, split: Split) -> Evaluation:
        kind = self._work.kind
        try:
            program = check(
                source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel
            )
        except LanguageError as error:
            return Evaluation(Status.REJECTED, detail=str(error))
        answer = replays(self._work, {"split": split}, compile_score(program))
        fault, _, score, count = HEAD.unpack_from(answer)
        if fault != -1:
            return Evaluation(Status.FAULT if fault >= 0 else Status.VIOLATION)
        return Evaluation(Status.OK, score, struct.unpack_from(f"<{count}d", answer, HEAD.size))

    def close(self) -> None:
        """Nothing to free."""


def field(kind: str, seed: int) -> Field:
    """Return the field of a kind and a seed; raises ConfigurationError without the public traces."""
    return _cache(seed) if kind == cache.name else _service(seed)


def _cache(seed: int) -> Field:
    form, file, capacity, ignore_size, limit = CACHES[seed]
    path = Path(os.environ.get("GNOMON_DATA", DATA)) / "cache" / file
    if not path.is_file():
        raise ConfigurationError(f"no public trace at {path}; set GNOMON_DATA to their folder")
    with tempfile.TemporaryDirectory() as folder:
        store = TraceStore(Path(folder))
        import_trace(store, Request(form, path, "bench", capacity, ignore_size, limit))
        trace = access_trace(store, "bench")
    name = file.partition(".")[0].removeprefix("cache2k__")
    return _made(f"{name} {capacity}", cache, trace, None)


def _service(seed: int) -> Field:
    name = SERVICES[seed]
    setting: Setting = SETTINGS[name]
    rng = np.random.default_rng((zlib.crc32(name.encode()), seed))
    trace = setting.run(setting.world.traffic(SECONDS, rng), LEAST).trace()
    return _made(name, load_balancer, trace, lambda source: setting.truth(source).mean)


def _made(name: str, kind: Any, trace: Trace, truth: Callable[[str], float] | None) -> Field:
    windows = dict(split(trace).windows())
    return Field(name, Arena.of(kind, trace, _ENGINE), windows, truth)
