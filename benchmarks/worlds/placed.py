"""Experts on ranks under a load that drifts, jumps and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gnomon.policies.expert_placement import static_row
from gnomon.shadow.simulators.expert_placement.simulator import published
from gnomon.shadow.traces.load_trace import LoadTrace

from .clock import START_NS

CLIP = 32.0
_EVERY_S = 10.0


@dataclass(frozen=True)
class Placed:
    """Parameters of one model and its traffic.

    Attributes:
        layers, experts, slots, ranks: of the deployment; groups and nodes do not matter.
        tokens: of a layer and window.
        skew: spread of the logarithm of the experts' shares.
        keep: what is left of a share's departure after a window; 1 keeps it for ever.
        jumps: chance that an expert's share is another one in the next window.
    """

    layers: int = 2
    experts: int = 32
    slots: int = 40
    ranks: int = 8
    tokens: int = 8192
    skew: float = 0.8
    keep: float = 0.95
    jumps: float = 0.0

    def traffic(self, seconds: float, rng: np.random.Generator) -> Any:
        """Draw the load of every window, i8[windows, layers, experts]."""
        n, shape = int(seconds / _EVERY_S), (self.layers, self.experts)
        departure = rng.normal(0.0, self.skew, shape)
        counts = np.empty((n, *shape), np.int64)
        for window in range(n):
            fresh = rng.normal(0.0, self.skew, shape)
            kept = self.keep * departure + np.sqrt(1.0 - self.keep**2) * fresh
            departure = np.where(rng.random(shape) < self.jumps, fresh, kept)
            share = np.exp(departure)
            counts[window] = rng.multinomial(self.tokens, share / share.sum(axis=1, keepdims=True))
        return counts

    def run(self, counts: Any, name: str) -> Held:
        """Place experts by a published policy, each time by the load of the window before."""
        row = static_row(self.experts, self.slots, 1, 1)
        current = np.tile(np.array(row, np.int64), (self.layers, 1))
        found = np.full(len(counts), np.nan)
        for window in range(1, len(counts)):
            load = counts[window - 1].astype(np.float64)
            current = published(name, load, self.slots, 1, 1, self.ranks, current)
            found[window] = self._imbalance(counts[window], current)
        return Held(self, counts, found)

    def _imbalance(self, load: Any, placement: Any) -> float:
        fullest = 0.0
        for own, row in zip(load, placement, strict=True):
            each = own / np.maximum(np.bincount(row, minlength=self.experts), 1)
            fullest += each[row].reshape(self.ranks, -1).sum(axis=1).max()
        return float(min(CLIP, fullest / (load.sum() / self.ranks)))


@dataclass(frozen=True)
class Held:
    """How uneven the ranks were in every window; unknown in the first."""

    world: Placed
    counts: Any
    imbalance: Any

    @property
    def latency_ms(self) -> Any:
        """The objective: fullest over mean rank."""
        return self.imbalance[1:]

    @property
    def ok(self) -> Any:
        """Nothing fails here."""
        return np.ones(len(self.latency_ms), bool)

    def trace(self) -> LoadTrace:
        """Return what the service recorded."""
        n, world = len(self.counts), self.world
        row = np.array(static_row(world.experts, world.slots, 1, 1), np.int64)
        return LoadTrace(
            hook="world.place",
            kind="expert_placement",
            start_ns=START_NS,
            replicas=world.slots,
            groups=1,
            nodes=1,
            ranks=world.ranks,
            delay=0,
            policy="",
            first=1,
            at=np.arange(n) * _EVERY_S,
            index=np.arange(n),
            counts=self.counts,
            imbalance=self.imbalance,
            placement=np.tile(row, (world.layers, 1)),
        )
