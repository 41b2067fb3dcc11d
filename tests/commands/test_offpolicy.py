"""``gnomon offpolicy``: from a hook that explores to an answer, and from one that does not to none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gnomon
from gnomon.sdk.config import Settings
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock

from .conftest import Folder


def service(epsilon: float, store: str) -> None:
    """Record 3,000 decisions of round robin between a fast backend and a slow one."""
    clock, rng = FakeClock(), np.random.default_rng(4)
    backends = [SimpleNamespace(inflight=0.0, ewma_ms=9.0, weight=w) for w in (1.0, 2.0)]
    turn = iter(range(10**6))

    @gnomon.hook(
        "explored.pick",
        kind=gnomon.load_balancer,
        items="backends",
        item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
        explore=epsilon,
    )
    def pick(backends: list[SimpleNamespace]) -> SimpleNamespace:
        return backends[next(turn) % 2]

    from gnomon.recorder.sink import StoreSink
    from gnomon.recorder.store import TraceStore

    RUNTIME.configure(
        Settings(clock=clock.clock(), ring_size=8192, seed=4), [StoreSink(TraceStore(store), "s")]
    )
    try:
        for _ in range(3000):
            with pick.decide(backends) as decision:
                clock.advance(0.01)
                slow = backends.index(decision.action)
                decision.outcome(latency_ms=float(rng.normal(10.0 + 10.0 * slow, 1.0)), ok=True)
    finally:
        RUNTIME.shutdown()
        RUNTIME.hooks.pop("explored.pick")


@pytest.mark.parametrize("epsilon", [0.4, 0.0])
def test_a_hook_that_explores_can_be_asked_what_another_policy_got(
    epsilon: float, folder: Folder
) -> None:
    service(epsilon, "store")
    Path("light.py").write_text("def score(weight):\n    return weight\n")
    words = [
        "offpolicy",
        "store",
        "--policy",
        "light.py",
        "--policy",
        "baseline:random",
        "--isolation",
        "process",
    ]
    told = folder.json(*words, code=0 if epsilon else 3)
    light, even = (row["found"] for row in told["rows"])
    if not epsilon:
        assert {light["overlap"], even["overlap"]} == {"no overlap"}
        assert light["snips"] is None and "explore=" in light["why"]
        return
    for name in ("ips", "snips", "dr"):
        assert light[name]["value"] == pytest.approx(10.0, abs=0.6)
        assert even[name]["value"] == pytest.approx(15.0, abs=0.6)
    assert light["snips"]["blocks"]["low"] < 10.0 < light["snips"]["blocks"]["high"]
    assert told["rows"][1]["probabilities"] == "32 redraws of noise"
    assert gnomon.off_policy("store", ["baseline:random"]).rows[0].found is not None


def test_what_has_no_probabilities_is_refused(folder: Folder, store: Path) -> None:
    said = folder.refused("offpolicy", store, "--policy", "baseline:power_of_two_choices")
    assert "is no score" in said
    assert "clip=0" in folder.refused("offpolicy", store, "--clip", "0")
