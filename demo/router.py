"""The service being tuned: a router whose ``pick`` is an ordinary function, marked as a hook."""

from __future__ import annotations

from typing import Any

import gnomon

from . import service
from .service import Backend


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
def no_outlier(items: Any, picked: Any) -> bool:
    """Never send to a backend that has become an order of magnitude slower than the best one."""
    return bool(picked.ewma_ms <= 10.0 * (min(item.ewma_ms for item in items) + 20.0))


if __name__ == "__main__":
    service.main(pick)
