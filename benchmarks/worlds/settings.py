"""Which worlds there are, who is in production in them, and who wants to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gnomon.policies.cache import cache
from gnomon.policies.expert_placement import expert_placement
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.scheduler import scheduler
from gnomon.sdk.kind import Kind

from .balanced import Balanced
from .cached import Cached
from .judge import score
from .placed import Placed
from .queued import Queued

#: Batches that a truth's own error is taken from.
_BATCHES = 40
_KEPT = "    if resident < 0.5:\n        return 1e300\n"


@dataclass(frozen=True)
class Truth:
    """What a policy really does in a world, over a long time.

    Attributes:
        mean, p99, failures: of the outcomes.
        batches: means of stretches of time.
    """

    mean: float
    p99: float
    failures: float
    batches: Any

    def change(self, base: Truth) -> tuple[float, float]:
        """Return the relative change of the mean against a base, and its standard error."""
        effect = self.mean / base.mean - 1.0
        rest = (self.batches - (1.0 + effect) * base.batches) / base.mean
        return effect, float(rest.std(ddof=1) / np.sqrt(len(rest)))


@dataclass(frozen=True)
class Setting:
    """A world to judge candidates in.

    Attributes:
        kind: what is decided in it.
        world: the system.
        seconds: of a recording.
        future: seconds of traffic that truths are taken from.
        incumbents, candidates: sources.
        modelled: whether the simulator of the kind can have everything that happens in it.
    """

    kind: Kind
    world: Any
    seconds: float
    future: float
    incumbents: tuple[str, ...]
    candidates: tuple[str, ...]
    modelled: bool = True

    def run(self, traffic: Any, source: str) -> Any:
        """Run traffic under a policy."""
        if self.kind.form == "program":
            names = {each.source: each.name for each in self.kind.baselines.values()}
            return self.world.run(traffic, names[source])
        return self.world.run(traffic, score(self.kind, source))

    @cached_property
    def _future(self) -> Any:
        return self.world.traffic(self.future, np.random.default_rng(1_000_003))

    def truth(self, source: str) -> Truth:
        """Return what a policy does to the world's future: the same traffic and luck for all."""
        ran = self.run(self._future, source)
        batches = np.array([part.mean() for part in np.array_split(ran.latency_ms, _BATCHES)])
        return Truth(
            float(ran.latency_ms.mean()),
            float(np.quantile(ran.latency_ms, 0.99)),
            1.0 - float(ran.ok.mean()),
            batches,
        )


def equal(incumbent: str, candidate: str) -> bool:
    """Return whether two policies are equally good in any world, by the symmetry of ``noise``."""
    return any(
        incumbent in (base, *family) and candidate in (base, *family)
        for base, family in EQUALS.items()
    )


def _scores(inputs: str, *values: str) -> tuple[str, ...]:
    return tuple(f"def score({inputs}):\n    return {value}\n" for value in values)


_LUCK = tuple(f"abs(noise - {at})" for at in (0.2, 0.4, 0.7))
(RANDOM,) = _scores("noise", "noise")
(LEAST,) = _scores("inflight", "inflight")
(PEAK,) = _scores("inflight, ewma_ms", "(inflight + 1.0) * ewma_ms")
RANDOM_RESIDENT = f"def score(noise, resident):\n{_KEPT}    return noise\n"
#: Base policies with others that differ from them by their luck alone.
EQUALS: Mapping[str, tuple[str, ...]] = {
    RANDOM: _scores("noise", *_LUCK),
    LEAST: _scores("inflight, noise", *(f"inflight + 0.5 * {luck}" for luck in _LUCK[:2])),
    RANDOM_RESIDENT: tuple(
        f"def score(noise, resident):\n{_KEPT}    return {luck}\n" for luck in _LUCK[:2]
    ),
}

