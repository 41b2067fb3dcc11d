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
def not_worse_in_both(items: Any, picked: Any) -> bool:
    """Never send to a backend that is four times slower and four times busier than another."""
    return not any(
        picked.ewma_ms > 4 * item.ewma_ms and picked.inflight > 4 * (item.inflight + 1)
        for item in items
    )


if __name__ == "__main__":
    service.main(pick)
