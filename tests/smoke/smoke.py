"""The bare wheel in a service: decorate, decide, record in memory, judge a policy's source."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import gnomon
from gnomon import testing
from gnomon.sdk.language import check

HEAVY = {"numpy", "pyarrow", "torch", "litellm", "sqlalchemy", "numba", "typer"}


@gnomon.hook(
    "smoke.pick",
    kind=gnomon.load_balancer,
    items="backends",
    item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
)
def pick(backends: list[SimpleNamespace]) -> SimpleNamespace:
    """Take the first."""
    return backends[0]


def main() -> None:
    """Fail loudly when the bare install is not enough for a service."""
    backends = [SimpleNamespace(inflight=i, ewma_ms=10.0, weight=1.0) for i in range(3)]
    assert pick(backends) is backends[0]
    with testing.recording() as recorded, pick.decide(backends) as decision:
        decision.outcome(latency_ms=3.0, ok=True)
    assert len(recorded.decisions) == 1, recorded.decisions
    program = check("def score(inflight):\n    return inflight\n", gnomon.load_balancer.input_names)
    assert program.bind()(2.0, 0.0, 0.0, 0.0, 0.0) == 2.0
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not HEAVY & loaded, HEAVY & loaded


main()