_BALANCED = (
    RANDOM,
    LEAST,
    PEAK,
    *EQUALS[RANDOM],
    *EQUALS[LEAST],
    *_scores("since_picked", "-since_picked"),
    *_scores("inflight, ewma_ms", *(f"(inflight + {c}) * ewma_ms" for c in (0.3, 0.7, 2.0, 4.0))),
    *_scores("inflight, since_picked", "inflight - 0.03 * since_picked"),
    *_scores("inflight, weight, noise", "inflight * weight if noise > 0.03 else noise - 1.0"),
)
FCFS, SJF = _scores("wait_ms", "-wait_ms") + _scores("size_ms", "size_ms")
_QUEUED = (
    FCFS,
    SJF,
    RANDOM,
    *EQUALS[RANDOM],
    *_scores("size_ms, wait_ms", *(f"size_ms - {c} * wait_ms" for c in (0.05, 0.2, 0.5, 1.0, 2.0))),
    *_scores("slack_ms", "slack_ms"),
    *_scores("priority, wait_ms", "-priority * wait_ms"),
    *_scores("size_ms, noise", "size_ms * (0.7 + noise)"),
)
(LRU,) = _scores("recency", "-recency")
_CACHED = (
    LRU,
    RANDOM_RESIDENT,
    *EQUALS[RANDOM_RESIDENT],
    cache.baselines["sampled_lfu"].source or "",
    cache.baselines["sampled_fifo"].source or "",
    cache.baselines["hyperbolic"].source or "",
    *_scores("recency, noise", "-recency * (1.0 + 0.5 * noise)"),
    *_scores("recency, frequency", *(f"-recency + {c} * frequency" for c in (1.0, 3.0, 10.0))),
)
_PLACED = tuple(each.source or "" for each in expert_placement.baselines.values() if each.source)
_EPLB = expert_placement.baselines["eplb"].source or ""
_STICKY = expert_placement.baselines["eplb_sticky"].source or ""
_FOUR = (20.0, 30.0, 45.0, 60.0), (2, 2, 2, 2)
_WIDE = (15.0, 20.0, 30.0, 40.0), (4, 4, 4, 4)


def _balanced(world: Balanced, modelled: bool = True) -> Setting:
    return Setting(load_balancer, world, 60.0, 2000.0, (RANDOM, LEAST, PEAK), _BALANCED, modelled)


def _queued(world: Queued, modelled: bool = True) -> Setting:
    return Setting(scheduler, world, 120.0, 8000.0, (RANDOM, FCFS, SJF), _QUEUED, modelled)


def _cached(world: Cached) -> Setting:
    return Setting(cache, world, 120.0, 3000.0, (LRU, RANDOM_RESIDENT), _CACHED)


def _placed(world: Placed) -> Setting:
    return Setting(expert_placement, world, 2800.0, 20_000.0, (_EPLB, _STICKY), _PLACED)


#: All of them by name.
SETTINGS: Mapping[str, Setting] = {
    "servers, steady": _balanced(Balanced(*_FOUR, 100.0)),
    "servers, slow spells and bursts": _balanced(
        Balanced(*_FOUR, 90.0, spell_gap_s=6.0, burst=2.0)
    ),
    "servers, heavy tails": _balanced(
        Balanced((20.0, 25.0, 30.0), (3, 3, 3), 120.0, tail=0.02, burst=3.0)
    ),
    "servers, slower the more they serve": _balanced(
        Balanced(*_WIDE, 150.0, drag=0.25, burst=2.0, spell_gap_s=8.0), modelled=False
    ),
    "servers, cold when not picked": _balanced(
        Balanced((15.0, 20.0, 30.0, 40.0), (2, 2, 2, 2), 110.0, cold=0.6, burst=2.0), modelled=False
    ),
    "servers, the fastest fails": _balanced(Balanced(*_FOUR, 90.0, burst=2.0, failing=0.01)),
    "jobs, steady": _queued(Queued()),
    "jobs, heavy tails": _queued(Queued(tail=1.6, rate=36.0, burst=2.0)),
    "jobs, unlike workers": _queued(
        Queued(workers=3, rate=50.0, slow=1.8, burst=1.5), modelled=False
    ),
    "jobs, slower after others": _queued(Queued(rate=34.0, swap=1.3), modelled=False),
    "jobs, slow spells": _queued(Queued(rate=32.0, spell_factor=2.5), modelled=False),
    "keys, steady": _cached(Cached()),
    "keys, drifting": _cached(Cached(drift=20.0)),
    "keys, scans": _cached(Cached(scan_every=3000.0)),
    "keys, phases": _cached(Cached(phase=4000)),
    "keys, rare scans": _cached(Cached(scan_every=15_000.0, scan=1500)),
    "experts, drifting": _placed(Placed()),
    "experts, jumping": _placed(Placed(keep=0.99, jumps=0.03)),
}
