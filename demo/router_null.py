"""The service of the null run: its incumbent is least outstanding requests, and backends are equal."""

from __future__ import annotations

import random
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
    """Least outstanding requests; any of equals."""
    return min(backends, key=lambda backend: (backend.inflight, random.random()))


if __name__ == "__main__":
    service.main(pick)
