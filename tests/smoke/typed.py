"""A stranger's service, typed in full: type checkers hold it to the installed package's own types.

It is checked and never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_type

import gnomon
from gnomon.shadow.gates.verdict import Verdict
from gnomon.shadow.replay.compare import ReplayTable
from gnomon.shadow.report.rollouts import Rollout, Shipped
from gnomon.shadow.search.results.result import EvolveResult


@dataclass
class Backend:
    """Where a request may go."""

    inflight: int
    ewma_ms: float
    weight: float = 1.0


@gnomon.hook(
    "typed.pick",
    kind=gnomon.load_balancer,
    items="backends",
    item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
)
def pick(path: str, backends: Sequence[Backend]) -> Backend:
    """Take the first."""
    return backends[0]


@gnomon.hook(
    "typed.pick_later",
    kind=gnomon.load_balancer,
    items="backends",
    item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
)
async def pick_later(path: str, backends: Sequence[Backend]) -> Backend:
    """Take the last."""
    return backends[-1]


cache: gnomon.PolicyCache[str, bytes] = gnomon.PolicyCache(
    10_000, name="typed.cache", getsizeof=len
)


async def serve(backends: Sequence[Backend]) -> None:
    """Decide in every way there is; a decorated function keeps its signature."""
    assert_type(pick("/", backends), Backend)
    assert_type(await pick_later("/", backends=backends), Backend)
    with pick.decide("/", backends) as decision:
        assert_type(decision.action, Backend)
        decision.outcome(latency_ms=1.0, ok=True)
    async with pick_later.decide("/", backends) as later:
        assert_type(later.action, Backend)
    assert_type(cache["a"], bytes)
    assert_type(cache.get("a"), bytes | None)
    cache["a"] = 1  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    pick(1, backends)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pick("/")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def loop(traces: Path, key: Path) -> None:
    """Go once around; every result has a type of its own."""
    assert_type(gnomon.replay(traces), ReplayTable)
    found = gnomon.evolve(traces)
    assert_type(found, EvolveResult)
    assert found.winner is not None
    verdict = gnomon.verify(found.winner.source, traces)
    assert_type(verdict, Verdict)
    shipped = gnomon.ship(verdict, publisher_key=key)
    assert_type(shipped, Shipped)
    assert_type(gnomon.follow(shipped.id), Rollout)
    assert_type(gnomon.rollout(order="kill", reason="an alarm"), Rollout)
